// Package notify owns the telling of others: events leave as CloudEvents for one
// webhook, in order, signed if asked for, with retries. It does not know what happens
// in an installation, keeps nothing across restarts, and never holds up who sends.
package notify

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

// Limits and defaults.
const (
	DefaultQueue   = 256
	DefaultTimeout = 10 * time.Second // of one try
	DefaultSource  = "/latchkey"
	MaxEvent       = 64 << 10 // bytes; receivers need not take more
	MinSecret      = 16       // bytes
	Tries          = 5        // for each event
)

// Config is what [New] needs. URL, Clock and Log must be set; the zero value of the
// rest is the default.
type Config struct {
	// URL of the webhook: https, or http on this machine. It may hold a secret of the
	// receiver's, so that only its host is ever shown.
	URL string
	// Secret signs what is sent, as the Standard Webhooks specification has it; nil
	// sends unsigned. "whsec_" before base64, as receivers write it, is understood.
	Secret []byte
	Source string // the installation, as events say it: a URI reference
	Clock  clock.Clock
	Log    *slog.Logger
	Queue  int          // events that wait
	Client *http.Client // nil is one with DefaultTimeout; redirects are never followed
}

// Event is something that happened.
type Event struct {
	Type    string    // such as "dev.latchkey.reference.changed"
	Subject string    // what it happened to; may be empty
	Time    time.Time // zero is now
	Data    any       // for JSON; never a secret
}

// Webhook sends events. It is safe for concurrent use.
type Webhook struct {
	cfg     Config
	host    string
	queue   chan job
	dropped atomic.Uint64
	full    atomic.Bool // since an event found no place
}

// job is an event as it is sent; its id stays the same over all tries.
type job struct {
	id, kind string
	body     []byte
}

// envelope is the structured JSON form of CloudEvents 1.0.
type envelope struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Source      string    `json:"source"`
	Type        string    `json:"type"`
	Subject     string    `json:"subject,omitempty"`
	Time        time.Time `json:"time"`
	ContentType string    `json:"datacontenttype,omitempty"`
	Data        any       `json:"data,omitempty"`
}

// New makes a webhook. It returns problem.Invalid, naming the setting, for what can
// never work.
func New(cfg Config) (*Webhook, error) {
	if cfg.Clock == nil || cfg.Log == nil {
		return nil, problem.New(problem.Invalid, "a webhook needs a clock and a log")
	}
	host, err := checkURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if cfg.Secret, err = signingKey(cfg.Secret); err != nil {
		return nil, err
	}
	if cfg.Source == "" {
		cfg.Source = DefaultSource
	}
	if cfg.Queue <= 0 {
		cfg.Queue = DefaultQueue
	}
	cfg.Client = bounded(cfg.Client)
	return &Webhook{cfg: cfg, host: host, queue: make(chan job, cfg.Queue)}, nil
}

// checkURL gives the host of a URL. Its errors do not hold the URL.
func checkURL(text string) (host string, err error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.Fragment != "":
		return "", problem.New(problem.Invalid, "the webhook's url is no URL of a host")
	case u.User != nil:
		return "", problem.New(problem.Invalid, "the webhook's url holds a user name").WithNext("let the receiver check the signature instead")
	case u.Scheme == "http" && onThisMachine(u.Hostname()), u.Scheme == "https":
		return u.Host, nil
	}
	return "", problem.New(problem.Invalid, "the webhook's url is not https").WithNext("use https; plain http is for localhost only")
}

func onThisMachine(name string) bool {
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback() || strings.EqualFold(name, "localhost")
}

// signingKey gives the bytes to sign with.
func signingKey(secret []byte) ([]byte, error) {
	if text, ok := strings.CutPrefix(string(secret), "whsec_"); ok {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, problem.New(problem.Invalid, "the webhook's secret begins with whsec_ and is not base64 from there")
		}
		secret = key
	}
	if secret != nil && len(secret) < MinSecret {
		return nil, problem.New(problem.Invalid, fmt.Sprintf("the webhook's secret has fewer than %d bytes", MinSecret))
	}
	return secret, nil
}

// bounded gives a client that does not follow redirects and does not wait for ever.
func bounded(from *http.Client) *http.Client {
	c := http.Client{}
	if from != nil {
		c = *from
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// Send queues an event and never blocks. Data is read before it returns. An event that
// finds no place, is larger than [MaxEvent] or is no JSON is dropped, counted and
// logged.
func (w *Webhook) Send(e Event) {
	if e.Time.IsZero() {
		e.Time = w.cfg.Clock.Now()
	}
	out := envelope{SpecVersion: "1.0", ID: uuid.NewString(), Source: w.cfg.Source, Type: e.Type, Subject: e.Subject, Time: e.Time.UTC(), Data: e.Data}
	if e.Data != nil {
		out.ContentType = "application/json"
	}
	body, err := json.Marshal(out)
	switch {
	case err != nil || e.Type == "":
		w.drop("it has no type or is no JSON", e.Type)
		return
	case len(body) > MaxEvent:
		w.drop("it is too large", e.Type)
		return
	}
	select {
	case w.queue <- job{out.ID, e.Type, body}:
		w.full.Store(false)
	default:
		w.dropped.Add(1)
		if !w.full.Swap(true) { // once, as there may be many
			w.cfg.Log.Warn("events for the webhook are dropped: too many wait", slog.String("host", w.host), slog.String("type", e.Type), slog.Uint64("dropped", w.dropped.Load()))
		}
	}
}

// Dropped gives how many events were given up since the start.
func (w *Webhook) Dropped() uint64 { return w.dropped.Load() }

func (w *Webhook) drop(why, kind string) {
	w.cfg.Log.Warn("an event for the webhook is dropped: "+why, slog.String("host", w.host), slog.String("type", kind), slog.Uint64("dropped", w.dropped.Add(1)))
}

// Run delivers events, one after the other, until ctx ends; those that wait then are
// dropped. It must not run twice at the same time.
func (w *Webhook) Run(ctx context.Context) {
	for {
		select {
		case j := <-w.queue:
			w.deliver(ctx, j)
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			w.abandon()
			return
		}
	}
}

func (w *Webhook) abandon() {
	left := uint64(len(w.queue))
	for range left {
		<-w.queue
	}
	if left > 0 {
		w.cfg.Log.Warn("events for the webhook are dropped: this node stops", slog.String("host", w.host), slog.Uint64("events", left), slog.Uint64("dropped", w.dropped.Add(left)))
	}
}
