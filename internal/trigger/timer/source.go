// Package timer owns timer triggers: when their functions run, what is remembered
// of it, and that over all hosts of an app each runs once and never beside itself.
// Expressions and time zones are the business of schedule.
package timer

import (
	"context"
	"strings"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/schedule"
)

// Source makes the listeners of timers.
type Source struct{}

var (
	_ trigger.Source = Source{}
	_ trigger.Asker  = Source{}
)

// Type implements [trigger.Source].
func (Source) Type() string { return "timerTrigger" }

// Check implements [trigger.Source].
func (Source) Check(s *trigger.Setup) []funcapp.Fault {
	_, err := read(s)
	if err == nil {
		return nil
	}
	return []funcapp.Fault{{Message: err.Error(), Next: problem.NextOf(err)}}
}

// Listener implements [trigger.Source].
func (Source) Listener(s *trigger.Setup) (trigger.Listener, error) {
	t, err := read(s)
	if err != nil {
		return nil, err
	}
	return &listener{timer: t, Setup: s, done: make(chan struct{})}, nil
}

// Asked implements [trigger.Asker]: the function gets the state of its timer,
// whatever the text.
func (Source) Asked(ctx context.Context, s *trigger.Setup, _ string) trigger.Call {
	t, err := read(s)
	if err != nil {
		return trigger.Call{}
	}
	l := &listener{timer: t, Setup: s}
	if t.monitor {
		l.status, _ = l.load(ctx) // unknown is none
	}
	return l.call(s.Clock.Now().In(t.zone), false)
}

// read understands the binding of a timer.
func read(s *trigger.Setup) (timer, error) {
	text, _ := s.Binding.Properties["schedule"].(string)
	if strings.TrimSpace(text) == "" {
		return timer{}, problem.New(problem.Invalid, "the timer trigger has no schedule").
			WithNext(`add "schedule": "0 */5 * * * *" to it`)
	}
	zone, err := schedule.Zone(s.Setting)
	if err != nil {
		return timer{}, err
	}
	t := timer{zone: zone}
	if t.schedule, err = schedule.Parse(text, zone); err != nil {
		return timer{}, problem.Wrap(problem.Invalid, "the timer's schedule cannot be used", err)
	}
	if t.monitor, err = flag(s.Binding, "useMonitor", true); err != nil {
		return timer{}, err
	}
	t.atStart, err = flag(s.Binding, "runOnStartup", false)
	return t, err
}

// flag reads a member that is true or false, also as text.
func flag(b *funcapp.Binding, name string, otherwise bool) (bool, error) {
	switch v := b.Properties[strings.ToLower(name)].(type) {
	case nil:
		return otherwise, nil
	case bool:
		return v, nil
	case string:
		switch strings.ToLower(v) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		case "":
			return otherwise, nil
		}
	}
	return false, problem.New(problem.Invalid, name+" of the timer trigger must be true or false")
}
