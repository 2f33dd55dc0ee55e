package keyring

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
)

// EventType says what an [Event] is about.
type EventType uint8

const (
	DocumentRead     EventType = iota // a document was read: Took, Identifiable, NotIdentifiable
	DocumentFailed                    // a document could not be read or written: Took, Err
	DocumentCreated                   // a document that did not exist was created with generated keys
	DocumentMissing                   // there is none, and the store cannot be written: nothing was generated
	DocumentResealed                  // values in clear, or sealed with an old key, were sealed with the primary one
	KeysChanged                       // keys in use were replaced by what the store holds now
	KeyCreated                        // Kind, Name
	KeyUpdated                        // Kind, Name
	KeyDeleted                        // Kind, Name
	DocumentPruned                    // the keys of a function were removed altogether
	WeakKey                           // a key in use is not identifiable; Code is AZFD0012
	KeysIgnored                       // some stored keys can never match
	MasterMissing                     // the host document has no master key
	WatchFailed                       // changes by others are not being reported: Err
	HealthChanged                     // Health
	SourceThrottled                   // a source has used up its wrong keys: Source
	KeysInClear                       // keys were in clear in a store that seals values; Text names them
	KeyRotated                        // Kind, Name: a new value; Retired is the name of the old one, if it stays valid for a while
	KeyRetired                        // Kind, Name: a former value was removed
	KeyRestricted                     // Kind, Name: its metadata was changed
	RetiredKeyUsed                    // Kind, Name, Retired, Source: a former value that is still valid was used; once a minute per value and class of source
	KeyRefused                        // Kind, Name, Retired, Source, Reason: a stored key was presented that does not work; once a minute per value and class of source
	MetadataRestored                  // keys had lost their restrictions to somebody else's write; Text names them
	MetadataLost                      // somebody else replaced keys that had restrictions; Text names them
	MetadataBroken                    // Kind, Name: the key does not work as its metadata cannot be understood: Err
	KeysQuarantined                   // a function is gone: its keys open nothing and are kept for a while
	KeysReturned                      // a function is back in time: its keys work again
)

var eventNames = [...]string{
	"documentRead", "documentFailed", "documentCreated", "documentMissing", "documentResealed",
	"keysChanged", "keyCreated", "keyUpdated", "keyDeleted", "documentPruned", "weakKey",
	"keysIgnored", "masterMissing", "watchFailed", "healthChanged", "sourceThrottled",
	"keysInClear", "keyRotated", "keyRetired", "keyRestricted", "retiredKeyUsed", "keyRefused",
	"metadataRestored", "metadataLost", "metadataBroken",
	"keysQuarantined", "keysReturned",
}

// String gives the type's name as metrics and audit records show it.
func (t EventType) String() string { return eventNames[t] }

// Cause says what made the ring touch a document.
type Cause uint8

const (
	FirstNeed Cause = iota // start, or the first request that needs it
	Local                  // a change made through this ring
	Outside                // the store said that others changed it
	Reread                 // a wrong key
	Retry                  // an earlier attempt failed
	Asked                  // somebody asked for the list of keys
	Presented              // a request presented a key
	Scheduled              // it was due, see [Ring.Tend]
)

var causeNames = [...]string{"firstNeed", "local", "outside", "reread", "retry", "asked", "presented", "scheduled"}

// String gives the cause's name.
func (c Cause) String() string { return causeNames[c] }

// Event is something that happened to the keys. It never holds a value.
type Event struct {
	Type     EventType
	Cause    Cause
	Level    slog.Level     // how much it matters to an operator
	Text     string         // for people; log lines carry the same text
	Function string         // the function as it was asked for; "" for the host document
	Kind     accesskey.Kind // with the key events and WeakKey
	Name     string         // likewise
	Retired  string         // with KeyRotated, RetiredKeyUsed and KeyRefused: the name of a former value
	Reason   Reason         // with KeyRefused
	Code     string         // diagnostic code, "" for most
	Help     string         // link for Code
	Took     time.Duration  // time the store needed
	// Keys by format, counted per read: the stock host's metrics
	// host.secrets.identifiable and host.secrets.nonidentifiable.
	Identifiable, NotIdentifiable int
	Health                        Health
	Source                        string       // address or network
	From                          AddressClass // with RetiredKeyUsed and KeyRefused: of Source
	Err                           error
}

const (
	weakKeyCode = "AZFD0012"
	weakKeyHelp = "https://aka.ms/functions-non-his-secrets"
)

// levelQuiet marks events that are not logged: they are for metrics.
const levelQuiet = slog.LevelDebug - 4

func (r *Ring) emit(events []Event) {
	for _, e := range events {
		if e.logged() {
			r.log(e)
		}
		r.cfg.OnEvent(e)
	}
}

// logged keeps out what is for metrics only, and bad health, as the event that
// caused it is logged.
func (e Event) logged() bool {
	return e.Level > levelQuiet && (e.Type != HealthChanged || e.Health.State == OK)
}

func (r *Ring) log(e Event) {
	attrs := []slog.Attr{slog.String("event", e.Type.String()), slog.String("cause", e.Cause.String())}
	for _, a := range []slog.Attr{
		slog.String("function", e.Function), slog.String("keyName", e.Name), slog.String("retired", e.Retired),
		slog.String("diagnostic", e.Code),
		slog.String("help", e.Help), slog.String("source", e.Source), slog.String("next", e.Health.Next),
	} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("error", e.Err.Error()))
	}
	r.cfg.Log.LogAttrs(context.Background(), e.Level, e.Text, attrs...)
}

// changedEvent has the stock host's words, which people search logs for.
func (s *Scope) changedEvent(cause Cause) Event {
	text := "Host keys change detected. Clearing cache."
	if !s.doc.IsHost() {
		text = fmt.Sprintf("Function keys change detected. Clearing cache for function '%s'.", s.name)
	}
	return Event{Type: KeysChanged, Cause: cause, Level: slog.LevelInfo, Text: text, Function: s.name}
}

func weakEvent(mode Mode, s *Scope, kind accesskey.Kind, name string, cause Cause) Event {
	level := slog.LevelWarn
	if mode == Enabled {
		level = slog.LevelError
	}
	return Event{
		Type: WeakKey, Cause: cause, Level: level, Function: s.name, Kind: kind, Name: name,
		Code: weakKeyCode, Help: weakKeyHelp,
		Text: fmt.Sprintf("A non highly-identifiable secret has been loaded by the application: "+
			"(KeyType:%s, KeyName:%s, FunctionName:%s).", keyType(kind), name, s.name),
	}
}

func brokenEvent(s *Scope, kind accesskey.Kind, name string, cause Cause, err error) Event {
	return Event{
		Type: MetadataBroken, Cause: cause, Level: slog.LevelError, Function: s.name, Kind: kind, Name: name, Err: err,
		Text: fmt.Sprintf("%s key '%s' does not work: its restrictions cannot be understood", kind, name),
	}
}

func keyType(kind accesskey.Kind) string {
	switch kind {
	case accesskey.Master:
		return "Master"
	case accesskey.System:
		return "System"
	default:
		return "Function"
	}
}
