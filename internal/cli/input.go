package cli

import (
	"context"
	"io"
	"os"

	"golang.org/x/term"
)

// awaitInput gives what read gives, or ctx's error if that ends first: reading
// from a terminal or a pipe cannot be called back. Its goroutine ends with what
// it waits for, at the latest with the process.
func awaitInput[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	got := make(chan result, 1)
	go func() {
		value, err := read()
		got <- result{value, err}
	}()
	select {
	case r := <-got:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// stdin is standard input that gives up when ctx ends. It reads ahead into a
// buffer of its own, because nobody may write to the caller's after that.
type stdin struct {
	ctx context.Context
	r   io.Reader
	buf []byte // what was read and not yet asked for
}

func newStdin(ctx context.Context, env *Env) *stdin { return &stdin{ctx: ctx, r: env.Stdin} }

// Read implements io.Reader.
func (s *stdin) Read(p []byte) (int, error) {
	if len(s.buf) == 0 {
		size := len(p)
		read, err := awaitInput(s.ctx, func() ([]byte, error) {
			chunk := make([]byte, size)
			n, err := s.r.Read(chunk)
			return chunk[:n], err
		})
		if len(read) == 0 {
			return 0, err
		}
		s.buf = read // an error comes again with the next read
	}
	n := copy(p, s.buf)
	s.buf = s.buf[n:]
	return n, nil
}

// readHidden reads a line from a terminal without showing it, and leaves the
// terminal as it was however that ends.
func readHidden(ctx context.Context, terminal *os.File) (string, error) {
	fd := int(terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	raw, err := awaitInput(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	if ctx.Err() != nil {
		_ = term.Restore(fd, before) // the best that can be done on the way out
	}
	return string(raw), err
}
