package secrets_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/vault"
	"github.com/latchkey/latchkey/internal/vault/secrets"
)

// model is what a store should have, kept as simply as can be.
type model struct {
	live, deleted map[string]*modelSecret // by vault and name
}

type modelSecret struct {
	values  map[string]string // by version
	off     map[string]bool
	latest  string
	purgeAt time.Time
}

func (m *modelSecret) clone() *modelSecret {
	return &modelSecret{values: maps.Clone(m.values), off: maps.Clone(m.off), latest: m.latest}
}

// TestStoreBehavesLikeItsModel does many random things to a store and to a model of
// it and compares what they say and have.
func TestStoreBehavesLikeItsModel(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := &cross{env: newEnv(t), rand: rand.New(rand.NewPCG(seed, 1)), blobs: map[string]string{}, saved: map[string]*modelSecret{}}
			c.live, c.deleted = map[string]*modelSecret{}, map[string]*modelSecret{}
			for range 600 {
				c.step()
			}
			c.compare()
			c.clock.Advance(91 * 24 * time.Hour)
			if err := c.PurgeExpired(c.ctx); err != nil {
				t.Fatal(err)
			}
			c.deleted = map[string]*modelSecret{}
			c.compare()
			want := 0 // documents: a head, and the versions before it
			for _, s := range c.live {
				want += len(s.values)
			}
			if got := c.documents(); len(got) != want {
				t.Errorf("%d documents, want %d: %v", len(got), want, got)
			}
		})
	}
}

type cross struct {
	*env
	model
	rand  *rand.Rand
	count int
	blobs map[string]string
	saved map[string]*modelSecret
}

// verdict compares the outcome of an operation with the model's.
func (c *cross) verdict(what string, err error, want vault.Code) bool {
	c.Helper()
	var got vault.Code
	errors.As(err, &got)
	if got != want || (err == nil) != (want == "") {
		c.Fatalf("%s: got %v, the model says %q", what, err, want)
	}
	return err == nil
}

func (c *cross) step() {
	v, name := []vault.Vault{one, two}[c.rand.IntN(2)], string('a'+rune(c.rand.IntN(3)))
	key := v.UID + name
	live, deleted := c.live[key], c.deleted[key]
	if deleted != nil && !c.clock.Now().Before(deleted.purgeAt) {
		delete(c.deleted, key)
		deleted = nil
	}
	missing, gone := vault.Code(""), vault.Code("")
	if live == nil {
		missing = vault.SecretNotFound
	}
	if deleted == nil {
		gone = vault.SecretNotFound
	}
	switch op := c.rand.IntN(12); op {
	case 0, 1, 2:
		c.doSet(v, name, key, live, deleted)
	case 3:
		d, err := c.Delete(c.ctx, v, name)
		if c.verdict("delete", err, missing) {
			live.purgeAt = d.PurgeAt
			c.deleted[key] = live
			delete(c.live, key)
		}
	case 4:
		_, err := c.Recover(c.ctx, v, name)
		if c.verdict("recover", err, gone) {
			c.live[key] = deleted
			delete(c.deleted, key)
		}
	case 5:
		if c.verdict("purge", c.Purge(c.ctx, v, name), gone) {
			delete(c.deleted, key)
		}
	case 6, 7:
		c.doUpdate(v, name, live, missing)
	case 8:
		blob, err := c.Backup(c.ctx, v, name)
		if c.verdict("backup", err, missing) {
			c.blobs[name], c.saved[name] = blob, live.clone()
		}
	case 9:
		c.doRestore(v, name, key, live, deleted)
	case 10:
		c.clock.Advance(time.Duration(c.rand.IntN(100)) * time.Hour)
		if c.rand.IntN(2) == 0 {
			c.verdict("purge expired", c.PurgeExpired(c.ctx), "")
		}
	case 11:
		c.compare()
	}
}

func (c *cross) doSet(v vault.Vault, name, key string, live, deleted *modelSecret) {
	want := vault.Code("")
	if deleted != nil {
		want = vault.SecretDeleted
	}
	c.count++
	b, err := c.Set(c.ctx, v, name, fmt.Sprint(c.count), secrets.Attributes{})
	if !c.verdict("set", err, want) {
		return
	}
	if live == nil {
		live = &modelSecret{values: map[string]string{}, off: map[string]bool{}}
		c.live[key] = live
	}
	live.values[b.Version], live.latest = fmt.Sprint(c.count), b.Version
}

func (c *cross) doUpdate(v vault.Vault, name string, live *modelSecret, missing vault.Code) {
	version, off := "", c.rand.IntN(2) == 0
	if live != nil && c.rand.IntN(2) == 0 {
		all := slices.Sorted(maps.Keys(live.values))
		version = all[c.rand.IntN(len(all))]
	}
	p, err := c.Update(c.ctx, v, name, version, secrets.Attributes{Enabled: ptr(!off)})
	if c.verdict("update", err, missing) {
		live.off[p.Version] = off
	}
}

func (c *cross) doRestore(v vault.Vault, name, key string, live, deleted *modelSecret) {
	want := vault.Code("")
	switch {
	case c.blobs[name] == "":
		want = vault.BadParameter
	case live != nil:
		want = vault.SecretExists
	case deleted != nil:
		want = vault.SecretDeleted
	}
	_, err := c.Restore(c.ctx, v, c.blobs[name])
	if c.verdict("restore", err, want) {
		c.live[key] = c.saved[name].clone()
	}
}

// compare reads everything.
func (c *cross) compare() {
	c.Helper()
	for _, v := range []vault.Vault{one, two} {
		var names, deleted []string
		for name := range map[string]bool{"a": true, "b": true, "c": true} {
			if s := c.live[v.UID+name]; s != nil {
				names = append(names, name)
				c.compareOne(v, name, s)
			} else {
				c.lacks(v, name)
			}
			if s := c.deleted[v.UID+name]; s != nil && c.clock.Now().Truncate(time.Second).Before(s.purgeAt) {
				deleted = append(deleted, name)
			}
		}
		slices.Sort(names)
		slices.Sort(deleted)
		if got := c.names(v); !slices.Equal(got, names) {
			c.Fatalf("secrets: got %v, want %v", got, names)
		}
		if got := c.deletedNames(v); !slices.Equal(got, deleted) {
			c.Fatalf("deleted: got %v, want %v", got, deleted)
		}
	}
}

func (c *cross) compareOne(v vault.Vault, name string, s *modelSecret) {
	c.Helper()
	got := map[string]string{}
	for version := range c.versions(v, name) {
		b, err := c.Get(c.ctx, v, name, version)
		if s.off[version] {
			wants(c, err, problem.Denied, vault.SecretDisabled)
			b.Value = s.values[version]
		} else if err != nil {
			c.Fatal(err)
		}
		got[version] = b.Value
	}
	if diff := cmp.Diff(s.values, got); diff != "" {
		c.Fatal(diff)
	}
	if b, err := c.Get(c.ctx, v, name, ""); err == nil && b.Version != s.latest {
		c.Fatalf("latest is %s, want %s", b.Version, s.latest)
	}
}
