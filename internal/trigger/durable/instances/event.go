package instances

import "time"

// EventType is the number by which histories tell events apart.
type EventType int

// Types of events, as SDKs number them.
const (
	ExecutionStarted    EventType = 0
	ExecutionCompleted  EventType = 1
	ExecutionTerminated EventType = 3
	TaskScheduled       EventType = 4
	TaskCompleted       EventType = 5
	TaskFailed          EventType = 6
	ChildCreated        EventType = 7
	ChildCompleted      EventType = 8
	ChildFailed         EventType = 9
	TimerCreated        EventType = 10
	TimerFired          EventType = 11
	OrchestratorStarted EventType = 12
	OrchestratorEnded   EventType = 13
	EventRaised         EventType = 15
	ContinueAsNew       EventType = 16
	ExecutionSuspended  EventType = 19
	ExecutionResumed    EventType = 20
)

var eventNames = map[EventType]string{
	ExecutionStarted: "ExecutionStarted", ExecutionCompleted: "ExecutionCompleted", ExecutionTerminated: "ExecutionTerminated",
	TaskScheduled: "TaskScheduled", TaskCompleted: "TaskCompleted", TaskFailed: "TaskFailed",
	ChildCreated: "SubOrchestrationInstanceCreated", ChildCompleted: "SubOrchestrationInstanceCompleted", ChildFailed: "SubOrchestrationInstanceFailed",
	TimerCreated: "TimerCreated", TimerFired: "TimerFired", OrchestratorStarted: "OrchestratorStarted", OrchestratorEnded: "OrchestratorCompleted",
	EventRaised: "EventRaised", ContinueAsNew: "ContinueAsNew", ExecutionSuspended: "ExecutionSuspended", ExecutionResumed: "ExecutionResumed",
}

// String gives the name as histories in answers show it.
func (t EventType) String() string { return eventNames[t] }

// Event is one entry of a history. Members are spelled as SDKs read them; values
// of functions are JSON in a text.
type Event struct {
	EventType       EventType
	EventId         int //nolint:revive // the member's name
	IsPlayed        bool
	Timestamp       time.Time
	Name            string     `json:",omitempty"`
	Input           *string    `json:",omitempty"`
	Result          *string    `json:",omitempty"`
	TaskScheduledId *int       `json:",omitempty"`
	TimerId         *int       `json:",omitempty"`
	FireAt          *time.Time `json:",omitempty"`
	Reason          *string    `json:",omitempty"`
	Details         *string    `json:",omitempty"`
	InstanceId      string     `json:",omitempty"`
	Version         string     `json:",omitempty"`
}

// Task gives the id of the task that the event ends; ok is false for other events.
func (e *Event) Task() (id int, ok bool) {
	switch {
	case e.TaskScheduledId != nil:
		return *e.TaskScheduledId, true
	case e.TimerId != nil:
		return *e.TimerId, true
	}
	return 0, false
}

// Text gives a pointer to a text, for members of an event.
func Text(s string) *string { return &s }
