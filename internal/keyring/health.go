package keyring

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// State sums up how far the ring can do its job.
type State uint8

const (
	OK          State = iota // the keys in use are those in the store, as far as can be known
	Degraded                 // some keys are the last good ones, or those of some function are missing
	Unavailable              // the host keys were never read: nothing can be decided
)

var stateNames = [...]string{"ok", "degraded", "unavailable"}

// String gives the state's name.
func (s State) String() string { return stateNames[s] }

// Health is the state of a ring with what an operator needs to act on it.
type Health struct {
	State   State
	Reason  string    // what happened to what; "" when ok
	Next    string    // what to do about it; "" when ok
	Since   time.Time // when the state began
	RetryAt time.Time // when the store is asked again; zero when nothing is to be retried
}

// fault is a failed read that has not been made good.
type fault struct {
	err   error
	tries int
	retry time.Time
}

const doctor = "run `latchkey doctor`"

// Health gives the present state. It is safe for concurrent use.
func (r *Ring) Health() Health {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.health
}

// assess brings the health up to date and gives an event if it changed. Callers
// hold mu.
func (r *Ring) assess(cause Cause) []Event {
	now := r.diagnose()
	was := r.health
	now.Since = was.Since
	if now.State != was.State {
		now.Since = r.cfg.Clock.Now()
	}
	r.health = now
	if now.State == was.State && now.Reason == was.Reason {
		return nil
	}
	e := now.event(cause)
	if now.State == OK && was.State == Unavailable && was.RetryAt.IsZero() {
		e.Level = levelQuiet // the first read went well, which is no news
	}
	return []Event{e}
}

func (h Health) event(cause Cause) Event {
	e := Event{Type: HealthChanged, Cause: cause, Health: h, Level: slog.LevelInfo, Text: "the access keys are in order again"}
	switch h.State {
	case Degraded:
		e.Level, e.Text = slog.LevelWarn, h.Reason
	case Unavailable:
		e.Level, e.Text = slog.LevelError, h.Reason
	}
	return e
}

// diagnose finds the worst that is wrong: the host document first, then the
// functions' in the order in which they became known, then watching.
func (r *Ring) diagnose() Health {
	for _, s := range r.scopes {
		if s.fault != nil {
			return r.faulty(s)
		}
	}
	host := r.home
	switch {
	case !host.known:
		return Health{State: Unavailable, Reason: "the host keys in " + r.store() + " have not been read yet"}
	case !host.present:
		return Health{State: Degraded, Reason: r.missingText(host), Next: "put the keys there, or use a key store that can be written"}
	case host.document.Keys.Master.Value == "":
		return Health{State: Degraded, Reason: "the host keys in " + r.store() + " have no master key", Next: "run `latchkey keys renew _master`"}
	case r.watchFault != nil:
		return Health{
			State:  Degraded,
			Reason: fmt.Sprintf("changes made by others in %s are noticed late: %v", r.store(), r.watchFault),
			Next:   advice(r.watchFault),
		}
	}
	return Health{State: OK}
}

func (r *Ring) faulty(s *Scope) Health {
	h := Health{State: Degraded, Next: advice(s.fault.err), RetryAt: s.fault.retry}
	serving := "the last good keys stay in use"
	if !s.known {
		serving = "requests that depend on them are refused"
	}
	if !r.home.known {
		h.State = Unavailable
	}
	h.Reason = fmt.Sprintf("%s in %s %s; %s; no keys were generated: %v",
		s.label(), r.store(), plight(s.fault.err), serving, s.fault.err)
	return h
}

func plight(err error) string {
	switch problem.KindOf(err) {
	case keystore.ErrUndecryptable:
		return "cannot be decrypted or understood"
	case keystore.ErrNotFound:
		return "have disappeared"
	default:
		return "cannot be read"
	}
}

func advice(err error) string {
	if next := problem.NextOf(err); next != "" {
		return next + "; or " + doctor
	}
	return doctor
}

func (r *Ring) missingText(s *Scope) string {
	return fmt.Sprintf("%s are missing and %s cannot be written: none were generated, and keys that would be there are refused",
		s.label(), r.store())
}

func (r *Ring) store() string { return r.cfg.Store.String() }
