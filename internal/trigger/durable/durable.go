// Package durable owns what the host does for Durable Functions: the webhook by
// which orchestrations are started and managed, the sources of their triggers, and
// the value of the binding by which functions reach the webhook. How orchestrations
// run is the engine's. It does not know who may call the webhook or where keys and
// instances are kept.
package durable

import (
	"context"
	"log/slog"
	"strings"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/durable/engine"
)

const (
	// Extension names the webhook, /runtime/webhooks/durabletask, and its system
	// key, durabletask_extension.
	Extension = "durabletask"
	// OrchestrationTrigger and ActivityTrigger are the types of trigger bindings.
	OrchestrationTrigger = "orchestrationTrigger"
	ActivityTrigger      = "activityTrigger"
)

// Base is the path of the webhook.
const Base = "/runtime/webhooks/" + Extension

// Inputs are the types of input bindings whose value is that of [Hub.Client].
func Inputs() []string { return []string{"durableClient", "orchestrationClient"} }

// IsClient reports whether a binding is one by which a function reaches the webhook.
func IsClient(b *funcapp.Binding) bool {
	for _, t := range Inputs() {
		if strings.EqualFold(b.Type, t) && b.Direction == funcapp.In {
			return true
		}
	}
	return false
}

// Uses reports whether a function has anything to do with orchestrations, so that
// its app needs the webhook and its key.
func Uses(f *funcapp.Function) bool {
	for n := range f.Bindings {
		b := &f.Bindings[n]
		if IsClient(b) || strings.EqualFold(b.Type, OrchestrationTrigger) || strings.EqualFold(b.Type, ActivityTrigger) {
			return true
		}
	}
	return false
}

// Config says what a hub is made of.
type Config struct {
	Engine *engine.Engine
	Clock  clock.Clock
	Log    *slog.Logger
	Name   func() string // of the task hub
	// Orchestrators gives the names of the app's orchestrator functions that can run.
	Orchestrators func() []string
	// Key gives the webhook's system key, which links in answers carry. It makes the
	// key if there is none.
	Key func(context.Context) (string, error)
}

// Hub is the webhook of one app. It is an [http.Handler]; all methods are safe for
// concurrent use.
type Hub struct{ cfg Config }

// New makes a hub.
func New(cfg Config) *Hub { return &Hub{cfg} }

// Sources are the triggers: nothing listens for them, the engine asks for their
// functions by name.
func Sources() []trigger.Source {
	return []trigger.Source{trigger.Passive(OrchestrationTrigger), trigger.Passive(ActivityTrigger)}
}

// DefaultHub is the name of a task hub that is not given one.
const DefaultHub = "DurableFunctionsHub"

// HubName gives the name of an app's task hub as host.json says it.
func HubName(host map[string]any) string {
	v := any(host)
	for _, name := range []string{"extensions", "durableTask", "hubName"} {
		m, ok := v.(map[string]any)
		if !ok {
			return DefaultHub
		}
		v = nil
		for key, value := range m {
			if strings.EqualFold(key, name) {
				v = value
			}
		}
	}
	if s, ok := v.(string); ok && s != "" {
		return s
	}
	return DefaultHub
}
