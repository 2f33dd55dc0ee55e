package applog

import (
	"context"
	"strings"
	"sync"

	"github.com/latchkey/latchkey/internal/problem"
)

// ErrEnded says that the app was deleted, or made anew.
var ErrEnded = problem.New(problem.NotFound, "the log has ended: the app is gone")

// ErrClosed says that the node ends.
var ErrClosed = problem.New(problem.Unavailable, "the node ends").WithNext("ask again in a moment")

// Log is the log of one app. It is safe for concurrent use.
type Log struct {
	uid   string
	logs  *Logs
	start uint64 // the sequence number before the first line

	mu    sync.Mutex
	lines []Line // the oldest first
	bytes int
	last  uint64        // sequence number of the last line
	wake  chan struct{} // closed when there is something new; nil when nobody waits
	ended bool
}

// add keeps a line and drops the oldest ones above the bounds.
func (l *Log) add(x Line) {
	x.Message, x.Function, x.Invocation = Plain(short(x.Message)), Plain(x.Function), Plain(x.Invocation)
	limit := int(l.logs.limit.Load())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	x.Seq = l.last
	l.lines = append(l.lines, x)
	l.bytes += x.size()
	for len(l.lines) > 1 && (l.bytes > limit || len(l.lines) > maxLines) {
		l.bytes -= l.lines[0].size()
		l.lines[0] = Line{} // its texts are not held by the array
		l.lines = l.lines[1:]
	}
	l.rouse()
}

func short(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// rouse wakes whoever waits; l.mu is held.
func (l *Log) rouse() {
	if l.wake != nil {
		close(l.wake)
		l.wake = nil
	}
}

func (l *Log) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.rouse()
}

// After gives the lines after a sequence number, the oldest first, with the last number
// there is and how many lines after the number are not kept any more. Numbers that this
// log never gave are those of an earlier process: all lines come after them, and
// nothing is known of what is missing.
func (l *Log) After(seq uint64) (lines []Line, last, missed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.after(seq)
}

func (l *Log) after(seq uint64) (lines []Line, last, missed uint64) {
	first := l.last + 1
	if len(l.lines) > 0 {
		first = l.lines[0].Seq
	}
	switch {
	case seq >= l.last:
		return nil, l.last, 0
	case seq >= first:
		return append(lines, l.lines[seq-first+1:]...), l.last, 0
	}
	return append(lines, l.lines...), l.last, first - 1 - max(seq, l.start)
}

// Wait waits until there is a line after a sequence number. It returns the context's
// error when that ends first, [ErrEnded] for a log that has ended, and [ErrClosed] when
// all have.
func (l *Log) Wait(ctx context.Context, seq uint64) error {
	for {
		l.mu.Lock()
		if l.ended {
			l.mu.Unlock()
			return ErrEnded
		}
		if l.last > seq {
			l.mu.Unlock()
			return nil
		}
		if l.wake == nil {
			l.wake = make(chan struct{})
		}
		wake := l.wake
		l.mu.Unlock()
		select {
		case <-wake:
		case <-l.logs.closed:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
