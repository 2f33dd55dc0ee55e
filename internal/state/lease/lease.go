// Package lease owns the leases of a store that only one process uses: who has
// which, and who waits for it in what order. A lease is a document that only this
// package writes. It does not know how the store keeps documents.
package lease

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Write is a store's write without the rule that keeps others from writing leases.
type Write func(ctx context.Context, ops ...state.Op) (state.Revision, error)

// Desk hands out leases, first come first served. It is safe for concurrent use.
type Desk struct {
	write Write

	mu     sync.Mutex
	places map[string]*place
	held   map[*Lease]struct{}
	closed bool
	ended  chan struct{} // closed by Close
}

// place is where those who want one lease queue.
type place struct {
	turn  chan struct{} // holds one token while nobody has the lease; receivers queue fairly
	users int           // who have the lease or wait for it
}

// NewDesk gives a desk that keeps its documents through write.
func NewDesk(write Write) *Desk {
	return &Desk{write: write, places: map[string]*place{}, held: map[*Lease]struct{}{}, ended: make(chan struct{})}
}

// Key gives the key of a lease's document; ErrInvalid or ErrTooLarge for what is
// no name of a lease.
func Key(name string) (state.Key, error) {
	key := state.LeasePrefix + state.Key(name)
	if strings.Contains(name, "/") {
		return "", problem.New(state.ErrInvalid, fmt.Sprintf("%q is no name of a lease: it must be one segment", key))
	}
	return key, state.CheckKey(key)
}

// Acquire waits for a lease as [state.Store] promises. The lease ends with the
// process, so the time to live only has to be valid.
func (d *Desk) Acquire(ctx context.Context, name string, ttl time.Duration) (*Lease, error) {
	key, err := Key(name)
	if err != nil {
		return nil, err
	}
	if ttl <= 0 {
		return nil, problem.New(state.ErrInvalid, fmt.Sprintf("lease %q needs a time to live, not %s", name, ttl))
	}
	if err := state.Alive(ctx); err != nil {
		return nil, err
	}
	p, err := d.enter(name)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.turn:
		return d.grant(ctx, name, key, p)
	case <-ctx.Done():
		d.leave(name, p)
		return nil, state.Alive(ctx)
	case <-d.ended:
		d.leave(name, p)
		return nil, errClosed()
	}
}

// grant makes the lease of whoever has the turn. The write is not cut short by
// ctx, so that nothing is left that nobody holds.
func (d *Desk) grant(ctx context.Context, name string, key state.Key, p *place) (*Lease, error) {
	l := &Lease{desk: d, name: name, key: key, place: p, lost: make(chan struct{})}
	var err error
	if l.revision, err = d.write(context.WithoutCancel(ctx), state.Put(key, nil, state.Any)); err != nil {
		d.pass(name, p)
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errClosed()
	}
	d.held[l] = struct{}{}
	return l, nil
}

func (d *Desk) enter(name string) (*place, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errClosed()
	}
	p := d.places[name]
	if p == nil {
		p = &place{turn: make(chan struct{}, 1)}
		p.turn <- struct{}{}
		d.places[name] = p
	}
	p.users++
	return p, nil
}

func (d *Desk) leave(name string, p *place) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.users--; p.users == 0 {
		delete(d.places, name)
	}
}

// pass gives the turn to the next one.
func (d *Desk) pass(name string, p *place) {
	p.turn <- struct{}{}
	d.leave(name, p)
}

// Expire ends all leases as if their holders had been cut off.
func (d *Desk) Expire() {
	for _, l := range d.holders() {
		_ = l.Release(context.Background())
	}
}

func (d *Desk) holders() []*Lease {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]*Lease, 0, len(d.held))
	for l := range d.held {
		list = append(list, l)
	}
	return list
}

// Close tells all holders that their leases are lost and those who wait that
// there will be none. Nothing is written any more.
func (d *Desk) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	d.closed = true
	close(d.ended)
	for l := range d.held {
		l.end()
	}
}

func errClosed() error { return problem.New(state.ErrUnavailable, "the store is closed") }

// Lease is a lease somebody holds.
type Lease struct {
	desk     *Desk
	name     string
	key      state.Key
	revision state.Revision
	place    *place
	once     sync.Once
	lost     chan struct{}
}

var _ state.Lease = (*Lease)(nil)

// Lost implements [state.Lease].
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// Fence implements [state.Lease].
func (l *Lease) Fence() state.Op { return state.Check(l.key, l.revision) }

// Release implements [state.Lease]. The lease has ended also if the document
// could not be removed, which the error tells then; the next holder replaces it.
func (l *Lease) Release(ctx context.Context) error {
	if !l.end() {
		return nil
	}
	d := l.desk
	_, err := d.write(context.WithoutCancel(ctx), state.Delete(l.key, l.revision))
	d.mu.Lock()
	delete(d.held, l)
	d.mu.Unlock()
	d.pass(l.name, l.place)
	return err
}

// end closes lost; it reports whether the lease had not ended before.
func (l *Lease) end() (first bool) {
	l.once.Do(func() { first = true; close(l.lost) })
	return first
}
