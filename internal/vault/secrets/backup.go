package secrets

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/vault"
)

// place is what backups are bound to when they are sealed: nothing else that this
// installation sealed is one.
const place = "vault-secret-backup"

// copied is what a backup has.
type copied struct {
	Format   int             `json:"format"`
	Name     string          `json:"name"`
	Versions []copiedVersion `json:"versions"` // the latest last
}

// copiedVersion keeps the value as bytes, which take no more than a third more
// whatever they are.
type copiedVersion struct {
	version
	Value []byte `json:"value"`
}

const format = 1

// Backup gives a secret with all its versions as a text of URL-safe characters
// that only this installation can read. problem.NotFound with
// vault.SecretNotFound, problem.Invalid for more than MaxBackup versions.
func (s *Store) Backup(ctx context.Context, v vault.Vault, name string) (string, error) {
	if err := vault.CheckSecretName(name); err != nil {
		return "", err
	}
	for range tries {
		c, err := s.copyOf(ctx, v, name)
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil {
			return "", missing(err, name, "")
		}
		return s.seal(c)
	}
	return "", problem.New(problem.Conflict, fmt.Sprintf("others kept changing secret %q", name)).WithNext("try again")
}

func (s *Store) seal(c copied) (string, error) {
	plain, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	sealed, err := seal.Seal(s.Sealer, plain, place)
	if err != nil {
		return "", problem.Wrap(problem.KindOf(err), "the backup cannot be encrypted", err)
	}
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

var errMoved = errors.New("the secret changed while it was copied")

// copyOf reads a secret as it was at one moment.
func (s *Store) copyOf(ctx context.Context, v vault.Vault, name string) (copied, error) {
	key := strings.ToLower(name)
	h, err := s.head(ctx, v, key)
	if err != nil {
		return copied{}, err
	}
	c := copied{Format: format, Name: h.Name}
	for page, more := (Page{Limit: defaultPage}), true; more; {
		var list []version
		if list, more, err = s.versions(ctx, v, h, page); err != nil {
			return copied{}, err
		}
		for _, x := range list {
			page.After = x.ID
			if x.ID != h.Latest.ID {
				c.Versions = append(c.Versions, copiedVersion{x, []byte(x.Value)})
			}
		}
		if len(c.Versions) >= MaxBackup {
			return copied{}, problem.Wrap(problem.Invalid, fmt.Sprintf("secret %q has more than %d versions and cannot be backed up", name, MaxBackup), vault.BadParameter)
		}
	}
	c.Versions = append(c.Versions, copiedVersion{h.Latest, []byte(h.Latest.Value)})
	if again, err := s.head(ctx, v, key); err != nil || again.revision != h.revision {
		return copied{}, errors.Join(err, errMoved)
	}
	return c, nil
}

// Restore makes a secret from a backup, with the versions it had, and gives the
// latest. Nothing of it is seen until all is there. Errors: problem.Invalid with
// vault.BadParameter, problem.Conflict with vault.SecretExists, SecretDeleted or
// SecretBeingDeleted.
func (s *Store) Restore(ctx context.Context, v vault.Vault, blob string) (p Properties, err error) {
	c, err := s.open(blob)
	if err != nil {
		return Properties{}, err
	}
	err = s.attempt(ctx, v, c.Name, func(key string) error {
		if _, err := s.head(ctx, v, key); err == nil {
			return exists(c.Name)
		} else if !errors.Is(err, state.ErrNotFound) {
			return err
		}
		if err := s.obstacle(ctx, v, c.Name, key); err != nil {
			return err
		}
		p, err = s.restoreOnce(ctx, v, key, c)
		return err
	})
	if err != nil {
		return Properties{}, err
	}
	return p, nil
}

func exists(name string) error {
	return problem.Wrap(problem.Conflict, fmt.Sprintf("The secret '%s' already exists in this vault.", name), vault.SecretExists).
		WithNext("delete and purge it first, or restore into another vault")
}

// open reads and checks a backup.
func (s *Store) open(blob string) (c copied, err error) {
	if len(blob) > MaxBlob {
		return c, errBackup()
	}
	sealed, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(blob, "="))
	if err != nil {
		return c, errBackup()
	}
	plain, _, err := seal.Open(s.Sealer, sealed, place)
	if problem.KindOf(err) == problem.Unavailable {
		return c, problem.Wrap(problem.Unavailable, "the backup cannot be read just now", err)
	}
	if err != nil {
		return c, errBackup()
	}
	return decodeBackup(plain)
}

// decodeBackup reads what was sealed. It was made here; that it is checked even so
// keeps a fault from becoming a secret that cannot be read.
func decodeBackup(plain []byte) (c copied, err error) {
	if json.Unmarshal(plain, &c) != nil || c.Format != format || vault.CheckSecretName(c.Name) != nil || len(c.Versions) == 0 || len(c.Versions) > MaxBackup {
		return copied{}, errBackup()
	}
	seen := map[string]bool{}
	for i := range c.Versions {
		x := &c.Versions[i]
		x.version.Value = string(x.Value)
		a := Attributes{ContentType: &x.ContentType, Tags: x.Tags}
		if !isID(x.ID) || seen[x.ID] || errors.Join(checkValue(x.version.Value), a.check()) != nil {
			return copied{}, errBackup()
		}
		seen[x.ID] = true
	}
	return c, nil
}

func errBackup() error {
	return problem.Wrap(problem.Invalid, "member 'value' is no backup of a secret that this installation made", vault.BadParameter)
}

// batchBytes is how much a write of a restore carries: far less than the state
// takes.
const batchBytes = 512 << 10

// restoreOnce writes the versions under a new UID, then the head that makes them
// those of a secret.
func (s *Store) restoreOnce(ctx context.Context, v vault.Vault, key string, c copied) (Properties, error) {
	h := head{UID: newID(), Name: c.Name, Latest: c.Versions[len(c.Versions)-1].version}
	left, err := leftover{Since: s.now(), Restoring: true}.put(v.UID, h.UID, state.Absent)
	if err != nil {
		return Properties{}, err
	}
	begun, err := s.State.Write(ctx, v.Open(), left)
	if err != nil {
		return Properties{}, err
	}
	err = s.writeVersions(ctx, v, h.UID, c.Versions[:len(c.Versions)-1])
	if err == nil {
		var put state.Op
		if put, err = h.put(headsOf(v.UID)+state.Key(key), state.Absent); err == nil {
			_, err = s.State.Write(ctx, v.Open(), put, state.Check(deletedOf(v.UID)+state.Key(key), state.Absent),
				state.Delete(garbageOf(v.UID)+state.Key(h.UID), begun))
		}
	}
	if errors.Is(err, state.ErrConflict) { // it was certainly not written
		_ = s.clear(ctx, v.UID, h.UID) // else PurgeExpired does so later
	}
	return h.properties(v, h.Latest), err
}

func (s *Store) writeVersions(ctx context.Context, v vault.Vault, secret string, list []copiedVersion) error {
	ops, size := []state.Op{v.Open()}, 0
	for _, x := range list {
		put, err := x.put(v.UID, secret, state.Absent)
		if err != nil {
			return err
		}
		if len(ops) == state.MaxOps || size+len(put.Value) > batchBytes {
			if _, err := s.State.Write(ctx, ops...); err != nil {
				return err
			}
			ops, size = []state.Op{v.Open()}, 0
		}
		ops, size = append(ops, put), size+len(put.Value)
	}
	if len(ops) == 1 {
		return nil
	}
	_, err := s.State.Write(ctx, ops...)
	return err
}
