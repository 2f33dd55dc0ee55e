package memory

import (
	"bytes"
	"context"
	"io"
	"sync"

	"github.com/latchkey/latchkey/internal/engine"
)

// lines is what a container wrote. The zero value is empty.
type lines struct {
	mu    sync.Mutex
	text  []byte
	more  chan struct{} // closed at the next change
	ended bool
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	l.changed()
	return len(b), nil
}

func (l *lines) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.changed()
}

func (l *lines) changed() {
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
}

// copy writes what there is and, if wanted, what comes.
func (l *lines) copy(ctx context.Context, opts engine.LogOptions, w io.Writer) error {
	l.mu.Lock()
	at := start(l.text, opts.Tail)
	l.mu.Unlock()
	for {
		l.mu.Lock()
		part, ended := bytes.Clone(l.text[at:]), l.ended
		if l.more == nil {
			l.more = make(chan struct{})
		}
		more := l.more
		l.mu.Unlock()
		at += len(part)
		if _, err := w.Write(part); err != nil {
			return err
		}
		if ended || !opts.Follow {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil
		}
	}
}

// start gives where the last n lines begin; 0 lines are all.
func start(text []byte, n int) int {
	if n <= 0 {
		return 0
	}
	at := len(bytes.TrimRight(text, "\n"))
	for ; n > 0 && at >= 0; n-- {
		at = bytes.LastIndexByte(text[:at], '\n')
	}
	return at + 1
}
