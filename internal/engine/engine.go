// Package engine owns the contract for running the containers of an app: what a
// revision's replicas are to be (Spec), what they are (Status), and what every
// backend promises about order, restarts, repair and identity. One conformance
// suite, enginetest, holds all backends to it.
//
// It deliberately knows no backend, no ARM shapes, no scale rules and no ingress:
// who decides about revisions, traffic and the number of replicas calls it, and who
// proxies requests asks it for addresses.
package engine

import (
	"context"
	"io"
)

// Engine runs revisions. What is wanted of it lives as long as the Engine: after a
// restart of Latchkey the caller places every revision again, and replicas of the
// same Spec that still run are taken over, not started anew. All methods are safe
// for concurrent use. A revision that is not placed is problem.NotFound; an engine
// that cannot be reached is problem.Unavailable with ReasonEngine.
type Engine interface {
	// Place makes a revision what spec says and keeps it so until Remove: replicas
	// that die are repaired. It returns when the wish is taken, not when replicas
	// run; see Observe and Await. Placing the same spec again changes nothing. A
	// spec that differs in anything but Replicas (see Spec.Digest) replaces the
	// replicas: an old one goes when a new one is ready. problem.Invalid names the
	// field that is wrong.
	Place(ctx context.Context, spec Spec) error
	// Scale sets the number of replicas and nothing else. When there are too many,
	// those that are not ready go first, then the youngest.
	Scale(ctx context.Context, revision Ref, replicas int) error
	// Remove ends a revision and returns when nothing of it is left. Removing what
	// is not there is no error.
	Remove(ctx context.Context, revision Ref) error
	// Observe tells what a revision's replicas are doing.
	Observe(ctx context.Context, revision Ref) (Status, error)
	// Logs writes the lines of one container to w until ctx ends, or until the
	// lines there are have been written if Follow is not set.
	Logs(ctx context.Context, of Target, opts LogOptions, w io.Writer) error
	// Exec runs a command in a running container and gives its exit code.
	// problem.Conflict if the container does not run.
	Exec(ctx context.Context, in Target, cmd Exec) (int, error)
	// List tells of everything that this installation has on the engine, placed by
	// this Engine or by one before it.
	List(ctx context.Context) ([]Object, error)
	// Sweep removes what List gives and is neither placed now nor kept; it returns
	// what it removed. Call it when every revision was placed after a start.
	Sweep(ctx context.Context, keep func(Ref) bool) ([]Object, error)
	// Close lets go of everything: what can outlive Latchkey goes on running and is
	// found by the next Engine, the rest ends.
	Close() error
	// String names the backend and where it is, for messages.
	String() string
}

// Ref names one revision of one app.
type Ref struct {
	App      string // the app's resource id or any other name of it; compared without case
	Revision string // a name of a DNS label: lower case letters, digits, dashes
}

// Role says when a container of a replica runs.
type Role string

const (
	RoleInit    Role = "init"    // one after the other, each to success, before the main ones
	RoleMain    Role = "main"    // all together, started again when they end
	RoleSidecar Role = "sidecar" // ours, where a backend needs one: its network is the replica's, from before the first container to after the last
)

// Target is one container of one replica.
type Target struct {
	Revision  Ref
	Replica   string // empty: any replica, running ones first
	Container string // empty: the first main container
}

// LogOptions say which lines are wanted.
type LogOptions struct {
	Follow bool
	Tail   int // the last lines only; 0: all that are kept
}

// Exec is a command to run in a container.
type Exec struct {
	Command        []string
	Stdin          io.Reader // may be nil
	Stdout, Stderr io.Writer // may be nil
	TTY            bool
}

// Object is something of ours on the engine: a container, volume or the like.
type Object struct {
	Revision  Ref
	Replica   string
	Container string
	Role      Role   // empty: no container
	Kind      string // "container", "volume", "process", …
	ID        string // the engine's name for it
	Running   bool
}
