package engine

import (
	"context"
	"time"
)

// AutoScaler is what an Engine may be besides: one on which something else than
// Latchkey can decide about the number of replicas.
type AutoScaler interface {
	// AutoScale hands the number of a placed revision's replicas over to the engine;
	// nil takes it back, and Scale counts again. Rules that the engine has nobody for
	// are problem.Unsupported with the rule's name, and nothing is changed: whoever
	// asked goes on scaling by itself.
	AutoScale(ctx context.Context, revision Ref, by *AutoScale) error
}

// AutoScale says how an engine is to scale a revision.
type AutoScale struct {
	Min, Max int           // of replicas; Max at least 1
	Polling  time.Duration // between looks at the sources; 0: 30 s
	Cooldown time.Duration // without a reason before the last replica goes; 0: 300 s
	Rules    []AutoScaleRule
}

// AutoScaleRule is one reason to have more replicas.
type AutoScaleRule struct {
	Name     string
	Type     string            // of a KEDA scaler, such as "cpu" or "azure-queue"; "http" and "tcp" for those of ingress
	Metadata map[string]string // as the scaler documents it
	Auth     []AutoScaleAuth
	Identity string // "system" or the id of a user-assigned one that reads the source; empty: none
}

// AutoScaleAuth is a parameter of a scaler with a secret value.
type AutoScaleAuth struct {
	Parameter string
	Value     string
}
