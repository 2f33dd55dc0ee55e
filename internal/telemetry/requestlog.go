package telemetry

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	flushSize  = 64 << 10               // bytes that wake the writer at once
	flushEvery = 100 * time.Millisecond // how long a line waits at most
	maxPending = 4 << 20                // bytes held for a sink that does not keep up
	maxKept    = 16 << 10               // capacity up to which an encoding buffer is used again
)

// RequestLog writes one line per request without ever holding a request up:
// lines collect in memory and one goroutine writes them out when 64 KiB are
// there, after 100 ms, and at Close. If the sink does not keep up and 4 MiB are
// waiting, lines are dropped, counted, and the next line says how many.
type RequestLog struct {
	w      io.Writer
	format Format
	clock  clock.Clock

	dropped    atomic.Uint64 // all lines lost so far
	unreported atomic.Uint64 // those that no line has told of yet

	mu      sync.Mutex
	pending []byte
	lines   int // in pending
	closed  bool

	dirty chan struct{} // pending is no longer empty
	full  chan struct{} // pending has passed flushSize
	quit  chan struct{} // closed by Close
	done  chan struct{} // closed when the writer has ended
}

// NewRequestLog starts a request log that writes to w, always whole lines, from
// one goroutine that ends with [RequestLog.Close].
func NewRequestLog(w io.Writer, format Format, c clock.Clock) *RequestLog {
	l := &RequestLog{
		w: w, format: format, clock: c,
		pending: make([]byte, 0, flushSize+flushSize/4),
		dirty:   make(chan struct{}, 1), full: make(chan struct{}, 1),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
	go l.run()
	return l
}

// lineBuffers holds encoding space; lines are put together outside the lock.
var lineBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// Log adds a line. It does not block, may be called from any goroutine, and
// drops the event once the log is closed.
func (l *RequestLog) Log(e RequestEvent) {
	if e.Time.IsZero() {
		e.Time = l.clock.Now()
	}
	var lost uint64
	if l.unreported.Load() > 0 {
		lost = l.unreported.Swap(0)
	}
	buf := lineBuffers.Get().(*[]byte)
	line := (*buf)[:0]
	if l.format == JSON {
		line = appendEventJSON(line, &e, lost)
	} else {
		line = appendEventText(line, &e, lost)
	}
	if !l.enqueue(line) {
		l.dropped.Add(1)
		l.unreported.Add(lost + 1)
	}
	if cap(line) <= maxKept {
		*buf = line
		lineBuffers.Put(buf)
	}
}

// Dropped gives the number of lines lost so far, because the sink did not keep
// up, failed, or the log was closed.
func (l *RequestLog) Dropped() uint64 { return l.dropped.Load() }

// Close writes out what is waiting and ends the writer. If ctx ends first it
// returns problem.Timeout; the writer then ends when the sink lets go of it.
// Close may be called more than once.
func (l *RequestLog) Close(ctx context.Context) error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.quit)
	}
	l.mu.Unlock()
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		return problem.Wrap(problem.Timeout, "request log not written out", ctx.Err())
	}
}

func (l *RequestLog) enqueue(line []byte) bool {
	l.mu.Lock()
	before := len(l.pending)
	if l.closed || before+len(line) > maxPending {
		l.mu.Unlock()
		return false
	}
	l.pending = append(l.pending, line...)
	l.lines++
	after := len(l.pending)
	l.mu.Unlock()
	if before == 0 {
		signal(l.dirty)
	}
	if before < flushSize && after >= flushSize {
		signal(l.full)
	}
	return true
}

// run is the one goroutine that writes.
func (l *RequestLog) run() {
	defer close(l.done)
	spare := make([]byte, 0, flushSize+flushSize/4)
	for l.await() {
		spare = l.flush(spare)
	}
	l.flush(spare)
	if lost := l.unreported.Swap(0); lost > 0 {
		l.write(appendLoss(nil, l.format, l.clock.Now(), lost), 0)
	}
}

// await waits until there is something to write and it is time to; false means
// that the log is being closed.
func (l *RequestLog) await() bool {
	select {
	case <-l.dirty:
	case <-l.quit:
		return false
	}
	t := l.clock.NewTimer(flushEvery)
	defer t.Stop()
	select {
	case <-t.C():
	case <-l.full:
	case <-l.quit:
		return false
	}
	return true
}

// flush writes out what is waiting, while new lines collect in spare, and gives
// back the buffer it emptied.
func (l *RequestLog) flush(spare []byte) []byte {
	l.mu.Lock()
	out, lines := l.pending, l.lines
	l.pending, l.lines = spare[:0], 0
	l.mu.Unlock()
	l.write(out, lines)
	return out
}

func (l *RequestLog) write(out []byte, lines int) {
	if len(out) == 0 {
		return
	}
	if _, err := l.w.Write(out); err != nil {
		l.dropped.Add(uint64(lines))
		l.unreported.Add(uint64(lines))
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
