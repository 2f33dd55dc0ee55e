package timer

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/schedule"
)

// timer is what a binding says.
type timer struct {
	schedule *schedule.Schedule
	zone     *time.Location
	monitor  bool // remember runs, and make up for one that was missed
	atStart  bool
}

// listener runs one timer in a goroutine that mostly sleeps.
type listener struct {
	timer
	*trigger.Setup
	done chan struct{}

	waiting  context.Context // ends when the timer is to stop
	stopping context.CancelFunc
	work     context.Context // ends when the work in progress is to end
	cancel   context.CancelFunc
	// status is what is remembered; nil when nothing is, or the timer is not
	// monitored. Only the goroutine uses it.
	status *status
	began  bool // the timer has had its first lease
	// finished is of a run that outlived its lease: another host may have written
	// since, so it is remembered only where none has.
	finished *status
}

// Start implements [trigger.Listener].
func (l *listener) Start(context.Context) error {
	if l.monitor && l.schedule.Frequent(l.now()) {
		l.monitor = false // a run that was missed is made up for by the next
	}
	l.work, l.cancel = context.WithCancel(context.Background())
	l.waiting, l.stopping = context.WithCancel(l.work)
	go l.run()
	return nil
}

// Stop implements [trigger.Listener].
func (l *listener) Stop(ctx context.Context) {
	l.stopping()
	select {
	case <-l.done:
	case <-ctx.Done():
	}
	l.cancel()
	<-l.done
}

// now is as exact as what is remembered.
func (l *listener) now() time.Time { return l.Clock.Now().In(l.zone).Truncate(100 * time.Nanosecond) }

// leasePause is the wait before a lease is asked for again after a failure.
const leasePause = 10 * time.Second

// run works whenever this host is the one that has the timer's lease.
func (l *listener) run() {
	defer close(l.done)
	for l.waiting.Err() == nil {
		lease, err := l.Leases.Acquire(l.waiting, l.Function.Name+".Listener")
		switch {
		case err == nil:
			l.hold(lease)
		case l.waiting.Err() == nil:
			l.Log.Error("the timer's lease cannot be had", "reason", err, "next_try_in", leasePause.String())
			_ = clock.Sleep(l.waiting, l.Clock, leasePause)
		}
	}
}

// releaseMost bounds the giving back of a lease.
const releaseMost = 5 * time.Second

// hold works until the lease is lost or the timer stops.
func (l *listener) hold(lease trigger.Lease) {
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(l.work), releaseMost)
		defer cancel()
		_ = lease.Release(ctx)
	}()
	next := l.begin(lease)
	for !next.IsZero() {
		if !l.sleep(lease, next) {
			return
		}
		next = l.fire(lease, next)
	}
	l.Log.Warn("the timer's schedule has no more occurrences")
	select {
	case <-lease.Lost():
	case <-l.waiting.Done():
	}
}

// longest is the longest sleep: the system's clock may be set meanwhile.
const longest = 10 * time.Minute

// sleep waits for a time; false when the timer stops or the lease is lost first.
func (l *listener) sleep(lease trigger.Lease, until time.Time) bool {
	for {
		if l.waiting.Err() != nil || !trigger.Held(lease) {
			return false
		}
		left := until.Sub(l.Clock.Now())
		if left <= 0 {
			return true
		}
		t := l.Clock.NewTimer(min(left, longest))
		select {
		case <-t.C():
		case <-l.waiting.Done():
		case <-lease.Lost():
		}
		t.Stop()
	}
}

// begin looks at what is remembered, runs the function if it is due, and gives
// the time of the next run.
func (l *listener) begin(lease trigger.Lease) time.Time {
	first := !l.began
	l.began = true
	now := l.now()
	due := l.catchUp(now)
	switch {
	case !due.IsZero() && due.Before(now):
		l.Log.Info("the timer is past due", "due", due.Format(time.RFC3339))
		return l.execute(lease, now, true)
	case first && l.atStart:
		return l.execute(lease, now, false)
	case !due.IsZero():
		return due
	}
	return l.schedule.Next(now)
}

// catchUp gives the next occurrence as it is remembered; the zero time when none
// is. A schedule that has changed since begins anew, so that it is not past due.
func (l *listener) catchUp(now time.Time) time.Time {
	if !l.monitor {
		return time.Time{}
	}
	st, err := l.load(l.work)
	if err != nil {
		l.Log.Warn("the timer's state cannot be read; a run that was missed is not made up for", "reason", err)
		return time.Time{}
	}
	if f := l.finished; f != nil && (st == nil || !st.LastUpdated.After(f.LastUpdated.Time)) {
		l.save(l.work, *f)
		st = f
	}
	l.finished = nil
	if st == nil {
		l.save(l.work, status{Next: moment{l.schedule.Next(now)}, LastUpdated: moment{now}})
		return l.status.Next.Time
	}
	l.status = st
	from := st.Last.Time
	if from.IsZero() {
		from = st.LastUpdated.Time
	}
	if expected := l.schedule.Next(from); !expected.Equal(st.Next.Time) {
		if expected.Before(now) {
			expected = l.schedule.Next(now)
		}
		l.save(l.work, status{Next: moment{expected}, LastUpdated: moment{now}})
	}
	return l.status.Next.In(l.zone)
}

// lateness is how late a run must be to be called past due.
const lateness = time.Minute

// fire runs the function at its time and gives that of the next run.
func (l *listener) fire(lease trigger.Lease, due time.Time) time.Time {
	at := l.now()
	if at.Before(due) {
		at = due // woken a little early: the next run is the one after
	}
	return l.execute(lease, at, at.Sub(due) > lateness)
}

// execute runs the function and gives the time of the next run, which is after
// its end. A run that failed was a run, one that did not begin was none. None
// begins without the lease; one in progress when the lease is lost goes on, since
// a control plane that is away must not end the work of apps.
func (l *listener) execute(lease trigger.Lease, at time.Time, pastDue bool) time.Time {
	if !trigger.Held(lease) {
		return at // whoever waits for it sees the same
	}
	_, err := l.Invoke(l.work, l.call(at, pastDue))
	next := l.schedule.Next(at)
	if l.monitor && !errors.Is(err, trigger.ErrNotRun) {
		l.remember(lease, status{Last: moment{at}, Next: moment{next}, LastUpdated: moment{at}})
	}
	if now := l.now(); next.Before(now) {
		next = l.schedule.Next(now)
	}
	return next
}

// remember writes down a run, unless its lease was lost meanwhile.
func (l *listener) remember(lease trigger.Lease, st status) {
	if trigger.Held(lease) {
		l.save(context.WithoutCancel(l.work), st)
		return
	}
	l.finished = &st
	l.Log.Warn("the timer's lease was lost during a run, which ended by itself; another host may have run the function meanwhile")
}
