package keyring

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// Mode says what becomes of keys that are not in the identifiable format.
type Mode uint8

const (
	Default Mode = iota // they work
	Warn                // they work, and each is warned about when it is read
	Enabled             // they don't work, are an error when read, and cannot be set
)

// ParseMode reads the mode from AzureWebJobsFeatureFlags, a comma-separated
// list in which StrictHISModeEnabled and StrictHISModeWarn count, ignoring case;
// the stricter wins.
func ParseMode(featureFlags string) Mode {
	mode := Default
	for flag := range strings.SplitSeq(featureFlags, ",") {
		switch flag = strings.TrimSpace(flag); {
		case strings.EqualFold(flag, "StrictHISModeEnabled"):
			return Enabled
		case strings.EqualFold(flag, "StrictHISModeWarn"):
			mode = Warn
		}
	}
	return mode
}

// Format makes keys and recognises them. Host function keys share the format of
// function keys. It must be safe for concurrent use.
type Format interface {
	// Generate makes a new key value of a kind.
	Generate(kind accesskey.Kind) (string, error)
	// Identifiable reports whether value is a well-formed key of that kind.
	Identifiable(kind accesskey.Kind, value string) bool
}

// Limits bounds what the ring does on behalf of strangers. A zero field takes
// its default.
type Limits struct {
	Burst       int           // wrong keys a source may present at once; 100
	PerSecond   int           // wrong keys a source may present per second after that; 10
	Sources     int           // sources remembered; 10000
	RereadEvery time.Duration // least time between re-reads of a document caused by wrong keys; 1 minute
	LoadTimeout time.Duration // longest wait for the store per operation; 10 seconds
	RetryFirst  time.Duration // wait after the first failed read, doubled each time; 1 second
	RetryMost   time.Duration // longest wait between failed reads; 1 minute
	UsageEvery  time.Duration // least time between writes of uses; 1 minute
	RetiredKept time.Duration // how long a former value is recognised after it ended; 7 days
	GoneKept    time.Duration // how long the keys of a function that is gone are kept; 30 days
}

// Config is what a [Ring] needs. Only Store is required.
type Config struct {
	Store   keystore.Store
	Clock   clock.Clock  // nil: the system clock
	Format  Format       // nil: the identifiable format of package azfkey
	Mode    Mode         // see [ParseMode]
	Log     *slog.Logger // for the operator, never a key value; nil: discarded
	OnEvent func(Event)  // nil: none. Called synchronously, possibly concurrently; must not call the Ring
	Limits  Limits
	Usage   UsageStore // nil: uses are not counted
	Memory  Memory     // nil: restrictions that others drop while no ring runs are lost
	Roster  Roster     // nil: keys of functions that are gone stay, and work again if they come back
	// HashOnly has new values of host and function keys kept as verifiers only:
	// they are shown once, and a stock host cannot use the documents.
	HashOnly bool
	// TagKey makes entity tags of keys, see [Ring.Tagged]: a secret that all rings of
	// the app share. nil: there are none.
	TagKey []byte
	// MayMake is asked before keys are made where the store has none under a document;
	// its error is returned, and none are made. nil: they may. It is called while the
	// document is being changed and must not change others.
	MayMake func(ctx context.Context, doc keystore.Doc) error
}

func (c Config) withDefaults() (Config, error) {
	if c.Store == nil {
		return c, problem.New(problem.Invalid, "a keyring needs a key store")
	}
	if c.Clock == nil {
		c.Clock = clock.Real{}
	}
	if c.Format == nil {
		c.Format = identifiable{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.OnEvent == nil {
		c.OnEvent = func(Event) {}
	}
	c.Limits = c.Limits.withDefaults()
	return c, nil
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Burst:       or(l.Burst, 100),
		PerSecond:   or(l.PerSecond, 10),
		Sources:     or(l.Sources, 10_000),
		RereadEvery: or(l.RereadEvery, time.Minute),
		LoadTimeout: or(l.LoadTimeout, 10*time.Second),
		RetryFirst:  or(l.RetryFirst, time.Second),
		RetryMost:   or(l.RetryMost, time.Minute),
		UsageEvery:  or(l.UsageEvery, time.Minute),
		RetiredKept: or(l.RetiredKept, 7*24*time.Hour),
		GoneKept:    or(l.GoneKept, 30*24*time.Hour),
	}
}

// or gives v where it is positive, else the default.
func or[T ~int | ~int64](v, def T) T {
	if v > 0 {
		return v
	}
	return def
}
