// Package decide owns the arithmetic of scaling: from what rules ask for to the
// number of replicas, with limits, steps, stabilization and the cooldown to zero.
//
// It reads no clock and measures nothing, and does not know what rules there are.
package decide

import (
	"math"
	"time"
)

const (
	// Interval is the time between two decisions.
	Interval = 15 * time.Second
	// Stabilization is how long less must be asked for before there are fewer
	// replicas.
	Stabilization = 300 * time.Second
	// tolerance is how far the use of a resource may be from its target without a
	// change.
	tolerance = 0.1
)

// Limits are those of a revision.
type Limits struct {
	Min, Max int
	Cooldown time.Duration // without work before there are no replicas
	// NeverZero keeps the last replica, as rules about the use of resources need
	// one to measure.
	NeverZero bool
}

// floor is the least number of a revision that is not at zero.
func (l Limits) floor() int { return max(l.Min, 1) }

// Vote is what one rule asks for.
type Vote struct {
	Replicas int
	Active   bool // there is work: the revision is not to be at zero
	Unread   bool // it could not be read: nothing may become less
}

// State is the number of replicas of one revision and what it depends on. The
// zero value is none; it is for one goroutine at a time.
type State struct {
	limits  Limits
	desired int
	fresh   bool // it was not ready yet
	active  time.Time
	asked   []asked
	why     Why
}

type asked struct {
	at       time.Time
	replicas int
}

// Why is the reason for the number of replicas.
type Why string

// Reasons.
const (
	Starting   Why = "the revision is being provisioned"
	Idle       Why = "there is no work: it goes to zero when its cooldown ends"
	Zero       Why = "there is no work"
	Woken      Why = "a request waits for it"
	Asked      Why = "its rules ask for it"
	Stepping   Why = "its rules ask for more, which is done in steps"
	Stabilized Why = "its rules asked for it within the last minutes"
	Held       Why = "a rule cannot be read, so there are no fewer replicas than before"
	AtMin      Why = "this is its minimum"
	AtMax      Why = "this is its maximum"
	LastOne    Why = "its rules need one replica to measure"
)

// New makes the state of a revision that has so many replicas. One that was not
// ready yet has at least one until Ready.
func New(l Limits, replicas int, ready bool, now time.Time) *State {
	s := &State{limits: l, active: now, fresh: !ready, why: Starting}
	s.desired = min(max(replicas, l.Min, 0), l.Max)
	if !ready || l.NeverZero {
		s.desired = min(max(s.desired, 1), l.Max)
	}
	switch {
	case ready && s.desired == 0:
		s.why = Zero
	case ready:
		s.why = Asked
	}
	s.asked = []asked{{now, s.desired}}
	return s
}

// Replicas gives the number there is to be.
func (s *State) Replicas() int { return s.desired }

// Active gives when there was work last.
func (s *State) Active() time.Time { return s.active }

// Why gives the reason for the number.
func (s *State) Why() Why { return s.why }

// Ready tells that the revision was ready once: its cooldown starts.
func (s *State) Ready(now time.Time) {
	if s.fresh {
		s.fresh, s.active = false, now
	}
}

// Wake tells that somebody waits for the revision; it reports whether the number
// changed.
func (s *State) Wake(now time.Time) bool {
	if now.After(s.active) {
		s.active = now
	}
	if s.desired > 0 || s.limits.Max < 1 {
		return false
	}
	s.desired, s.why = min(s.limits.floor(), s.limits.Max), Woken
	s.asked = append(s.asked, asked{now, s.desired})
	return true
}

// Limit gives the revision other limits.
func (s *State) Limit(l Limits) {
	s.limits = l
	least := l.Min
	if s.desired > 0 || l.NeverZero {
		least = l.floor()
	}
	s.desired = min(max(s.desired, least), l.Max)
}

// Decide counts the votes of all rules and gives the number of replicas.
func (s *State) Decide(now time.Time, votes []Vote) int {
	want, active, unread := 0, false, false
	for _, v := range votes {
		want, active, unread = max(want, v.Replicas), active || v.Active, unread || v.Unread
	}
	if active || unread && s.desired > 0 || s.fresh {
		s.active = now
	}
	if unread {
		want = max(want, s.desired)
	}
	want = min(max(want, s.limits.floor()), s.limits.Max)
	switch {
	case s.desired == 0 && !active && s.limits.Min == 0 && !s.limits.NeverZero && !s.fresh:
		s.why = Zero
		if unread {
			s.why = Held
		}
		return 0
	case s.zero(now):
		s.desired, s.why, s.asked = 0, Zero, nil
		return 0
	}
	s.move(now, want)
	s.explain(want, active, unread)
	return s.desired
}

// zero reports whether the cooldown has ended.
func (s *State) zero(now time.Time) bool {
	return s.limits.Min == 0 && !s.limits.NeverZero && !s.fresh && !s.active.Equal(now) && now.Sub(s.active) >= s.limits.Cooldown
}

// move goes up in steps and down to the most that was asked for lately.
func (s *State) move(now time.Time, want int) {
	kept, most := s.asked[:0], want
	for _, a := range s.asked {
		if now.Sub(a.at) < Stabilization {
			kept, most = append(kept, a), max(most, a.replicas)
		}
	}
	s.asked = append(kept, asked{now, want})
	switch {
	case want > s.desired:
		s.desired = min(want, step(s.desired))
	case most < s.desired:
		s.desired = most
	}
}

// step gives the next of 1, 4, 8, 16, 32, … above n.
func step(n int) int {
	if n < 1 {
		return 1
	}
	next := 4
	for next <= n {
		next *= 2
	}
	return next
}

func (s *State) explain(want int, active, unread bool) {
	switch {
	case s.fresh:
		s.why = Starting
	case want > s.desired:
		s.why = Stepping
	case unread:
		s.why = Held
	case want < s.desired:
		s.why = Stabilized
	case s.desired == s.limits.Max && active:
		s.why = AtMax
	case !active && s.limits.Min > 0 && s.desired == s.limits.Min:
		s.why = AtMin
	case !active && s.limits.NeverZero:
		s.why = LastOne
	case !active && s.limits.Min == 0:
		s.why = Idle
	default:
		s.why = Asked
	}
}

// Total votes by something that all replicas share, such as messages: each is to
// have target of it. There is work above activation.
func Total(value, target, activation float64) Vote {
	return Vote{Replicas: ceil(value / target), Active: value > activation}
}

// Each votes by something that each replica uses: all together are to use target
// on average. have is the number of replicas there are to be; of those that were
// not measured it is taken that they change nothing for the worse. There is always
// work for them.
func Each(used []float64, target float64, have int) Vote {
	if len(used) == 0 {
		return Vote{Unread: true}
	}
	sum, n := 0.0, float64(max(have, len(used)))
	for _, u := range used {
		sum += u
	}
	ratio := sum / float64(len(used)) / target
	if missing := n - float64(len(used)); missing > 0 && ratio < 1 {
		ratio = min((sum/target+missing)/n, 1)
	} else if missing > 0 {
		ratio = max(sum/target/n, 1)
	}
	if math.Abs(ratio-1) <= tolerance {
		return Vote{Replicas: int(n)}
	}
	return Vote{Replicas: ceil(n * ratio)}
}

// ceil rounds up to what replicas can be counted in.
func ceil(f float64) int {
	const most = 1 << 20
	if !(f > 0) { // also what is no number
		return 0
	}
	return int(min(math.Ceil(f), most))
}
