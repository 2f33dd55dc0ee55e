package timer

import (
	"context"
	"encoding/json"
	"time"

	"github.com/latchkey/latchkey/internal/trigger"
)

// status is what is remembered of a timer, spelled as the stock host spells it.
type status struct {
	Last        moment
	Next        moment
	LastUpdated moment
}

// moment is a time as .NET writes it; the zero time is its default value.
type moment struct{ time.Time }

const (
	layout = "2006-01-02T15:04:05.9999999-07:00"
	unset  = "0001-01-01T00:00:00"
	noZone = "2006-01-02T15:04:05.9999999"
)

// MarshalJSON implements [json.Marshaler].
func (m moment) MarshalJSON() ([]byte, error) {
	if m.IsZero() {
		return json.Marshal(unset)
	}
	return json.Marshal(m.Format(layout))
}

// UnmarshalJSON implements [json.Unmarshaler]; what has no zone is in UTC.
func (m *moment) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t, err = time.Parse(noZone, text)
	}
	m.Time = t
	return err
}

// input is what a function gets.
type input struct {
	Schedule       scheduleInput
	ScheduleStatus *status
	IsPastDue      bool
}

type scheduleInput struct{ AdjustForDST bool }

// call makes the call of the function at a time.
func (l *listener) call(at time.Time, pastDue bool) trigger.Call {
	document, err := json.Marshal(input{scheduleInput{!l.schedule.Constant()}, l.status, pastDue})
	if err != nil {
		panic(err) // years beyond 9999 only
	}
	return trigger.Call{
		Input:    json.RawMessage(document),
		Metadata: map[string]any{"TimerTrigger": at.Format(layout)},
	}
}

func (l *listener) document() string { return "timer." + l.Function.Name }

// load reads what is remembered; nil when nothing is.
func (l *listener) load(ctx context.Context) (*status, error) {
	data, err := l.Memory.Get(ctx, l.document())
	if err != nil || data == nil {
		return nil, err
	}
	var st status
	if err := json.Unmarshal(data, &st); err != nil {
		return nil, err
	}
	return &st, nil
}

// save remembers a status. Without it the timer runs on; what it would do after a
// restart is all that is lost.
func (l *listener) save(ctx context.Context, st status) {
	l.status = &st
	data, err := json.Marshal(st)
	if err == nil {
		err = l.Memory.Put(ctx, l.document(), data)
	}
	if err != nil {
		l.Log.Warn("the timer's state cannot be written; after a restart it may run once too often or once too few", "reason", err)
	}
}
