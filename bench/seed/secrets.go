package seed

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/bolt"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/vault"
	"github.com/latchkey/latchkey/internal/vault/secrets"
)

// chunk is how many secrets are made at a time.
const chunk = 200

// VaultGroup is the resource group of the vaults that are filled.
const VaultGroup = "vaults"

// SecretName gives the name of the i-th secret of a vault.
func SecretName(i int) string { return fmt.Sprintf("secret-%06d", i) }

// SecretValue gives the value that a version of a secret has.
func SecretValue(i, version int) string {
	return fmt.Sprintf("value %d of %06d %s", version, i, strings.Repeat("x", 40))
}

// Secrets makes secrets, from one number to below another, each with so many
// versions, in a vault of the group VaultGroup that is there. None of them may be
// there. They are made in memory first and then copied, many to a write, as each
// version would else wait for the disk.
func Secrets(ctx context.Context, dataDir, name string, from, below, versions int) error {
	raw, err := bolt.Open(ctx, filepath.Join(dataDir, "state.db"), clock.Real{})
	if err != nil {
		return err
	}
	defer raw.Close()
	s, err := open(ctx, raw, dataDir)
	if err != nil {
		return err
	}
	r, err := s.inv.Get(ctx, resource.Group(s.sub, VaultGroup).Child("Microsoft.KeyVault", "vaults", name))
	if err != nil {
		return err
	}
	v, err := vault.FromResource(r)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := from; i < below; i += chunk {
		group.Go(func() error { return s.secrets(ctx, v, i, min(i+chunk, below), versions) })
	}
	return group.Wait()
}

func (s *seeder) secrets(ctx context.Context, v vault.Vault, from, below, versions int) error {
	scratch := memory.New(clock.Real{})
	defer scratch.Close()
	store := secrets.New(secrets.Config{State: scratch, Clock: clock.Real{}})
	for i := from; i < below; i++ {
		for version := range versions {
			if _, err := store.Set(ctx, v, SecretName(i), SecretValue(i, version), secrets.Attributes{}); err != nil {
				return err
			}
		}
	}
	made, err := scratch.List(ctx, "/", state.Page{})
	if err != nil {
		return err
	}
	return s.copy(ctx, made.Documents)
}

// copy writes documents that are not there yet.
func (s *seeder) copy(ctx context.Context, documents []state.Document) error {
	for len(documents) > 0 {
		n := min(len(documents), state.MaxOps)
		ops := make([]state.Op, n)
		for i, doc := range documents[:n] {
			ops[i] = state.Put(doc.Key, doc.Value, state.Absent)
		}
		if _, err := s.store.Write(ctx, ops...); err != nil {
			return err
		}
		documents = documents[n:]
	}
	return nil
}
