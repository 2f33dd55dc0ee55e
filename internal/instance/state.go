package instance

import "time"

// State of an instance, spelled as the runtime API spells it (runtime §13).
type State string

const (
	Default     State = "Default"
	Starting    State = "Starting"
	Initialized State = "Initialized"
	Running     State = "Running"
	Error       State = "Error"
	Stopping    State = "Stopping"
	Stopped     State = "Stopped"
	Offline     State = "Offline"
)

// mayRecoverSoon reports whether a request should wait rather than be refused.
func (s State) mayRecoverSoon() bool {
	return s == Default || s == Starting || s == Initialized || s == Running
}

// Status is a state with the reasons for it.
type Status struct {
	State  State
	Errors []string // for people; never a secret
	Since  time.Time
}
