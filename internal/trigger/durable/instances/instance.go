// Package instances owns what is known of an orchestration: its state, its history
// and what waits for it, and the contract of where that is kept. It does not know
// how orchestrations run or who asks for them.
package instances

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// Status is the state of an instance, spelled as answers show it.
type Status string

// States of an instance. Those from Completed on are final.
const (
	Pending    Status = "Pending"
	Running    Status = "Running"
	Suspended  Status = "Suspended"
	Completed  Status = "Completed"
	Failed     Status = "Failed"
	Terminated Status = "Terminated"
	Canceled   Status = "Canceled"
)

// Statuses are all states, in the order above.
func Statuses() []Status {
	return []Status{Pending, Running, Suspended, Completed, Failed, Terminated, Canceled}
}

// Final reports whether the instance does no more.
func (s Status) Final() bool { return slices.Contains(Statuses()[3:], s) }

// Instance is one orchestration. A value: whoever changes one works on its own.
type Instance struct {
	ID           string          `json:"id"`
	Name         string          `json:"name"` // of the orchestrator function
	Version      string          `json:"version,omitempty"`
	Execution    string          `json:"execution"` // changes with every start over
	Status       Status          `json:"status"`
	Input        json.RawMessage `json:"input,omitempty"`
	Output       json.RawMessage `json:"output,omitempty"`
	CustomStatus json.RawMessage `json:"customStatus,omitempty"`
	Created      time.Time       `json:"created"`
	Updated      time.Time       `json:"updated"`
	Parent       *Parent         `json:"parent,omitempty"`

	History []Event `json:"history,omitempty"`
	// Inbox is what happened and was not shown to the orchestrator yet.
	Inbox []Event `json:"inbox,omitempty"`
	// Tasks are those in progress, by their id.
	Tasks map[int]Task `json:"tasks,omitempty"`
	// NextID is the id of the next task; Assigned the ids of the tasks that the
	// orchestrator asked for, in its order, -1 for what has none.
	NextID int `json:"nextId,omitempty"`
	// Single has events shown one at a time: ids depend on their order.
	Single   bool  `json:"single,omitempty"`
	Assigned []int `json:"assigned,omitempty"`
	// Before is what a rewind goes back to: the lengths and ids before the last turn.
	Before *Mark `json:"before,omitempty"`
}

// Parent is the orchestration that started another, and the task it waits for.
type Parent struct {
	ID   string `json:"id"`
	Task int    `json:"task"`
}

// Mark is a point in the life of an instance.
type Mark struct {
	History  int          `json:"history"`
	NextID   int          `json:"nextId"`
	Assigned int          `json:"assigned"`
	Tasks    map[int]Task `json:"tasks,omitempty"`
	Inbox    []Event      `json:"inbox,omitempty"`
}

// TaskKind says what a task does.
type TaskKind string

// Kinds of tasks.
const (
	Activity TaskKind = "activity"
	Timer    TaskKind = "timer"
	Child    TaskKind = "child" // another orchestration
)

// Task is something that an orchestrator waits for.
type Task struct {
	Kind     TaskKind        `json:"kind"`
	Name     string          `json:"name,omitempty"`
	Input    json.RawMessage `json:"input,omitempty"`
	Instance string          `json:"instance,omitempty"` // of a child
	Version  string          `json:"version,omitempty"`  // of a child
	FireAt   time.Time       `json:"fireAt,omitzero"`    // of a timer
	Retry    *Retry          `json:"retry,omitempty"`
	Attempt  int             `json:"attempt,omitempty"` // with Retry: 1 for the first
	Again    *Task           `json:"again,omitempty"`   // of a timer: what is tried again; its Attempt is the next
}

// Retry is how often and when a task is tried again. Intervals are milliseconds.
type Retry struct {
	First    float64 `json:"firstRetryIntervalInMilliseconds"`
	Attempts int     `json:"maxNumberOfAttempts"`
	Backoff  float64 `json:"backoffCoefficient,omitempty"`
	Most     float64 `json:"maxRetryIntervalInMilliseconds,omitempty"`
	Within   float64 `json:"retryTimeoutInMilliseconds,omitempty"`
}

