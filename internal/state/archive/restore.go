package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Restore puts what an archive holds into store, the one below the encryption,
// which must be empty but for leases. The whole archive is read and checked
// before anything is written: twice from r if that can be rewound, else through
// a temporary file (0600, in the system's folder for these, as sealed as r is).
//
// While it writes, the store has the document [RestoringKey]. A restore that was
// interrupted is completed by restoring the same archive again.
//
// It returns problem.Conflict if the store is not empty, and otherwise the kinds
// of [Inspect] and the store's errors. Nobody may use the store meanwhile.
func Restore(ctx context.Context, store state.Store, r io.Reader, opener Opener) (Summary, error) {
	again, done, err := rewindable(r)
	if err != nil {
		return Summary{}, err
	}
	defer done()
	in, err := newReader(again, opener)
	if err != nil {
		return Summary{}, err
	}
	want, err := in.all(func(record) error { return ctx.Err() })
	if err != nil {
		return Summary{}, err
	}
	if want.Header.Sealed && opener == nil {
		return Summary{}, problem.New(problem.Invalid, "the backup is encrypted").WithNext("give the key-encryption key that was in use when it was made")
	}
	if err := again.rewind(); err != nil {
		return Summary{}, err
	}
	return want, fill(ctx, store, again, opener, want)
}

// fill writes a checked archive into the store. in.tally of the second reading
// must end as that of the first, else the file is not the one that was checked.
func fill(ctx context.Context, store state.Store, r io.Reader, opener Opener, want Summary) error {
	in, err := newReader(r, opener)
	if err != nil {
		return err
	}
	b, err := begin(ctx, store, want)
	if err != nil {
		return err
	}
	got, err := in.all(func(rec record) error { return b.add(ctx, rec) })
	if err == nil && got.SHA256 != want.SHA256 {
		err = damaged("it was changed while it was read")
	}
	if errors.Is(err, problem.Undecryptable) {
		return problem.Wrap(problem.Undecryptable, "the restore was broken off, the store is not complete", err).
			WithNext("restore again from a copy of the file that nobody changes")
	}
	if err != nil {
		return err
	}
	return b.finish(ctx)
}

// batch collects operations up to the limits of one write. Every write depends
// on the mark of this restore.
type batch struct {
	store state.Store
	mark  state.Op
	ops   []state.Op
	keys  map[state.Key]bool
	size  int
}

// begin marks the store as being restored.
func begin(ctx context.Context, store state.Store, want Summary) (*batch, error) {
	mark, err := store.Get(ctx, RestoringKey)
	if errors.Is(err, state.ErrNotFound) {
		mark, err = setMark(ctx, store, want.SHA256)
	}
	if err != nil {
		return nil, err
	}
	if string(mark.Value) != want.SHA256 {
		return nil, problem.New(problem.Conflict, "the store has part of another backup, whose restore was not completed").
			WithNext("complete that restore, or begin with an empty store")
	}
	return &batch{store: store, mark: state.Check(RestoringKey, mark.Revision), keys: map[state.Key]bool{}}, nil
}

func setMark(ctx context.Context, store state.Store, id string) (state.Document, error) {
	if err := checkEmpty(ctx, store); err != nil {
		return state.Document{}, err
	}
	rev, err := store.Write(ctx, state.Put(RestoringKey, []byte(id), state.Absent))
	return state.Document{Key: RestoringKey, Value: []byte(id), Revision: rev}, err
}

func checkEmpty(ctx context.Context, store state.Store) error {
	listing, err := store.List(ctx, "/", state.Page{KeysOnly: true})
	if err != nil {
		return err
	}
	for _, doc := range listing.Documents {
		if !isLease(doc.Key) {
			return problem.New(problem.Conflict, fmt.Sprintf("the store is not empty: it has %q", doc.Key)).
				WithNext("restore into a new store; nothing was changed")
		}
	}
	return nil
}

// add takes one record, writing what came before it if it does not fit.
func (b *batch) add(ctx context.Context, rec record) error {
	full := len(b.ops) == state.MaxOps-1 || b.size+len(rec.value) > state.MaxValue
	if full || b.keys[rec.key] {
		if err := b.flush(ctx); err != nil {
			return err
		}
	}
	op := state.Put(rec.key, rec.value, state.Any)
	if rec.remove {
		op = state.Delete(rec.key, state.Any)
	}
	b.ops = append(b.ops, op)
	b.keys[rec.key] = true
	b.size += len(rec.value)
	return nil
}

func (b *batch) flush(ctx context.Context) error {
	if len(b.ops) == 0 {
		return nil
	}
	_, err := b.store.Write(ctx, append(b.ops, b.mark)...)
	b.ops, b.size = nil, 0
	clear(b.keys)
	if errors.Is(err, state.ErrConflict) {
		return problem.Wrap(problem.Conflict, "somebody else restored into the same store", err).WithNext("see that only one restore runs")
	}
	return err
}

// finish writes the rest and takes the mark away.
func (b *batch) finish(ctx context.Context) error {
	if err := b.flush(ctx); err != nil {
		return err
	}
	_, err := b.store.Write(ctx, state.Delete(RestoringKey, b.mark.If))
	return err
}

// source is a file that can be read twice.
type source struct {
	io.ReadSeeker
	start int64
}

func (s *source) rewind() error {
	if _, err := s.Seek(s.start, io.SeekStart); err != nil {
		return unreadable(err)
	}
	return nil
}

// rewindable gives r itself if it can be rewound, else a temporary copy. done
// removes the copy.
func rewindable(r io.Reader) (s *source, done func(), err error) {
	if seeker, ok := r.(io.ReadSeeker); ok {
		if at, err := seeker.Seek(0, io.SeekCurrent); err == nil { // pipes are files that cannot
			return &source{seeker, at}, func() {}, nil
		}
	}
	f, err := os.CreateTemp("", "latchkey-restore-*")
	if err != nil {
		return nil, nil, problem.Wrap(problem.Unavailable, "a temporary file for the backup cannot be made", err)
	}
	done = func() {
		_ = f.Close()
		_ = os.Remove(f.Name()) // it holds nothing that is not sealed, or else nothing that r did not show
	}
	if _, err = io.Copy(f, r); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		done()
		return nil, nil, unreadable(err)
	}
	return &source{f, 0}, done, nil
}
