package audit

import (
	"net/netip"
	"strconv"
	"time"
)

// How many kinds of events are kept apart at a time of one source that nobody
// knows, and of one principal: what is refused of a stranger is the stranger's
// choice, and must neither fill the store nor push out what others are refused;
// nor must who reads very much push out what others read.
const (
	maxStranger  = 20
	maxPrincipal = 200
)

// various is the action of events that stand for many different ones.
const various = "Latchkey.Audit/various"

// pending are events that nobody waits for: those to be written, and those being
// merged.
type pending struct {
	ready   []Event
	merging map[kind]*Event // the repetitions of an event; Count 0: none so far
	crowd   map[kind]int    // how many in merging, by whose
	dropped int
}

func newPending() *pending {
	return &pending{merging: map[kind]*Event{}, crowd: map[kind]int{}}
}

// kind says which events are the same.
type kind struct {
	principal, source, action, scope, reason string
}

// kindOf gives the kind of an event. Only an object id is known for sure: an app id
// can be the claim of somebody who did not prove it.
func kindOf(e Event) kind {
	if e.Principal.ObjectID != "" { // the same from everywhere
		return kind{e.Principal.ObjectID, "", e.Action, e.Scope, e.Reason}
	}
	return kind{e.Principal.AppID, network(e.Source), e.Action, e.Scope, e.Reason}
}

func (k kind) isStranger() bool { return k.source != "" }

// whose gives the stranger's source or the principal, and how many kinds of these
// are kept apart.
func (k kind) whose() (who kind, most int) {
	if k.isStranger() {
		return kind{source: k.source}, maxStranger
	}
	return kind{principal: k.principal}, maxPrincipal
}

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

// coarse gives the kind of the further events of somebody of whom there are many
// different ones: of a principal by action, or of a source that nobody knows.
func (k kind) coarse() kind {
	if k.isStranger() {
		return kind{source: k.source, action: various}
	}
	return kind{principal: k.principal, action: various, scope: k.action}
}

// coarse gives the event that stands for such further events.
func (e Event) coarse(k kind) Event {
	out := Event{
		Time: e.Time, Category: e.Category, Action: various, Source: e.Source, Outcome: e.Outcome, Node: e.Node, CorrelationID: e.CorrelationID,
	}
	if k.isStranger() {
		out.Outcome = "Denied"
		out.Reason = "this source was refused many different things within a minute; these are not told apart"
		return out
	}
	out.Principal, out.Details = e.Principal, map[string]string{"action": e.Action}
	out.Reason = "this principal did many different things within a minute; these are not told apart"
	return out
}

