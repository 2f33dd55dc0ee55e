package secrets

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/state"
)

// abandoned is how old what a restore has begun must be to be taken for left
// behind.
const abandoned = time.Hour

// leftover is the document of a UID whose versions are no secret's.
type leftover struct {
	Since     time.Time `json:"since"`
	Restoring bool      `json:"restoring,omitempty"` // they are to become a secret's
}

func (l leftover) put(uid, secret string, cond state.Revision) (state.Op, error) {
	text, err := json.Marshal(l)
	return state.Put(garbageOf(uid)+state.Key(secret), text, cond), err
}

// remove takes a deleted secret away for good, its name first. state.ErrConflict if
// it is not as it was any more.
func (s *Store) remove(ctx context.Context, uid, key string, h head, also ...state.Op) error {
	left, err := leftover{Since: s.now()}.put(uid, h.UID, state.Any)
	if err != nil {
		return err
	}
	if _, err := s.State.Write(ctx, append(also, left, state.Delete(deletedOf(uid)+state.Key(key), h.revision),
		state.Delete(dueKey(uid, key, h.PurgeAt), state.Any))...); err != nil {
		return err
	}
	_ = s.clear(ctx, uid, h.UID) // it is decided: PurgeExpired does what could not be done now
	return nil
}

// clear removes the versions of a UID that are no secret's, and its document.
func (s *Store) clear(ctx context.Context, uid, secret string) error {
	if err := s.empty(ctx, versionsOf(uid, secret)); err != nil {
		return err
	}
	_, err := s.State.Write(ctx, state.Delete(garbageOf(uid)+state.Key(secret), state.Any))
	return err
}

// empty removes all documents below a prefix, some at a time.
func (s *Store) empty(ctx context.Context, prefix state.Key) error {
	return s.each(ctx, prefix, state.Page{KeysOnly: true, Limit: state.MaxOps}, func(docs []state.Document) error {
		ops := make([]state.Op, len(docs))
		for i, doc := range docs {
			ops[i] = state.Delete(doc.Key, state.Any)
		}
		_, err := s.State.Write(ctx, ops...)
		return err
	})
}

// errEnough ends each early.
var errEnough = errors.New("no more are wanted")

// each goes through the documents below a prefix, some at a time.
func (s *Store) each(ctx context.Context, prefix state.Key, page state.Page, do func([]state.Document) error) error {
	for {
		listing, err := s.State.List(ctx, prefix, page)
		if err != nil || len(listing.Documents) == 0 {
			return err
		}
		if err := do(listing.Documents); errors.Is(err, errEnough) {
			return nil
		} else if err != nil {
			return err
		}
		if !listing.More {
			return nil
		}
		page.After = listing.Documents[len(listing.Documents)-1].Key
	}
}

// PurgeExpired removes deleted secrets of all vaults whose time is over, and what
// interrupted work left. It tries all and gives the errors of those that failed.
// Call it now and then, on one node.
func (s *Store) PurgeExpired(ctx context.Context) error {
	var failed []error
	err := s.each(ctx, due, state.Page{KeysOnly: true, Limit: state.MaxOps}, func(docs []state.Document) error {
		for _, doc := range docs {
			at, uid, key, ok := parseDue(doc.Key)
			if !ok {
				continue // it is not one of ours
			}
			if at > s.now().Unix() {
				return errEnough
			}
			if err := s.purgeDue(ctx, doc.Key, uid, key); err != nil && !errors.Is(err, state.ErrConflict) { // it was recovered or purged meanwhile
				failed = append(failed, err)
			}
		}
		return nil
	})
	return errors.Join(append(failed, err, s.sweep(ctx))...)
}

func parseDue(key state.Key) (at int64, uid, name string, ok bool) {
	parts := strings.Split(strings.TrimPrefix(string(key), string(due)), "/")
	if len(parts) != 3 {
		return 0, "", "", false
	}
	at, err := strconv.ParseInt(parts[0], 10, 64)
	return at, parts[1], parts[2], err == nil
}

// purgeDue removes the deleted secret that an entry is about; the entry alone if
// it is about none any more.
func (s *Store) purgeDue(ctx context.Context, entry state.Key, uid, key string) error {
	h, err := s.deletedHead(ctx, uid, key)
	if errors.Is(err, state.ErrNotFound) || err == nil && dueKey(uid, key, h.PurgeAt) != entry {
		_, err = s.State.Write(ctx, state.Delete(entry, state.Any))
		return err
	}
	if err != nil {
		return err
	}
	return s.remove(ctx, uid, key, h)
}

// sweep removes the versions that are no secret's.
func (s *Store) sweep(ctx context.Context) error {
	var failed []error
	err := s.each(ctx, garbage, state.Page{Limit: state.MaxOps, Unreadable: true}, func(docs []state.Document) error {
		for _, doc := range docs {
			if err := s.sweepOne(ctx, doc); err != nil && !errors.Is(err, state.ErrConflict) {
				failed = append(failed, err)
			}
		}
		return nil
	})
	return errors.Join(append(failed, err)...)
}

func (s *Store) sweepOne(ctx context.Context, doc state.Document) error {
	uid, secret, ok := strings.Cut(strings.TrimPrefix(string(doc.Key), string(garbage)), "/")
	var l leftover
	if !ok || json.Unmarshal(doc.Value, &l) != nil {
		return damaged(doc.Key)
	}
	if l.Restoring {
		if s.now().Sub(l.Since) < abandoned {
			return nil
		}
		// From here on the restore cannot end well any more.
		mark, err := leftover{Since: l.Since}.put(uid, secret, doc.Revision)
		if err != nil {
			return err
		}
		if _, err := s.State.Write(ctx, mark); err != nil {
			return err
		}
	}
	return s.clear(ctx, uid, secret)
}

// Drop removes everything kept for a vault's UID; it goes into
// vault.Config.OnPurge, which calls it when nothing can be written there any more.
// It can be called again after an interruption.
func (s *Store) Drop(ctx context.Context, uid string) error {
	err := s.each(ctx, deletedOf(uid), state.Page{Limit: state.MaxOps / 2, Unreadable: true}, func(docs []state.Document) error {
		var ops []state.Op
		for _, doc := range docs {
			ops = append(ops, state.Delete(doc.Key, state.Any))
			if h, err := decodeHead(doc); err == nil { // else PurgeExpired removes the entry when its time has come
				ops = append(ops, state.Delete(dueKey(uid, strings.TrimPrefix(string(doc.Key), string(deletedOf(uid))), h.PurgeAt), state.Any))
			}
		}
		_, err := s.State.Write(ctx, ops...)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.empty(ctx, root+state.Key(uid)+"/"); err != nil {
		return err
	}
	return s.empty(ctx, garbageOf(uid))
}
