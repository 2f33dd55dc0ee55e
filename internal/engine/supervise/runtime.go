// Package supervise owns how a wish becomes running containers and stays so: the
// order of init and main containers, restarts with growing pauses, probes, repair,
// taking over what runs already, and the calls to the identity provider. Backends
// that run single containers give it a Runtime and are an engine.Engine.
//
// It does not know what a container is, how images are fetched, or who wants what.
package supervise

import (
	"context"
	"io"
	"time"

	"github.com/latchkey/latchkey/internal/engine"
)

// Runtime runs single containers. Errors carry an engine.Reason (see engine.Fail);
// one with engine.ReasonEngine says that nothing was found out and that it is to be
// tried again. All methods are safe for concurrent use.
type Runtime interface {
	// Sidecar gives the container that must run before and with all others of a
	// replica, nil if none is needed.
	Sidecar() *engine.Container
	// Present tells whether an image need not be pulled.
	Present(ctx context.Context, image string) (bool, error)
	// Pull fetches an image.
	Pull(ctx context.Context, image string, with engine.Credential) error
	// Start makes and starts a container and gives its id. A container of the same
	// replica and name is removed first.
	Start(ctx context.Context, u Unit) (id string, err error)
	// Wait returns when a container does not run any more. problem.NotFound when
	// it is not there at all.
	Wait(ctx context.Context, id string) (engine.Exit, error)
	// Stop asks a container to end, kills it after grace, and returns when it
	// ended. What does not run or is not there is no error.
	Stop(ctx context.Context, id string, grace time.Duration) error
	// Addresses tells where the ports of a replica can be dialled from here.
	Addresses(ctx context.Context, replica string) (map[int]string, error)
	// Environment gives the environment a container was started with.
	Environment(ctx context.Context, id string) ([]engine.Env, error)
	// Remove ends and removes everything of a replica.
	Remove(ctx context.Context, replica string) error
	// List gives everything of the installation.
	List(ctx context.Context) ([]Found, error)
	Logs(ctx context.Context, id string, opts engine.LogOptions, w io.Writer) error
	Exec(ctx context.Context, id string, cmd engine.Exec) (int, error)
	// Close ends what cannot outlive Latchkey.
	Close() error
	String() string
}

// Unit is one start of a container.
type Unit struct {
	engine.Start
	Digest  string // of the spec
	Spec    engine.Container
	Env     []engine.Env // all of it, identity included; later ones win
	Volumes []engine.Volume
	Ports   []engine.Port // of the replica
}

// Found is a container or other object of ours, with what its labels say.
type Found struct {
	engine.Object
	Digest  string
	Count   int // of its start
	Created time.Time
	Started time.Time
}
