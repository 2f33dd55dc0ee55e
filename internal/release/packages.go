package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// chunkSize leaves room for sealing and for other operations of the same write.
const chunkSize = 400 << 10

// manifest is what is known of a package. It is written before the first chunk and
// removed after the last, so that no chunk is without one.
type manifest struct {
	Size     int64
	Chunks   int
	Complete bool     // all chunks are there
	Refs     []string // "app/release", app in lower case
}

func ref(app, id string) string { return strings.ToLower(app) + "/" + id }

// packages keeps zips by their hash. Chunks are removed only under the condition
// that the manifest has not changed since nobody referred to it: whoever adds a
// reference changes it, and then finds or writes the chunks.
type packages struct{ store state.Store }

func (r *Releases) packages() packages { return packages{r.cfg.Store} }

func (p packages) manifests() state.Collection[manifest] {
	return state.Collection[manifest]{Store: p.store, Prefix: "/package-refs/"}
}

func chunkKey(sha string, n int) state.Key {
	return state.Key(fmt.Sprintf("/packages/%s/%06d", sha, n))
}

// hold adds a reference and gives the manifest after that.
func (p packages) hold(ctx context.Context, sha string, size int64, who string) (state.Item[manifest], error) {
	return p.manifests().Update(ctx, sha, func(m manifest, exists bool) (manifest, error) {
		if !exists {
			m = manifest{Size: size, Chunks: int((size + chunkSize - 1) / chunkSize)}
		}
		if len(m.Refs) == 0 {
			m.Complete = false // it may be on its way out
		}
		if slices.Contains(m.Refs, who) {
			return m, state.ErrUnchanged
		}
		m.Refs = append(m.Refs, who)
		return m, nil
	})
}

// put writes the chunks of a package that is held.
func (p packages) put(ctx context.Context, sha string, zip io.Reader) error {
	buf := make([]byte, chunkSize)
	for n := 0; ; n++ {
		got, err := io.ReadFull(zip, buf)
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if _, err := p.store.Write(ctx, state.Put(chunkKey(sha, n), buf[:got], state.Any)); err != nil {
			return err
		}
	}
}

// complete gives the operation that marks a held package complete.
func (p packages) complete(ctx context.Context, sha, who string) (state.Op, error) {
	item, err := p.manifests().Get(ctx, sha)
	if err != nil || !slices.Contains(item.Value.Refs, who) {
		return state.Op{}, problem.Wrap(problem.Conflict, "the package was collected while it was being stored", err).WithNext("deploy again")
	}
	item.Value.Complete = true
	return p.manifests().Put(sha, item.Value, item.Revision)
}

// read writes a package's zip to w and fails if it is not what its hash says.
func (p packages) read(ctx context.Context, sha string, size int64, w io.Writer) error {
	hash, total := sha256.New(), int64(0)
	for n := 0; total < size; n++ {
		doc, err := p.store.Get(ctx, chunkKey(sha, n))
		if errors.Is(err, state.ErrNotFound) || err == nil && len(doc.Value) == 0 {
			return errDamaged(sha, err)
		}
		if err != nil {
			return err
		}
		hash.Write(doc.Value)
		if total += int64(len(doc.Value)); total > size {
			break
		}
		if _, err := w.Write(doc.Value); err != nil {
			return err
		}
	}
	if hex.EncodeToString(hash.Sum(nil)) != sha {
		return errDamaged(sha, nil)
	}
	return nil
}

func errDamaged(sha string, cause error) error {
	return problem.Wrap(problem.Undecryptable, fmt.Sprintf("package %.12s… is damaged in the state", sha), cause).
		WithNext("deploy the app again, or restore the state from a backup")
}

// drop removes a reference and, with the last one, the package.
func (p packages) drop(ctx context.Context, sha, who string) error {
	item, err := p.manifests().Update(ctx, sha, func(m manifest, exists bool) (manifest, error) {
		if !exists || !slices.Contains(m.Refs, who) {
			return m, state.ErrUnchanged
		}
		m.Refs = slices.DeleteFunc(m.Refs, func(r string) bool { return r == who })
		return m, nil
	})
	if err != nil || item.Revision == 0 || len(item.Value.Refs) > 0 {
		return err
	}
	return p.erase(ctx, sha, item)
}

// erase removes a package nobody refers to. It stops without an error when
// somebody does again.
func (p packages) erase(ctx context.Context, sha string, item state.Item[manifest]) error {
	check := state.Check(p.manifests().Key(sha), item.Revision)
	for part := range slices.Chunk(chunkNumbers(item.Value.Chunks), state.MaxOps-1) {
		ops := []state.Op{check}
		for _, n := range part {
			ops = append(ops, state.Delete(chunkKey(sha, n), state.Any))
		}
		if _, err := p.store.Write(ctx, ops...); err != nil {
			return unlessConflict(err)
		}
	}
	_, err := p.store.Write(ctx, state.Delete(p.manifests().Key(sha), item.Revision))
	return unlessConflict(err)
}

func chunkNumbers(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

func unlessConflict(err error) error {
	if errors.Is(err, state.ErrConflict) {
		return nil
	}
	return err
}
