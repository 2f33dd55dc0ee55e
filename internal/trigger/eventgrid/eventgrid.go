// Package eventgrid owns the trigger of type eventGridTrigger: the webhook to
// which Event Grid delivers events, in its own schema or as CloudEvents, and the
// handshakes by which it makes sure that the receiver wants them. It does not know
// who may call the webhook, where keys are kept, or how functions run.
package eventgrid

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/trigger"
)

const (
	// Extension names the webhook, /runtime/webhooks/eventgrid, and its system key,
	// eventgrid_extension.
	Extension = "eventgrid"
	// Type is the binding type.
	Type = "eventGridTrigger"
)

// Config says what an endpoint is made of.
type Config struct {
	Clock clock.Clock
	Log   *slog.Logger
	// Prepare makes sure that the webhook is served and has its system key, so that
	// a subscription can be made before the first event. Its error keeps a function
	// from listening and shows in the function's status; it is tried again. May be
	// nil.
	Prepare func(context.Context) error
	// Expected reports whether the app has a function of this name that listens as
	// soon as it can: its events are asked for again instead of being refused while
	// the app restarts. nil: no function is expected.
	Expected func(function string) bool
}

// Endpoint is the webhook of one app and the source of its listeners. It is an
// [http.Handler]; all methods are safe for concurrent use.
type Endpoint struct {
	cfg        Config
	places     chan struct{} // one for each invocation at a time
	deliveries chan struct{} // one for each request at a time

	mu        sync.Mutex
	listeners map[string]*listener // by lower-cased function
	changed   chan struct{}        // closed and replaced when listeners changes
}

var _ trigger.Source = (*Endpoint)(nil)

// New makes an endpoint without functions.
func New(cfg Config) *Endpoint {
	return &Endpoint{
		cfg: cfg, places: make(chan struct{}, maxInvocations), deliveries: make(chan struct{}, maxDeliveries),
		listeners: map[string]*listener{}, changed: make(chan struct{}),
	}
}

// Type implements [trigger.Source].
func (e *Endpoint) Type() string { return Type }

// Check implements [trigger.Source].
func (e *Endpoint) Check(s *trigger.Setup) []funcapp.Fault {
	if s.Binding.Direction != funcapp.In {
		return []funcapp.Fault{{
			Message: "an eventGridTrigger must have direction in",
			Next:    `give it "direction": "in"`,
		}}
	}
	return nil
}

// Listener implements [trigger.Source].
func (e *Endpoint) Listener(s *trigger.Setup) (trigger.Listener, error) {
	return &listener{
		endpoint: e, name: s.Function.Name, invoke: s.Invoke, log: s.Log,
		many: strings.EqualFold(s.Binding.Cardinality, "many"),
	}, nil
}

// find gives the listener of a function, ignoring case, and what is closed when
// there may be another.
func (e *Endpoint) find(function string) (*listener, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.listeners[strings.ToLower(function)], e.changed
}

// replace sets the listener of a function if it is old; nil takes it away.
func (e *Endpoint) replace(function string, old, l *listener) {
	e.mu.Lock()
	defer e.mu.Unlock()
	name := strings.ToLower(function)
	switch {
	case l != nil:
		e.listeners[name] = l
	case e.listeners[name] == old:
		delete(e.listeners, name)
	}
	close(e.changed)
	e.changed = make(chan struct{})
}
