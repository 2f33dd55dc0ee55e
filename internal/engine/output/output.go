// Package output owns the last of what a container wrote, for engines that have to
// keep it themselves, and lets readers follow it. It does not know whose output it
// is, and keeps nothing on disk.
package output

import (
	"bytes"
	"context"
	"io"
	"sync"

	"github.com/latchkey/latchkey/internal/engine"
)

// kept is how much is kept at least, in bytes; up to twice as much is.
const kept = 256 << 10

// Buffer is what a container wrote last. The zero value is empty; it is safe for
// concurrent use.
type Buffer struct {
	mu      sync.Mutex
	text    []byte
	dropped int           // bytes that were before text
	more    chan struct{} // closed at the next change; nil if nobody waits
	ended   bool
}

// Write adds to the end. It never fails.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	if over := len(b.text) - kept; over > kept {
		b.text = append([]byte(nil), b.text[over:]...)
		b.dropped += over
	}
	b.changed()
	return len(p), nil
}

// End tells readers that nothing more comes.
func (b *Buffer) End() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	b.changed()
}

func (b *Buffer) changed() {
	if b.more != nil {
		close(b.more)
		b.more = nil
	}
}

// Copy writes what there is to w and, with Follow, what comes, until the end or
// until ctx ends. A reader that is too slow misses what is dropped meanwhile.
func (b *Buffer) Copy(ctx context.Context, opts engine.LogOptions, w io.Writer) error {
	at := -1
	for {
		part, next, ended, more := b.read(at, opts.Tail)
		at = next
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

// read gives what is behind position at; the first read, at -1, begins with the
// last lines.
func (b *Buffer) read(at, tail int) (part []byte, next int, ended bool, more <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	from := max(0, at-b.dropped)
	if at < 0 {
		from = start(b.text, tail)
	}
	if b.more == nil {
		b.more = make(chan struct{})
	}
	return bytes.Clone(b.text[from:]), b.dropped + len(b.text), b.ended, b.more
}

// start gives where the last n lines begin; 0 lines are all.
func start(text []byte, n int) int {
	if n <= 0 {
		return 0
	}
	at := len(bytes.TrimSuffix(text, []byte("\n")))
	for ; n > 0 && at >= 0; n-- {
		at = bytes.LastIndexByte(text[:at], '\n')
	}
	return at + 1
}
