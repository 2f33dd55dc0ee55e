package engine

import (
	"context"
	"log/slog"

	"github.com/latchkey/latchkey/internal/clock"
)

// Config is what every backend is given.
type Config struct {
	Installation string    // tells our objects from those of another Latchkey on the same engine; a DNS label
	Identity     Identity  // nil: containers get no identity
	Registry     Registry  // nil: images are pulled anonymously
	Changed      func(Ref) // told after every change of a revision's status; must not block; may be nil
	// Drain is called when a replica that still runs is to end, before its containers
	// are asked to; it returns when nothing is under way for it any more, or not worth
	// waiting for. Engines that do not end replicas themselves do not call it. nil: at
	// once.
	Drain func(ctx context.Context, revision Ref, replica string)
	Clock clock.Clock
	Log   *slog.Logger
}

// Start is one start of one container.
type Start struct {
	Revision  Ref
	Replica   string
	Container string
	Role      Role
	Count     int // 0 for the first start of this container in this replica
	// Generation is that of the spec that the container was started for; empty where
	// the engine does not know it (any more).
	Generation string
}

// Identity gives containers their way to tokens. Methods are called from many
// goroutines; those of one replica in the order of its life. All of them may be
// called again for the same thing.
type Identity interface {
	// Environment gives what a start is to find in its environment, such as
	// IDENTITY_ENDPOINT and IDENTITY_HEADER; it is treated as secret. What an
	// earlier start of the same container got must not work any more. An error
	// keeps the container from starting for now; it is tried again.
	Environment(ctx context.Context, s Start) ([]Env, error)
	// Resume is told of a container that runs since before this Engine, with the
	// environment it was given then. An error has the replica replaced.
	Resume(ctx context.Context, s Start, environment []Env) error
	// Ended is told when a container ended: its secret must not work any more.
	Ended(s Start)
	// InitEnded is told when the last init container of a replica succeeded, before
	// any main container starts; also when there are none.
	InitEnded(revision Ref, replica string)
	// Gone is told when nothing of a replica runs any more.
	Gone(revision Ref, replica string)
}

// Credential is what a registry wants to see; the zero value is anonymous.
type Credential struct {
	Username, Password string
	Token              string // a bearer token for the registry instead
}

// Registry is asked before each pull, so that what it gives may be short-lived. An
// error fails the pull with its Reason, ReasonImageAuth if it has none.
type Registry interface {
	Credential(ctx context.Context, revision Ref, image string) (Credential, error)
}
