package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

// gate is a sink that takes a write only when the test lets it.
type gate struct {
	arrived chan []byte // receives what a Write was called with
	release chan error  // what that Write returns
}

func newGate() *gate { return &gate{arrived: make(chan []byte), release: make(chan error)} }

func (g *gate) Write(p []byte) (int, error) {
	g.arrived <- bytes.Clone(p)
	if err := <-g.release; err != nil {
		return 0, err
	}
	return len(p), nil
}

// take lets one write through and gives what was written.
func (g *gate) take(t *testing.T, result error) string {
	t.Helper()
	select {
	case p := <-g.arrived:
		g.release <- result
		return string(p)
	case <-t.Context().Done():
		t.Fatal("nothing written")
		return ""
	}
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestLinesAreWrittenAfterATenthOfASecond(t *testing.T) {
	g, c := newGate(), clock.NewManual(moment)
	l := NewRequestLog(g, JSON, c)
	l.Log(sampleEvent())
	if err := c.AwaitTimers(testContext(t), 1); err != nil {
		t.Fatal(err)
	}
	select {
	case <-g.arrived:
		t.Fatal("written before its time")
	default:
	}
	l.Log(sampleEvent())
	c.Advance(flushEvery)
	if got := strings.Count(g.take(t, nil), "\n"); got != 2 {
		t.Errorf("%d lines written, want 2", got)
	}
	if err := l.Close(testContext(t)); err != nil {
		t.Error(err)
	}
}

func TestLinesAreWrittenAtOnceWhenThereAreMany(t *testing.T) {
	g := newGate()
	l := NewRequestLog(g, JSON, clock.NewManual(moment)) // time never passes
	e := sampleEvent()
	e.Reason = strings.Repeat("r", maxField)
	for range flushSize/maxField + 1 {
		l.Log(e)
	}
	if got := g.take(t, nil); len(got) < flushSize {
		t.Errorf("only %d bytes written", len(got))
	}
	closed := make(chan error, 1)
	go func() { closed <- l.Close(testContext(t)) }()
	for { // a line may have come too late for the first write
		select {
		case <-g.arrived:
			g.release <- nil
		case err := <-closed:
			if err != nil {
				t.Error(err)
			}
			return
		}
	}
}

func TestCloseWritesWhatIsWaitingAndLaterLinesCountAsDropped(t *testing.T) {
	var out bytes.Buffer
	l := NewRequestLog(&out, JSON, clock.NewManual(moment))
	l.Log(sampleEvent())
	for range 2 {
		if err := l.Close(testContext(t)); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(out.String(), "\n"); got != 1 {
		t.Errorf("%d lines, want 1", got)
	}
	l.Log(sampleEvent())
	if got := l.Dropped(); got != 1 {
		t.Errorf("dropped %d, want 1", got)
	}
}

func TestAStuckSinkCostsLinesButHoldsNobodyUp(t *testing.T) {
	g, c := newGate(), clock.NewManual(moment)
	l := NewRequestLog(g, JSON, c)
	l.Log(sampleEvent())
	if err := c.AwaitTimers(testContext(t), 1); err != nil {
		t.Fatal(err)
	}
	c.Advance(flushEvery)
	<-g.arrived // the sink is stuck in this write from here on
	e := sampleEvent()
	e.Reason = strings.Repeat("r", maxField)
	for l.Dropped() < 7 {
		l.Log(e)
	}
	g.release <- nil
	g.take(t, nil)       // what fitted
	l.Log(sampleEvent()) // accepted again: reports the loss
	closed := make(chan error, 1)
	go func() { closed <- l.Close(testContext(t)) }()
	var line struct{ Dropped int }
	if err := json.Unmarshal([]byte(g.take(t, nil)), &line); err != nil || line.Dropped != 7 {
		t.Errorf("reports %d dropped (%v), want 7", line.Dropped, err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if got := l.Dropped(); got != 7 {
		t.Errorf("Dropped() = %d, want 7", got)
	}
}

func TestAFailingSinkIsCountedAndToldAtTheEnd(t *testing.T) {
	for _, format := range []Format{JSON, Text} {
		g, c := newGate(), clock.NewManual(moment)
		l := NewRequestLog(g, format, c)
		l.Log(sampleEvent())
		l.Log(sampleEvent())
		if err := c.AwaitTimers(testContext(t), 1); err != nil {
			t.Fatal(err)
		}
		c.Advance(flushEvery)
		g.take(t, errors.New("disk full"))
		closed := make(chan error, 1)
		go func() { closed <- l.Close(testContext(t)) }()
		last := g.take(t, nil)
		if !strings.Contains(last, "request lines lost") || !strings.Contains(last, "2") {
			t.Errorf("%s: last line is %q", format, last)
		}
		if err := <-closed; err != nil || l.Dropped() != 2 {
			t.Errorf("%s: close: %v, dropped %d", format, err, l.Dropped())
		}
	}
}

func TestCloseGivesUpOnAStuckSinkWhenItsContextEnds(t *testing.T) {
	g := newGate()
	l := NewRequestLog(g, Text, clock.NewManual(moment))
	l.Log(sampleEvent())
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-g.arrived; cancel() }()
	if err := l.Close(ctx); !errors.Is(err, problem.Timeout) {
		t.Errorf("got %v", err)
	}
	g.release <- nil
	if err := l.Close(testContext(t)); err != nil {
		t.Error(err)
	}
}

func TestConcurrentLinesArriveWhole(t *testing.T) {
	var out bytes.Buffer
	l := NewRequestLog(&out, JSON, clock.Real{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				l.Log(sampleEvent())
			}
		})
	}
	wg.Wait()
	if err := l.Close(testContext(t)); err != nil {
		t.Fatal(err)
	}
	dec, lines := json.NewDecoder(&out), 0
	for {
		var v map[string]any
		if err := dec.Decode(&v); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		lines++
	}
	if lines+int(l.Dropped()) != 1600 || l.Dropped() != 0 {
		t.Errorf("%d lines, %d dropped", lines, l.Dropped())
	}
}

func TestLogAllocatesAtMostOnce(t *testing.T) {
	l := NewRequestLog(io.Discard, JSON, clock.Real{})
	defer func() { _ = l.Close(testContext(t)) }()
	e := sampleEvent()
	if n := testing.AllocsPerRun(500, func() { l.Log(e) }); n > 1 {
		t.Errorf("%v allocations per line", n)
	}
}

func BenchmarkRequestLog(b *testing.B) {
	for _, format := range []Format{JSON, Text} {
		b.Run(string(format), func(b *testing.B) {
			l := NewRequestLog(io.Discard, format, clock.Real{})
			e := sampleEvent()
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					l.Log(e)
				}
			})
			if err := l.Close(b.Context()); err != nil {
				b.Error(err)
			}
			b.ReportMetric(float64(l.Dropped())/float64(b.N), "dropped/op")
		})
	}
}