// Query says which instances are meant. Its zero value means all.
type Query struct {
	Prefix   string
	Statuses []Status
	From, To time.Time // of creation; zero is no bound
}

// Matches reports whether an instance is meant.
func (q *Query) Matches(i *Instance) bool {
	return strings.HasPrefix(i.ID, q.Prefix) &&
		(len(q.Statuses) == 0 || slices.Contains(q.Statuses, i.Status)) &&
		(q.From.IsZero() || !i.Created.Before(q.From)) && (q.To.IsZero() || !i.Created.After(q.To))
}

// Store keeps the instances of one app. It is safe for concurrent use, by several
// hosts where it says so.
type Store interface {
	// Get reads an instance; problem.NotFound when there is none.
	Get(ctx context.Context, id string) (*Instance, error)
	// Update changes an instance whoever else does at the same time: change gets
	// nil when there is none and gives what is to be kept, nil to delete it. It may
	// run more than once. Its error is returned and nothing is changed; with
	// [ErrKeep] what there was is returned without error. problem.TooLarge for an
	// instance of more than [MaxBytes], and the errors of [Budget.Check] where the
	// store has a budget.
	Update(ctx context.Context, id string, change Change) (*Instance, error)
	// List gives up to limit instances after one, in order of their ids; more says
	// that there are others.
	List(ctx context.Context, after string, limit int) (list []*Instance, more bool, err error)
	// Unfinished gives the ids of the instances that have not ended, in order. It reads
	// no instance again that was seen to have ended. One that cannot be understood is
	// among them.
	Unfinished(ctx context.Context) (ids []string, err error)
}

// Watcher is the optional power of a store that several hosts use to tell of changes
// by any of them.
type Watcher interface {
	// Watch calls changed, one call at a time, with each instance as it was changed
	// to, and with nil when any may have changed: at first, and after changes were
	// missed. Of one that was deleted only the id is given. It returns when ctx ends.
	Watch(ctx context.Context, changed func(*Instance))
}

// Change makes what is to be kept of an instance.
type Change func(old *Instance) (*Instance, error)

// MaxBytes bounds an instance with its history, as JSON.
const MaxBytes = 900 << 10

// MaxID bounds an id, in bytes.
const MaxID = 256

// ErrKeep leaves an instance as it is.
const ErrKeep = keepError("nothing to change")

type keepError string

func (e keepError) Error() string { return string(e) }

// CheckID returns problem.Invalid for what cannot be the id of an instance.
func CheckID(id string) error {
	bad := problem.New(problem.Invalid, "an instance id has 1 to 256 characters, none of them a control character or one of / \\ # ?")
	if id == "" || len(id) > MaxID {
		return bad
	}
	for _, r := range id {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xfffd || strings.ContainsRune(`/\#?`, r) {
			return bad
		}
	}
	return nil
}

// Encode gives an instance as it is kept; problem.TooLarge if it is too large.
func Encode(i *Instance) ([]byte, error) {
	data, err := json.Marshal(i)
	switch {
	case err != nil:
		return nil, problem.Wrap(problem.Internal, "an instance cannot be written", err)
	case len(data) > MaxBytes:
		return nil, problem.New(problem.TooLarge, "the orchestration with its history is larger than 900 KiB").
			WithNext("start it over with continueAsNew, or pass smaller values")
	}
	return data, nil
}

// Ended reports whether what Encode wrote is an instance that has ended, without
// reading the rest. It is false for anything else.
func Ended(data []byte) bool {
	var i struct {
		Status Status `json:"status"`
	}
	return json.Unmarshal(data, &i) == nil && i.Status.Final()
}

// Decode reads what Encode wrote; problem.Undecryptable for anything else.
func Decode(data []byte) (*Instance, error) {
	var i Instance
	if err := json.Unmarshal(data, &i); err != nil || i.ID == "" {
		return nil, problem.New(problem.Undecryptable, "a stored orchestration cannot be understood")
	}
	return &i, nil
}
