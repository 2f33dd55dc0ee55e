package engine

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

// Status is what a revision is doing.
type Status struct {
	Ref
	Desired  int
	Ready    int       // ready replicas of the newest spec
	Replicas []Replica // oldest first
	Reason   Reason    // why no replica gets anywhere; empty when all is well
	Message  string    // for people, without secrets
	Events   []Event   // the last 50, oldest first
}

// ReplicaState is the phase of a replica.
type ReplicaState string

const (
	ReplicaPending     ReplicaState = "pending"     // images are fetched, objects made
	ReplicaInit        ReplicaState = "init"        // init containers run
	ReplicaRunning     ReplicaState = "running"     // main containers were started
	ReplicaTerminating ReplicaState = "terminating" // on its way out
)

// Replica is one replica of a revision.
type Replica struct {
	Name       string
	State      ReplicaState
	Ready      bool // every main container runs and is ready
	Current    bool // it is of the newest spec
	Created    time.Time
	Addresses  map[int]string // from the container's port to where it can be dialled from here
	Containers []ContainerStatus
	Reason     Reason // why it does not get on
	Message    string
}

// ContainerState is what a container is doing.
type ContainerState string

const (
	ContainerWaiting    ContainerState = "waiting" // not started yet, or pausing before its next start
	ContainerRunning    ContainerState = "running"
	ContainerTerminated ContainerState = "terminated" // an init container that succeeded, or the replica ends
)

// ContainerStatus is one container of a replica.
type ContainerStatus struct {
	Name     string
	Role     Role
	State    ContainerState
	Ready    bool
	Restarts int
	Started  time.Time // its last start
	LastExit *Exit     // nil: it never ended
	Reason   Reason
	Message  string
}

// Exit is how a container ended.
type Exit struct {
	Code      int
	OOMKilled bool
	At        time.Time
}

// Event is something that happened to a revision.
type Event struct {
	At        time.Time
	Replica   string
	Container string
	Reason    Reason
	Message   string // for people, without secrets
}

// Reason is a stable word for what happened or is wrong.
type Reason string

const (
	ReasonImageName    Reason = "ImageNotFound"     // the registry, or the engine, knows no such image
	ReasonImageAuth    Reason = "ImageDenied"       // the registry wants other credentials
	ReasonImageNetwork Reason = "ImageUnreachable"  // the registry cannot be reached
	ReasonImageInvalid Reason = "ImageInvalid"      // the image cannot be run here
	ReasonPortTaken    Reason = "PortTaken"         // a host port is used by something else
	ReasonEngine       Reason = "EngineUnreachable" // no engine answers
	ReasonIdentity     Reason = "IdentityUnavailable"
	ReasonCommand      Reason = "CommandNotFound" // the image has no such program, or it cannot be executed
	ReasonCrash        Reason = "CrashLoopBackOff"
	ReasonInitFailed   Reason = "InitFailed"
	ReasonUnhealthy    Reason = "Unhealthy" // a probe failed
	ReasonOther        Reason = "Failed"

	ReasonPulled     Reason = "Pulled"
	ReasonStarted    Reason = "Started"
	ReasonExited     Reason = "Exited"
	ReasonReady      Reason = "Ready"
	ReasonAdopted    Reason = "Adopted"
	ReasonReplaced   Reason = "Replaced" // what the replica stood on was gone
	ReasonTerminated Reason = "Terminated"
)

// Failure is an error with a Reason; the cause is usually a problem.Error.
type Failure struct {
	Reason Reason
	Err    error
}

// Error gives the cause's text.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Fail makes an error with a reason.
func Fail(reason Reason, err *problem.Error) error { return &Failure{Reason: reason, Err: err} }

// ReasonOf gives the reason of an error, ReasonOther when it has none, "" for nil.
func ReasonOf(err error) Reason {
	var f *Failure
	switch {
	case err == nil:
		return ""
	case errors.As(err, &f):
		return f.Reason
	}
	return ReasonOther
}

// Await observes a revision every 20 ms until done says so or ctx ends, and gives
// the last status either way.
func Await(ctx context.Context, c clock.Clock, e Engine, revision Ref, done func(Status) bool) (Status, error) {
	for {
		s, err := e.Observe(ctx, revision)
		if err == nil && done(s) {
			return s, nil
		}
		if err != nil && problem.KindOf(err) == problem.NotFound {
			return s, err
		}
		if cause := clock.Sleep(ctx, c, 20*time.Millisecond); cause != nil {
			return s, errors.Join(cause, err)
		}
	}
}
