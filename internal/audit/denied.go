package audit

import (
	"strconv"
	"time"
)

// denials are those that wait to be written, and those being merged.
type denials struct {
	ready    []Event
	merging  map[denialKey]*Event // the repetitions of a denial; Count 0: none so far
	dropped  int
	retryNot time.Time // before it, ready is not tried again
}

// denialKey says which denials are the same.
type denialKey struct {
	principal, source, action, scope, reason string
}

func keyOf(e Event) denialKey {
	who := e.Principal.ObjectID
	if who == "" {
		who = e.Principal.AppID
	}
	source := e.Source
	if who != "" {
		source = "" // a known principal is the same from everywhere
	}
	return denialKey{who, source, e.Action, e.Scope, e.Reason}
}

// Record adds a denial without waiting. The first of its kind is written at once;
// what repeats it within a minute becomes one event with a count, written when
// the minute is over. Denials are the same if principal (or, for unknown ones,
// source), action, scope and reason are. When too many wait they are dropped,
// and how many were is written as an event.
func (l *Log) Record(e Event) {
	e = l.complete(e)
	k := keyOf(e)
	l.mu.Lock()
	defer l.mu.Unlock()
	d := &l.denied
	if m := d.merging[k]; m != nil && e.Time.Sub(m.Time) < mergeWithin {
		m.Count++
		m.Until, m.CorrelationID = e.Time, e.CorrelationID
		return
	} else if m != nil {
		d.settle(k, m)
	}
	if len(d.ready) >= maxPending || len(d.merging) >= maxPending {
		d.dropped++
		return
	}
	d.ready = append(d.ready, e)
	repeats := e
	repeats.Count = 0
	d.merging[k] = &repeats
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// settle ends the merging of a denial.
func (d *denials) settle(k denialKey, m *Event) {
	delete(d.merging, k)
	if m.Count > 0 {
		d.ready = append(d.ready, *m) // one for each that was admitted to merging
	}
}

// nextDue says how long until something is to be written that nobody wakes for.
func (l *Log) nextDue() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, next := l.clock.Now(), 24*time.Hour
	if len(l.denied.ready) > 0 || l.denied.dropped > 0 {
		next = max(l.denied.retryNot.Sub(now), time.Millisecond)
	}
	for _, m := range l.denied.merging {
		next = min(next, max(m.Time.Add(mergeWithin).Sub(now), time.Millisecond))
	}
	return next
}

// takeDenied gives the next denial that is due.
func (l *Log) takeDenied() (Event, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d, now := &l.denied, l.clock.Now()
	for k, m := range d.merging {
		if now.Sub(m.Time) >= mergeWithin {
			d.settle(k, m)
		}
	}
	if now.Before(d.retryNot) {
		return Event{}, false
	}
	if len(d.ready) == 0 && d.dropped > 0 {
		e := l.complete(Event{
			Category: System, Action: "Latchkey.Audit/dropped", Reason: "too many denials at once; these were not recorded",
			Count: d.dropped, Details: map[string]string{"dropped": strconv.Itoa(d.dropped)},
		})
		d.dropped = 0
		return e, true
	}
	if len(d.ready) == 0 {
		return Event{}, false
	}
	e := d.ready[0]
	d.ready = d.ready[1:]
	return e, true
}

// putBack takes an event again that could not be written.
func (l *Log) putBack(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.denied.retryNot = l.clock.Now().Add(retryAfter)
	if e.Action == "Latchkey.Audit/dropped" {
		l.denied.dropped += e.Count
		return
	}
	l.denied.ready = append([]Event{e}, l.denied.ready...)
}

// mergeAll makes everything due, for the end.
func (l *Log) mergeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, m := range l.denied.merging {
		l.denied.settle(k, m)
	}
	l.denied.retryNot = time.Time{}
}
