package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/queue/account"
	"github.com/latchkey/latchkey/internal/trigger/queue/message"
)

const (
	firstRetry = time.Second // of what is tried while a message is held
	mostRetry  = 30 * time.Second
)

// job is the work on one message.
type job struct {
	*listener
	m     message.Received
	until time.Time // when the lease ends at the earliest
	lost  bool
}

// begin works on a message that is out of others' sight until a time.
func (l *listener) begin(m message.Received, until time.Time) {
	j := &job{listener: l, m: m, until: until}
	if l.halted() {
		j.release(0)
		return
	}
	if int(m.DequeueCount) > l.options.MaxDequeueCount {
		j.bury(fmt.Sprintf("it was received %d times, and is not tried more than %d times", m.DequeueCount, l.options.MaxDequeueCount))
		return
	}
	value, err := m.Value(l.options.MessageEncoding, l.binary)
	if err != nil {
		j.bury(err.Error() + "; " + problem.NextOf(err))
		return
	}
	renewed := j.keep()
	err = j.invoke(value)
	renewed()
	j.settle(err)
}

// invoke runs the function. While it cannot be started the message is held, not
// given back: it would come to the poison queue without ever having been tried.
func (j *job) invoke(value any) error {
	call := trigger.Call{Input: value, Metadata: j.m.Metadata(value), NoRetry: true}
	for wait := firstRetry; ; wait = min(2*wait, mostRetry) {
		_, err := j.s.Invoke(j.work, call)
		if !errors.Is(err, trigger.ErrNotRun) || !j.sleep(wait) {
			return err
		}
	}
}

// settle ends the work on a message as the function's outcome wants it.
func (j *job) settle(err error) {
	switch {
	case err == nil:
		j.remove()
	case j.lost: // whoever has the message now sees to it
	case errors.Is(err, trigger.ErrNotRun), j.work.Err() != nil:
		j.release(0)
	case int(j.m.DequeueCount) >= j.options.MaxDequeueCount:
		j.bury(err.Error())
	case j.poison != nil:
		j.release(j.options.VisibilityTimeout)
	default:
		j.log.Warn("a message that failed stays out of sight until its time is over: there is no poison queue for this queue",
			"message", j.m.ID, "dequeue_count", j.m.DequeueCount, "until", j.m.NextVisible)
	}
}

// keep renews the lease of the message at half time until the function it gives is
// called, which waits for a renewal in progress.
func (j *job) keep() (stop func()) {
	end := make(chan struct{})
	var renewer sync.WaitGroup
	renewer.Go(func() {
		for wait := j.lease / 2; j.ticks(end, wait); {
			wait = j.renew()
		}
	})
	return func() {
		close(end)
		renewer.Wait()
	}
}

func (j *job) ticks(end <-chan struct{}, wait time.Duration) bool {
	if wait <= 0 {
		return false
	}
	t := j.s.Clock.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C():
		return true
	case <-end:
		return false
	}
}

// renew keeps the message for another lease and gives the time until it is to be
// renewed again: sooner after a fault, 0 for never.
func (j *job) renew() time.Duration {
	asked := j.s.Clock.Now()
	ctx, cancel := j.cleanup()
	defer cancel()
	m, err := j.queue.Extend(ctx, j.m, j.lease)
	switch {
	case err == nil:
		j.m, j.until = m, asked.Add(j.lease)
		return j.lease / 2
	case errors.Is(err, account.ErrLost), errors.Is(err, account.ErrNoQueue), !j.s.Clock.Now().Before(j.until):
		j.lost = true
		j.log.Warn("the message is no longer held; it may run again while the function still runs", "message", j.m.ID, "reason", err)
		return 0
	}
	j.log.Warn("the message's lease is not renewed; it is tried again", "message", j.m.ID, "reason", err)
	return max(j.lease/10, firstRetry)
}

// remove deletes the message of a function that succeeded. If the service is away
// it is tried for as long as nobody else can get the message.
func (j *job) remove() {
	for wait := firstRetry; ; wait = min(2*wait, mostRetry) {
		ctx, cancel := j.cleanup()
		err := j.queue.Delete(ctx, j.m)
		cancel()
		switch {
		case err == nil || errors.Is(err, account.ErrNoQueue):
			return
		case errors.Is(err, account.ErrLost):
			j.log.Warn("a message that was worked on is no longer this host's; it may run again", "message", j.m.ID, "dequeue_count", j.m.DequeueCount)
			return
		case !j.s.Clock.Now().Add(wait).Before(j.until) || !j.waitWork(wait):
			j.log.Error("a message that was worked on cannot be deleted; it will run again", "message", j.m.ID, "reason", err)
			return
		}
	}
}

// release gives the message back, to be seen after a time.
func (j *job) release(after time.Duration) {
	ctx, cancel := j.cleanup()
	defer cancel()
	if _, err := j.queue.Extend(ctx, j.m, after); err != nil && !errors.Is(err, account.ErrNoQueue) {
		j.log.Warn("a message is not given back; it is seen again when its time is over",
			"message", j.m.ID, "until", j.m.NextVisible, "reason", err)
	}
}

// bury moves the message to the poison queue, or leaves it if there is none.
func (j *job) bury(reason string) {
	if j.poison == nil {
		j.log.Error("a message cannot be worked on and there is no poison queue for this queue; it stays until it expires",
			"message", j.m.ID, "dequeue_count", j.m.DequeueCount, "expires", j.m.Expires, "reason", reason)
		return
	}
	ctx, cancel := j.cleanup()
	defer cancel()
	if err := j.poison.Send(ctx, j.m.Text); err != nil {
		j.log.Error("a message cannot be moved to the poison queue; it is tried again", "message", j.m.ID, "reason", err)
		return
	}
	j.log.Error("a message was moved to the poison queue", "message", j.m.ID, "poison_queue", j.poison.String(),
		"dequeue_count", j.m.DequeueCount, "reason", reason)
	j.remove()
}

// cleanup is for what must still be said to the service when the grace of Stop has
// ended.
func (j *job) cleanup() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(j.work), cleanupTimeout)
}
