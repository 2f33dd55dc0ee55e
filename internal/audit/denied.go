package audit

import (
	"net/netip"
	"strconv"
	"time"
)

// maxStranger is how many kinds of denials of one source that nobody knows are
// kept apart at a time: what is refused of a stranger is the stranger's choice,
// and must neither fill the store nor push out what others are refused.
const maxStranger = 20

// denials are those that wait to be written, and those being merged.
type denials struct {
	ready    []Event
	merging  map[denialKey]*Event // the repetitions of a denial; Count 0: none so far
	kinds    map[string]int       // of strangers, how many in merging, by source
	dropped  int
	retryNot time.Time // before it, ready is not tried again
}

// denialKey says which denials are the same.
type denialKey struct {
	principal, source, action, scope, reason string
}

// keyOf gives the kind of a denial. Only an object id is known for sure: an app id
// can be the claim of somebody who did not prove it.
func keyOf(e Event) denialKey {
	if e.Principal.ObjectID != "" { // the same from everywhere
		return denialKey{e.Principal.ObjectID, "", e.Action, e.Scope, e.Reason}
	}
	return denialKey{e.Principal.AppID, network(e.Source), e.Action, e.Scope, e.Reason}
}

func (k denialKey) isStranger() bool { return k.source != "" }

// address gives the address in what may be an address with a port.
func address(source string) string {
	if at, err := netip.ParseAddrPort(source); err == nil {
		return at.Addr().Unmap().String()
	}
	return source
}

// network gives what a source counts under: an IPv6 address under its /64
// network, which is what one site has.
func network(source string) string {
	ip, err := netip.ParseAddr(source)
	if err != nil {
		return "(" + source + ")"
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}

// various stands for the further denials of a stranger who was refused many
// different things.
func (e Event) various() Event {
	return Event{
		Time: e.Time, Category: Denied, Action: "Latchkey.Audit/various", Source: e.Source, Outcome: "Denied", Node: e.Node,
		CorrelationID: e.CorrelationID, Reason: "this source was refused many different things within a minute; these are not told apart",
	}
}

// Record adds a denial without waiting. The first of its kind is written at once;
// what repeats it within a minute becomes one event with a count, written when
// the minute is over. Denials are the same if principal (or, for unknown ones,
// source and claimed app id), action, scope and reason are; of a source that
// nobody knows, what is over a number of kinds becomes one kind. When too many
// wait they are dropped, and how many were is written as an event.
func (l *Log) Record(e Event) {
	e = l.complete(e)
	k := keyOf(e)
	l.mu.Lock()
	defer l.mu.Unlock()
	d := &l.denied
	if k.isStranger() && d.merging[k] == nil && d.kinds[k.source] >= maxStranger {
		e = e.various()
		k = denialKey{source: k.source, action: e.Action}
	}
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
	d.count(k, 1)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// settle ends the merging of a denial.
func (d *denials) settle(k denialKey, m *Event) {
	delete(d.merging, k)
	d.count(k, -1)
	if m.Count > 0 {
		d.ready = append(d.ready, *m) // one for each that was admitted to merging
	}
}

// count keeps the number of kinds of a stranger.
func (d *denials) count(k denialKey, n int) {
	if !k.isStranger() {
		return
	}
	if d.kinds[k.source] += n; d.kinds[k.source] <= 0 {
		delete(d.kinds, k.source)
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
