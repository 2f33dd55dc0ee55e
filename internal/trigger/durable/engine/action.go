package engine

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
)

// answer is what an orchestrator function returns. Actions are all that it asked
// for since it began, in its order.
type answer struct {
	IsDone       bool            `json:"isDone"`
	Actions      [][]action      `json:"actions"`
	Output       json.RawMessage `json:"output"`
	Error        string          `json:"error"`
	CustomStatus json.RawMessage `json:"customStatus"`
}

// Numbers of actions, as SDKs spell them.
const (
	callActivity      = 0
	callActivityRetry = 1
	callChild         = 2
	callChildRetry    = 3
	continueAsNew     = 4
	createTimer       = 5
	waitForEvent      = 6
	whenAny           = 11
	whenAll           = 12
)

type action struct {
	Type         int              `json:"actionType"`
	FunctionName string           `json:"functionName"`
	Input        json.RawMessage  `json:"input"`
	InstanceID   string           `json:"instanceId"`
	Version      string           `json:"version"`
	Retry        *instances.Retry `json:"retryOptions"`
	FireAt       time.Time        `json:"fireAt"`
	Canceled     bool             `json:"isCanceled"`
	Event        string           `json:"externalEventName"`
	Compound     []action         `json:"compoundActions"`
}

// step is an action as it stands in the list of all: top numbers what it is part
// of, inside says that it is part of several.
type step struct {
	action
	top    int
	inside bool
}

func flatten(a *answer) []step {
	var steps []step
	top := 0
	for _, list := range a.Actions {
		for _, act := range list {
			steps = appendSteps(steps, act, top, false)
			top++
		}
	}
	return steps
}

func appendSteps(steps []step, a action, top int, inside bool) []step {
	if a.Type != whenAny && a.Type != whenAll {
		return append(steps, step{a, top, inside})
	}
	for _, c := range a.Compound {
		steps = appendSteps(steps, c, top, true)
	}
	return steps
}

// task gives what an action asks to be done; ok is false when it asks for nothing.
func (s *step) task() (t instances.Task, ok bool, err error) {
	switch s.Type {
	case callActivity:
		return instances.Task{Kind: instances.Activity, Name: s.FunctionName, Input: s.Input}, true, nil
	case callActivityRetry:
		return instances.Task{Kind: instances.Activity, Name: s.FunctionName, Input: s.Input, Retry: s.Retry, Attempt: 1}, true, nil
	case callChild:
		return instances.Task{Kind: instances.Child, Name: s.FunctionName, Input: s.Input, Instance: s.InstanceID, Version: s.Version}, true, nil
	case callChildRetry:
		return instances.Task{Kind: instances.Child, Name: s.FunctionName, Input: s.Input, Instance: s.InstanceID, Version: s.Version, Retry: s.Retry, Attempt: 1}, true, nil
	case createTimer:
		return instances.Task{Kind: instances.Timer, FireAt: s.FireAt}, true, nil
	case waitForEvent, continueAsNew:
		return t, false, nil
	}
	return t, false, problem.New(problem.Unsupported, "the orchestrator asked for "+actionName(s.Type)+", which this host does not have")
}

func actionName(kind int) string {
	switch kind {
	case 7, 9, 13, 14:
		return "an entity"
	case 8:
		return "a durable HTTP call"
	}
	return "an unknown action"
}

// careful reports whether ids of later tasks depend on the order of events.
func careful(a *answer) bool {
	var any func([]action) bool
	any = func(list []action) bool {
		for _, c := range list {
			if c.Type == whenAny || c.Type == callActivityRetry || c.Type == callChildRetry || any(c.Compound) {
				return true
			}
		}
		return false
	}
	for _, list := range a.Actions {
		if any(list) {
			return true
		}
	}
	return false
}

// unpacked gives the input of an action: libraries put JSON into a text, or give
// the value itself.
func unpacked(v json.RawMessage) json.RawMessage {
	var text string
	if json.Unmarshal(v, &text) == nil && len(v) > 0 && v[0] == '"' && json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return orNull(v)
}

// failureMark is where workers put the answer of an orchestrator that threw.
const failureMark = "$OutOfProcData$:"

// failedAnswer reads the answer out of the text of a failure; nil when there is none.
func failedAnswer(text string) *answer {
	_, rest, ok := strings.Cut(text, failureMark)
	if !ok {
		return nil
	}
	var a answer
	if json.NewDecoder(strings.NewReader(rest)).Decode(&a) != nil {
		return nil
	}
	return &a
}