// Record adds an event without waiting. The first of its kind is written at once;
// what repeats it within a minute becomes one event with a count, written when
// the minute is over. Events are the same if principal (or, for unknown ones,
// source and claimed app id), action, scope and reason are. Of a source that
// nobody knows, what is over a number of kinds becomes one kind; so does what is
// over a larger number of one action of a principal, or comes when there are very
// many kinds altogether. Denials and other events have places of their own, so
// that much reading hides no refusal. When too many wait they are dropped, and how many were is written as an
// event.
func (l *Log) Record(e Event) {
	e = l.complete(e)
	if e.Category == Denied {
		l.recent.keep(e.detailed())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.others
	if e.Category == Denied {
		p = l.denied
	}
	if !p.add(e) {
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// add takes an event in; it says whether there is something to write now.
// within reports whether a repetition is merged: a clock that was set back makes
// what comes next another event.
func within(d time.Duration) bool { return d >= 0 && d < mergeWithin }

func (p *pending) add(e Event) bool {
	k, places := kindOf(e), maxPending
	crowded := p.merging[k] == nil && p.crowded(k)
	if crowded {
		if k = k.coarse(); !k.isStranger() {
			places = 2 * maxPending // the second half is for these
		}
	}
	if m := p.merging[k]; m != nil && within(e.Time.Sub(m.Time)) {
		m.Count++
		m.Until, m.CorrelationID = e.Time, e.CorrelationID
		return false
	} else if m != nil {
		p.settle(k, m)
	}
	if len(p.ready) >= places || len(p.merging) >= places {
		p.dropped++
		return false
	}
	if crowded {
		e = e.coarse(k)
	}
	e = e.detailed()
	p.ready = append(p.ready, e)
	repeats := e
	repeats.Count = 0
	p.merging[k] = &repeats
	p.count(k, 1)
	return true
}

// crowded says whether a new kind is not to be kept apart. Strangers find no place
// when all are taken, principals then share what there is for each.
func (p *pending) crowded(k kind) bool {
	who, most := k.whose()
	full := len(p.merging) >= maxPending || len(p.ready) >= maxPending
	return p.crowd[who] >= most || full && !k.isStranger()
}

// settle ends the merging of an event.
func (p *pending) settle(k kind, m *Event) {
	delete(p.merging, k)
	p.count(k, -1)
	if m.Count > 0 {
		p.ready = append(p.ready, *m) // one for each that was admitted to merging
	}
}

// count keeps the number of kinds by whose they are.
func (p *pending) count(k kind, n int) {
	who, _ := k.whose()
	if p.crowd[who] += n; p.crowd[who] <= 0 {
		delete(p.crowd, who)
	}
}

// next says when something is to be written that nobody wakes for; false if it is
// due already.
func (p *pending) next(now time.Time) (in time.Duration, later bool) {
	if len(p.ready) > 0 || p.dropped > 0 {
		return 0, false
	}
	in = 24 * time.Hour
	for _, m := range p.merging {
		in = min(in, max(m.Time.Add(mergeWithin).Sub(now), time.Millisecond))
	}
	return in, true
}

// take gives the next event that is due.
func (p *pending) take(now time.Time) (e Event, found bool) {
	for k, m := range p.merging {
		if now.Sub(m.Time) >= mergeWithin {
			p.settle(k, m)
		}
	}
	if len(p.ready) == 0 {
		return e, false
	}
	e, p.ready = p.ready[0], p.ready[1:]
	return e, true
}

// nextDue says how long until something is to be written that nobody wakes for.
func (l *Log) nextDue() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, next := l.clock.Now(), 24*time.Hour
	for _, p := range []*pending{l.denied, l.others} {
		in, later := p.next(now)
		if !later {
			in = max(l.retryNot.Sub(now), time.Millisecond)
		}
		next = min(next, in)
	}
	return next
}

// takeRecorded gives the next event that is due, denials first.
func (l *Log) takeRecorded() (Event, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	if now.Before(l.retryNot) {
		return Event{}, false
	}
	for _, p := range []*pending{l.denied, l.others} {
		if e, found := p.take(now); found {
			return e, true
		}
	}
	if l.denied.dropped+l.others.dropped == 0 {
		return Event{}, false
	}
	return l.takeDropped(), true
}

// takeDropped gives the event that says how many were dropped.
func (l *Log) takeDropped() Event {
	n := l.denied.dropped + l.others.dropped
	e := l.complete(Event{
		Category: System, Action: dropped, Reason: "too many events at once; these were not recorded", Count: n,
		Details: map[string]string{"dropped": strconv.Itoa(n), "denials": strconv.Itoa(l.denied.dropped)},
	})
	l.denied.dropped, l.others.dropped = 0, 0
	return e
}

// dropped is the action of the event that says how many were dropped.
const dropped = "Latchkey.Audit/dropped"

// putBack takes an event again that could not be written.
func (l *Log) putBack(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retryNot = l.clock.Now().Add(retryAfter)
	p := l.others
	if e.Category == Denied {
		p = l.denied
	}
	if e.Action == dropped {
		denials, _ := strconv.Atoi(e.Details["denials"]) // what takeDropped wrote
		l.denied.dropped += denials
		l.others.dropped += e.Count - denials
		return
	}
	p.ready = append([]Event{e}, p.ready...)
}

// mergeAll makes everything due, for the end.
func (l *Log) mergeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range []*pending{l.denied, l.others} {
		for k, m := range p.merging {
			p.settle(k, m)
		}
	}
	l.retryNot = time.Time{}
}
