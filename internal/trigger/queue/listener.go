package queue

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/queue/account"
	"github.com/latchkey/latchkey/internal/trigger/queue/message"
)

const (
	firstPoll      = 100 * time.Millisecond // after a queue was found empty
	backlogPeriod  = 30 * time.Second
	cleanupTimeout = 10 * time.Second // for giving messages back when all else has ended
)

// listener runs one function for the messages of one queue.
type listener struct {
	s       *trigger.Setup
	options funcapp.QueuesConfig
	lease   time.Duration
	binary  bool
	queue   *account.Queue
	poison  *account.Queue // nil: messages that fail stay in the queue
	log     *slog.Logger
	said    said

	halt    chan struct{}   // closed: take no more messages
	work    context.Context // ends when the grace of Stop has ended
	cancel  context.CancelFunc
	running atomic.Int64
	freed   chan struct{} // told whenever running falls
	all     sync.WaitGroup
}

func newListener(cfg Config, s *trigger.Setup, a *account.Account) *listener {
	name, _ := queueName(s.Binding)
	name = strings.ToLower(name)
	l := &listener{
		s: s, options: s.Host.Queues, lease: cfg.Lease, binary: s.Binding.DataType == "binary" || s.Binding.DataType == "stream",
		queue: a.Queue(name), log: s.Log.With("queue", name), halt: make(chan struct{}), freed: make(chan struct{}, 1),
	}
	if poison, ok := message.Poison(name); ok {
		l.poison = a.Queue(poison)
	}
	l.work, l.cancel = context.WithCancel(context.Background())
	return l
}

// Start implements [trigger.Listener]. It looks at the queue once, so that a
// connection that does not work shows at once; a queue that does not exist will do.
func (l *listener) Start(context.Context) error {
	found, err := l.poll()
	if err != nil && !errors.Is(err, account.ErrNoQueue) {
		l.cancel()
		return err
	}
	l.all.Go(func() { l.run(found) })
	l.all.Go(l.measure)
	return nil
}

// Stop implements [trigger.Listener].
func (l *listener) Stop(ctx context.Context) {
	close(l.halt)
	stop := context.AfterFunc(ctx, l.cancel)
	defer stop()
	l.all.Wait()
	l.cancel()
}

func (l *listener) halted() bool {
	select {
	case <-l.halt:
		return true
	default:
		return false
	}
}

// run looks at the queue until it is told to stop: at once while there are
// messages, ever more seldom while there are none.
func (l *listener) run(found bool) {
	for empty := 0; ; {
		wait := time.Duration(0)
		if found {
			empty = 0
		} else {
			wait = l.pause(empty)
			empty++
		}
		if !l.sleep(wait) || !l.awaitRoom() {
			return
		}
		var err error
		if found, err = l.poll(); l.said.new(err) {
			l.tell(err)
		}
		var busy *account.Busy
		if errors.As(err, &busy) && !l.sleep(busy.After) {
			return
		}
	}
}

// pause is the wait after the queue was found empty a number of times before.
func (l *listener) pause(before int) time.Duration {
	most := float64(l.options.MaxPollingInterval)
	d := float64(firstPoll) * float64(int64(1)<<min(before, 20)) * (0.8 + 0.4*rand.Float64())
	return max(firstPoll, time.Duration(min(d, most)))
}

// sleep reports whether the time went by before it was told to stop.
func (l *listener) sleep(d time.Duration) bool {
	if d <= 0 {
		return !l.halted()
	}
	t := l.s.Clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C():
		return !l.halted()
	case <-l.halt:
		return false
	}
}

// awaitRoom waits until few enough messages are in progress for another batch.
func (l *listener) awaitRoom() bool {
	for l.running.Load() > int64(l.options.NewBatchThreshold) {
		select {
		case <-l.freed:
		case <-l.halt:
			return false
		}
	}
	return !l.halted()
}

// poll takes a batch of messages and begins with each of them. The request is not
// broken off by Stop: its answer may hold messages that nobody else would see.
func (l *listener) poll() (found bool, err error) {
	asked := l.s.Clock.Now()
	batch, err := l.queue.Receive(l.work, l.options.BatchSize, l.lease)
	for _, m := range batch {
		l.running.Add(1)
		l.all.Go(func() {
			defer l.done()
			l.begin(m, asked.Add(l.lease))
		})
	}
	return len(batch) > 0, err
}

func (l *listener) done() {
	l.running.Add(-1)
	select {
	case l.freed <- struct{}{}:
	default:
	}
}

// tell writes about a fault of polling, or that it has passed.
func (l *listener) tell(err error) {
	switch {
	case err == nil:
		l.log.Info("the queue can be read again")
	case errors.Is(err, account.ErrNoQueue):
		l.log.Info("the queue does not exist; it is looked for from time to time")
	case l.work.Err() == nil:
		l.log.Error("the queue cannot be read; it is tried again", "reason", err, "next", problem.NextOf(err))
	}
}

// said remembers what was told last, so that it is told once. It is for one
// goroutine.
type said struct{ text string }

// new reports whether an error, or that there is none any more, is news.
func (s *said) new(err error) bool {
	text := ""
	if err != nil {
		text = err.Error()
	}
	fresh := s.text != text
	s.text = text
	return fresh
}

// measure shows the length of the queue from time to time.
func (l *listener) measure() {
	var told said
	for {
		n, err := l.queue.Length(l.work)
		if err != nil {
			n = -1
		}
		if errors.Is(err, account.ErrNoQueue) {
			n, err = 0, nil
		}
		if told.new(err) && err != nil && l.work.Err() == nil {
			l.log.Warn("the length of the queue is not known", "reason", err)
		}
		l.s.Metrics.Backlog(n)
		if !l.sleep(backlogPeriod) {
			return
		}
	}
}

// waitWork waits on the clock; it reports false when the grace of Stop has ended.
func (l *listener) waitWork(d time.Duration) bool { return clock.Sleep(l.work, l.s.Clock, d) == nil }
