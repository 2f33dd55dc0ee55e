package secrets

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/vault"
)

// Delete deletes a secret with all its versions; it can be recovered for as long
// as the vault says. problem.NotFound with vault.SecretNotFound.
func (s *Store) Delete(ctx context.Context, v vault.Vault, name string) (d Deleted, err error) {
	err = s.attempt(ctx, v, name, func(key string) error {
		h, err := s.head(ctx, v, key)
		if err != nil {
			return missing(err, name, "")
		}
		h.DeletedAt = s.now()
		h.PurgeAt = h.DeletedAt.AddDate(0, 0, v.RetentionDays)
		put, err := h.put(deletedOf(v.UID)+state.Key(key), state.Absent)
		if err != nil {
			return err
		}
		d = h.deleted(v)
		_, err = s.State.Write(ctx, v.Open(), put, state.Delete(headsOf(v.UID)+state.Key(key), h.revision),
			state.Put(dueKey(v.UID, key, h.PurgeAt), []byte("{}"), state.Any))
		return err
	})
	if err != nil {
		return Deleted{}, err
	}
	return d, nil
}

// beingDeleted reports whether a secret is in the time after its deletion when it
// is neither there nor among the deleted ones.
func (s *Store) beingDeleted(h head) bool { return s.now().Before(h.DeletedAt.Add(s.DeletionDelay)) }

// GetDeleted reads a deleted secret; problem.NotFound with vault.SecretNotFound.
func (s *Store) GetDeleted(ctx context.Context, v vault.Vault, name string) (Deleted, error) {
	if err := vault.CheckSecretName(name); err != nil {
		return Deleted{}, err
	}
	h, err := s.deletedHead(ctx, v.UID, strings.ToLower(name))
	if err == nil && (h.gone(s.now()) || s.beingDeleted(h)) {
		err = state.ErrNotFound
	}
	if err != nil {
		return Deleted{}, notDeleted(err, name)
	}
	return h.deleted(v), nil
}

func notDeleted(err error, name string) error {
	if !errors.Is(err, state.ErrNotFound) {
		return err
	}
	return problem.Wrap(problem.NotFound, fmt.Sprintf("Deleted Secret not found: %s", name), vault.SecretNotFound)
}

// deletedHead reads a deleted secret; state.ErrNotFound if there is none.
func (s *Store) deletedHead(ctx context.Context, uid, key string) (head, error) {
	doc, err := s.State.Get(ctx, deletedOf(uid)+state.Key(key))
	if err != nil {
		return head{}, err
	}
	return decodeHead(doc)
}

// Deleted lists the deleted secrets as List does. A page can have fewer though
// there are more.
func (s *Store) Deleted(ctx context.Context, v vault.Vault, p Page) (list []Deleted, next string, err error) {
	found, next, err := s.heads(ctx, deletedOf(v.UID), p)
	list = make([]Deleted, 0, len(found))
	for _, h := range found {
		if !h.gone(s.now()) && !s.beingDeleted(h) {
			list = append(list, h.deleted(v))
		}
	}
	return list, next, err
}

// deletedNow reads a deleted secret for a step that changes it.
func (s *Store) deletedNow(ctx context.Context, v vault.Vault, name, key string) (head, error) {
	h, err := s.deletedHead(ctx, v.UID, key)
	switch {
	case err == nil && h.gone(s.now()):
		return head{}, notDeleted(state.ErrNotFound, name)
	case err != nil:
		return head{}, notDeleted(err, name)
	case s.beingDeleted(h):
		return head{}, beingDeleted(name)
	}
	return h, nil
}

// Recover undoes Delete. problem.NotFound with vault.SecretNotFound,
// problem.Conflict with vault.SecretBeingDeleted.
func (s *Store) Recover(ctx context.Context, v vault.Vault, name string) (p Properties, err error) {
	err = s.attempt(ctx, v, name, func(key string) error {
		was, err := s.deletedNow(ctx, v, name, key)
		if err != nil {
			return err
		}
		h := head{UID: was.UID, Name: was.Name, Latest: was.Latest}
		put, err := h.put(headsOf(v.UID)+state.Key(key), state.Absent)
		if err != nil {
			return err
		}
		p = h.properties(v, h.Latest)
		_, err = s.State.Write(ctx, v.Open(), put, state.Delete(deletedOf(v.UID)+state.Key(key), was.revision),
			state.Delete(dueKey(v.UID, key, was.PurgeAt), state.Any))
		return err
	})
	if err != nil {
		return Properties{}, err
	}
	return p, nil
}

// Purge removes a deleted secret for good; its name is free once it returns. What
// an interruption leaves of its versions PurgeExpired removes. Errors as for
// Recover; problem.Denied with vault.PurgeProtected.
func (s *Store) Purge(ctx context.Context, v vault.Vault, name string) error {
	return s.attempt(ctx, v, name, func(key string) error {
		h, err := s.deletedNow(ctx, v, name, key)
		if err != nil {
			return err
		}
		if v.PurgeProtected {
			return problem.Wrap(problem.Denied, "Operation \"purge\" is not allowed because purge protection is enabled for this vault. "+
				"Key Vault service will automatically purge it after the retention period has passed.", vault.PurgeProtected).
				WithNext("wait until " + whole(h.PurgeAt).Format("2006-01-02 15:04:05Z"))
		}
		return s.remove(ctx, v.UID, key, h, v.Open())
	})
}
