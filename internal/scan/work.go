package scan

import (
	"context"
	"os"
	"runtime"
)

// job is one file to scan, or a note that something was not. Its events come in
// order and end when the channel is closed. That channel holds few events, so a
// worker that is ahead of its turn waits.
type job struct {
	show   string
	open   string
	events chan event
}

// event is one of: a key found, a file ended (with its byte count, and an error
// if that came too early), something skipped.
type event struct {
	hit     *hit
	ended   bool
	bytes   int64
	err     error
	skipped skip
}

type skip uint8

const (
	notSkipped skip = iota
	skippedBinary
	skippedSpecial
	skippedLink
)

// scanner is the walking and reading side of one scan. The walker puts each
// job into both queues: workers take from one, the collector from the other,
// in the order of the walk. Because workers take jobs in that order too, the job
// the collector waits for is always being worked on.
type scanner struct {
	opts    Options
	workers int
	todo    chan *job
	order   chan *job
}

func newScanner(opts Options) *scanner {
	workers := opts.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	return &scanner{opts: opts, workers: workers, todo: make(chan *job), order: make(chan *job, 16*workers)}
}

// walkAll walks the roots one after the other and then closes both queues.
func (s *scanner) walkAll(ctx context.Context, roots []root) error {
	defer close(s.todo)
	defer close(s.order)
	for _, r := range roots {
		if err := s.walk(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// work reads files until there are no more.
func (s *scanner) work(ctx context.Context) error {
	reading := newReading(s.opts)
	for j := range s.todo {
		s.read(ctx, reading, j)
	}
	return nil
}

func (s *scanner) read(ctx context.Context, reading *reading, j *job) {
	defer close(j.events)
	send := func(e event) bool {
		select {
		case j.events <- e:
			return true
		case <-ctx.Done():
			return false
		}
	}
	f, special, err := openRegular(j.open)
	switch {
	case special:
		send(event{skipped: skippedSpecial})
		return
	case err != nil:
		send(event{err: err})
		return
	}
	defer f.Close()
	send(reading.scan(ctx, f, send))
}

// openRegular opens a file that is still what the walk saw: not a link, not
// something that blocks.
func openRegular(path string) (f *os.File, special bool, err error) {
	f, err = os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, false, err
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, err == nil, err
	}
	return f, false, nil
}
