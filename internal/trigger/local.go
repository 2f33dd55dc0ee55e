package trigger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
)

// LocalLeases are the leases of a host that is the only one of its app. The zero
// value is ready to use.
type LocalLeases struct {
	mu    sync.Mutex
	turns map[string]chan struct{} // of capacity 1; full while somebody has the lease
}

var _ Leases = (*LocalLeases)(nil)

// Acquire implements [Leases].
func (d *LocalLeases) Acquire(ctx context.Context, name string) (Lease, error) {
	d.mu.Lock()
	if d.turns == nil {
		d.turns = map[string]chan struct{}{}
	}
	turn := d.turns[name]
	if turn == nil {
		turn = make(chan struct{}, 1)
		d.turns[name] = turn
	}
	d.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return &localLease{turn: turn, lost: make(chan struct{})}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type localLease struct {
	turn chan struct{}
	lost chan struct{}
	once sync.Once
}

func (l *localLease) Lost() <-chan struct{} { return l.lost }

func (l *localLease) Release(context.Context) error {
	l.once.Do(func() {
		close(l.lost)
		<-l.turn
	})
	return nil
}

// Folder is a [Memory] that keeps its documents as files of a folder, which it
// makes with the first.
type Folder string

var _ Memory = Folder("")

// Get implements [Memory]. It returns problem.Unavailable when the file cannot be
// read.
func (d Folder) Get(_ context.Context, name string) (json.RawMessage, error) {
	data, err := os.ReadFile(d.path(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, problem.Wrap(problem.Unavailable, "a trigger's state cannot be read", err)
	}
	return data, nil
}

// Put implements [Memory]. It returns problem.Unavailable when the file cannot be
// written and problem.TooLarge for a document beyond [MaxDocument].
func (d Folder) Put(_ context.Context, name string, document json.RawMessage) error {
	if len(document) > MaxDocument {
		return problem.New(problem.TooLarge, fmt.Sprintf("a trigger's state has %d bytes, more than %d", len(document), MaxDocument))
	}
	err := os.MkdirAll(string(d), 0o700)
	if err == nil {
		err = atomicfile.Write(d.path(name), document)
	}
	if err != nil {
		return problem.Wrap(problem.Unavailable, "a trigger's state cannot be written", err)
	}
	return nil
}

func (d Folder) path(name string) string {
	return filepath.Join(string(d), url.PathEscape(name)+".json")
}
