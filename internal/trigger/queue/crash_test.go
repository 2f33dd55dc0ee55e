package queue_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/test/azurite"
)

// crashMessages is the environment variable for more messages than the suite sends.
const crashMessages = "LATCHKEY_TEST_QUEUE_MESSAGES"

// record is when messages ran.
type record struct {
	mu    sync.Mutex
	first map[string]time.Time
	runs  map[string]int
	total int
}

func (r *record) run(_ context.Context, c trigger.Call) (*worker.Result, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := c.Input.(string)
	if r.runs[text]++; r.runs[text] == 1 {
		r.first[text] = time.Now()
	}
	r.total++
	return nil, nil
}

func (r *record) different() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.runs)
}

// So many messages are sent by the suite, all before the first is worked on. More
// of them come in waves: the emulator looks at every message at each request.
const (
	suite    = 2000
	soakWave = 500
)

// TestNoMessageIsLostWhenTheServiceIsKilled kills the storage emulator twice with
// work in progress. It forgets what it did in the seconds before it was killed,
// deletions too: only messages that began before a kill may run twice.
func TestNoMessageIsLostWhenTheServiceIsKilled(t *testing.T) {
	t.Parallel()
	messages, wave := suite, suite
	if text := os.Getenv(crashMessages); text != "" {
		var err error
		if messages, err = strconv.Atoi(text); err != nil {
			t.Fatal(crashMessages, err)
		}
		wave = soakWave
	}
	service := azurite.Start(t, azurite.Options{Queues: true, Dir: t.TempDir()})
	p := newPlace(t, service.ConnectionString())
	p.options.BatchSize, p.options.NewBatchThreshold, p.options.MaxDequeueCount = 32, 32, 100
	seen := &record{first: map[string]time.Time{}, runs: map[string]int{}}
	waves := (messages + wave - 1) / wave
	var last time.Time
	began := time.Now()
	for w := range waves {
		from, to := w*wave, min((w+1)*wave, messages)
		fill(t, p, from, to)
		var kills []int // after so many messages
		switch {
		case waves < 3 && w == 0:
			kills = []int{to / 3, 2 * to / 3}
		case waves >= 3 && (w == waves/3 || w == 2*waves/3):
			kills = []int{from + wave/2}
		}
		if kills != nil { // in order: it has all messages on disk
			service.Stop()
			service.Restart()
		}
		stop := p.start("orders", seen.run)
		for _, after := range kills {
			within(t, func() bool { return seen.different() >= after }, "no progress")
			service.Kill()
			last = time.Now()
			t.Logf("killed after %d messages, %s", seen.different(), last.Sub(began).Round(time.Millisecond))
			service.Restart()
		}
		within(t, func() bool { return seen.different() == to }, "messages are lost")
		p.length("orders", 0)
		stop()
	}
	took := time.Since(began)
	seen.mu.Lock()
	defer seen.mu.Unlock()
	for text, n := range seen.runs {
		if n > 1 && seen.first[text].After(last) {
			t.Errorf("%q ran %d times, and first after the last kill", text, n)
		}
	}
	if left := p.take("orders-poison"); len(left) > 0 {
		t.Errorf("%d messages are poison", len(left))
	}
	t.Logf("%d messages ran %d times, %d of the runs again after a kill, in %s (%.0f/s)", messages, seen.total, seen.total-messages,
		took.Round(time.Millisecond), float64(messages)/took.Seconds())
}

// fill sends the messages with some numbers.
func fill(t *testing.T, p *place, from, to int) {
	t.Helper()
	g, _ := errgroup.WithContext(t.Context())
	g.SetLimit(16)
	for n := from; n < to; n++ {
		if n == 0 { // makes the queue
			p.send("orders", "message 0")
			continue
		}
		g.Go(func() error { return p.account.Queue("orders").Send(t.Context(), encoded(n)) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if n, err := p.account.Queue("orders").Length(t.Context()); err != nil || n != int64(to-from) {
		t.Fatal(fmt.Sprintf("%d messages were sent", n), err)
	}
}

// within waits for as long as a wave may take.
func within(t *testing.T, ok func() bool, what string) {
	t.Helper()
	for end := time.Now().Add(5 * patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatal(what)
}
