package keyring

import (
	"log/slog"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// task is a document that the loop is to read, and why.
type task struct {
	scope *Scope
	cause Cause
}

// follow reads documents that others changed and retries failed reads, until
// the ring is closed.
func (r *Ring) follow() {
	for {
		tasks, wait := r.due()
		for _, t := range tasks {
			_ = r.read(r.life, t.scope, t.cause) // a failure is noted and comes due again
		}
		if r.life.Err() != nil || len(tasks) == 0 && !r.rest(wait) {
			return
		}
	}
}

// due takes what is to be read now and gives the time until the next retry, 0
// when there is none.
func (r *Ring) due() (tasks []task, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.cfg.Clock.Now()
	for _, s := range r.scopes {
		switch {
		case r.pending[s]:
			tasks = append(tasks, task{s, Outside})
		case s.fault == nil:
		case !s.fault.retry.After(now):
			tasks = append(tasks, task{s, Retry})
		default:
			if left := s.fault.retry.Sub(now); wait == 0 || left < wait {
				wait = left
			}
		}
	}
	clear(r.pending)
	return tasks, wait
}

// rest waits until there may be something to do; false once the ring is closed.
func (r *Ring) rest(wait time.Duration) bool {
	var fire <-chan time.Time
	if wait > 0 {
		timer := r.cfg.Clock.NewTimer(wait)
		defer timer.Stop()
		fire = timer.C()
	}
	select {
	case <-r.life.Done():
		return false
	case <-r.nudge:
	case <-fire:
	}
	return true
}

// wake has the loop look again.
func (r *Ring) wake() {
	select {
	case r.nudge <- struct{}{}:
	default:
	}
}

// noticed marks documents to be read again; "" means all. Documents nobody
// needed so far are left to their first need, but not those that are on their way:
// what arrives may be from before the change.
func (r *Ring) noticed(doc keystore.Doc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ahead.drop(doc)
	for _, s := range r.scopes {
		if (doc == "" || doc == s.doc) && (s.known || s.fault != nil || s.flight != nil) {
			r.pending[s] = true
		}
	}
	r.wake()
}

// startWatching begins to follow changes by others where the store can report
// them. Watching is in force when it returns, so that nothing is missed between
// the first read and then.
func (r *Ring) startWatching() {
	w, ok := r.cfg.Store.(keystore.Watcher)
	if !ok {
		return
	}
	done, err := w.Watch(r.life, r.noticed)
	if problem.KindOf(err) == problem.Unsupported && err != nil {
		return
	}
	r.setWatch(err)
	if !r.spawn(func() { r.keepWatching(w, done, err) }) && err == nil {
		<-done // closed meanwhile: life has ended, and so does the watch
	}
}

// keepWatching takes the watch up again whenever it ends before its time.
func (r *Ring) keepWatching(w keystore.Watcher, done <-chan struct{}, err error) {
	tries := 0
	for {
		if err == nil {
			<-done
			tries, err = 0, problem.New(problem.Unavailable, "the store stopped reporting changes")
		}
		if r.life.Err() != nil {
			return
		}
		r.setWatch(err)
		tries++
		if clock.Sleep(r.life, r.cfg.Clock, r.backoff(tries)) != nil {
			return
		}
		if done, err = w.Watch(r.life, r.noticed); err == nil {
			r.setWatch(nil)
			r.noticed("")
		}
	}
}

// setWatch notes whether changes by others are being reported.
func (r *Ring) setWatch(err error) {
	r.mu.Lock()
	var events []Event
	if err != nil && (r.watchFault == nil || r.watchFault.Error() != err.Error()) {
		events = append(events, Event{
			Type: WatchFailed, Cause: Outside, Level: slog.LevelWarn, Err: err,
			Text: "changes made by others in " + r.store() + " are not being reported; they are found when a wrong key is presented",
		})
	}
	r.watching, r.watchFault = err == nil, err
	events = append(events, r.assess(Outside)...)
	r.mu.Unlock()
	r.emit(events)
}
