package keyring_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/memory"
)

func withTags(c *keyring.Config) { c.TagKey = []byte("a secret of the app's") }

// tagOf gives the tag of a key as listed.
func (e *env) tagOf(sec keyring.Section, name string) string {
	e.t.Helper()
	keys, tags, err := e.Tagged(e.ctx, sec)
	if err != nil {
		e.t.Fatal(err)
	}
	for i, k := range keys {
		if strings.EqualFold(k.Name, name) {
			return tags[i]
		}
	}
	e.t.Fatalf("there is no key %q", name)
	return ""
}

func TestTheTagOfAKeyChangesWithAnythingAboutItAndNothingElse(t *testing.T) {
	for _, sec := range []keyring.Section{keyring.HostKeys(), keyring.FunctionKeys("f"), keyring.MasterKey()} {
		name := "default"
		if sec.Kind == accesskey.Master {
			name = accesskey.MasterName
		}
		e := newEnv(t, withTags).open()
		seen := map[string]string{e.tagOf(sec, name): "the start"}
		for _, step := range []struct {
			what string
			do   func() error
		}{
			{"a new value", func() error { _, _, err := e.Renew(e.ctx, sec, name); return err }},
			{"a note", func() error {
				_, err := e.SetMeta(e.ctx, sec, name, func(m *accesskey.Meta) error { m.Note = "n"; return nil })
				return err
			}},
			{"a rotation", func() error { _, err := e.Rotate(e.ctx, sec, name, time.Hour); return err }},
			{"the end of an overlap", func() error { return e.EndOverlap(e.ctx, sec, name) }},
		} {
			if err := step.do(); err != nil {
				t.Fatal(sec, step.what, err)
			}
			tag := e.tagOf(sec, name)
			if before, was := seen[tag]; was || tag == "" {
				t.Errorf("%v: after %s the tag is as after %s", sec, step.what, before)
			}
			if now := e.Tag(sec, name); now != tag {
				t.Errorf("%v: after %s the tag in use is %q, want %q", sec, step.what, now, tag)
			}
			seen[tag] = step.what
		}
		tag := e.tagOf(sec, name)
		if _, _, err := e.Set(e.ctx, keyring.HostKeys(), "other", "another value"); err != nil {
			t.Fatal(err)
		}
		if e.tagOf(sec, name) != tag {
			t.Errorf("%v: another key has changed the tag", sec)
		}
		if again := newEnvOn(t, e.mem, withTags).open(); again.tagOf(sec, name) != tag {
			t.Errorf("%v: another node gives another tag", sec)
		}
		if foreign := newEnvOn(t, e.mem, func(c *keyring.Config) { c.TagKey = []byte("another app's") }).open(); foreign.tagOf(sec, name) == tag {
			t.Errorf("%v: the tag is made without the secret", sec)
		}
	}
	if plain := newEnv(t).open(); plain.tagOf(keyring.HostKeys(), "default") != "" {
		t.Error("there is a tag without a secret")
	}
}

var errOther = errors.New("it is another one")

// matching is the condition that a key has the tag.
func matching(ctx context.Context, sec keyring.Section, name, want string) context.Context {
	return keyring.Provided(ctx, keyring.Condition{Section: sec, Name: name, Check: func(tag string, exists bool) error {
		if !exists || tag != want {
			return errOther
		}
		return nil
	}})
}

func TestAChangeIsMadeOnlyToTheKeyThatWasSeen(t *testing.T) {
	for _, sec := range []keyring.Section{keyring.HostKeys(), keyring.FunctionKeys("f"), keyring.MasterKey()} {
		name := "default"
		if sec.Kind == accesskey.Master {
			name = "_MASTER"
		}
		e := newEnv(t, withTags).open()
		list := must[[]accesskey.Key](t)
		_ = list(e.List(e.ctx, sec))
		old := matching(e.ctx, sec, name, e.Tag(sec, name))
		won, _, err := e.Renew(old, sec, name)
		if err != nil {
			t.Fatal(err)
		}
		for what, do := range map[string]func() error{
			"renew":  func() error { _, _, err := e.Renew(old, sec, name); return err },
			"set":    func() error { _, _, err := e.Set(old, sec, name, "a chosen value"); return err },
			"put":    func() error { _, _, err := e.Put(old, sec, keyring.Declared{Name: name}); return err },
			"rotate": func() error { _, err := e.Rotate(old, sec, name, 0); return err },
			"note": func() error {
				_, err := e.SetMeta(old, sec, name, func(m *accesskey.Meta) error { m.Note = "n"; return nil })
				return err
			},
			"end overlap": func() error { return e.EndOverlap(old, sec, name) },
		} {
			if err := do(); !errors.Is(err, errOther) {
				t.Errorf("%v: %s: %v", sec, what, err)
			}
		}
		if now := e.value(sec, strings.ToLower(name)); now != won.Value {
			t.Errorf("%v: the key has another value", sec)
		}
		if sec.Kind == accesskey.Master {
			continue
		}
		if err := e.Delete(old, sec, name); !errors.Is(err, errOther) {
			t.Errorf("%v: delete: %v", sec, err)
		}
		if err := e.Delete(matching(e.ctx, sec, name, e.Tag(sec, name)), sec, name); err != nil {
			t.Errorf("%v: delete of the key that was seen: %v", sec, err)
		}
		if _, _, err := e.Renew(matching(e.ctx, sec, name, ""), sec, name); !errors.Is(err, errOther) {
			t.Errorf("%v: a key that is gone is made: %v", sec, err)
		}
	}
}

// TestOfManyWhoRenewTheKeyTheySawOneDoes on two nodes, and the value of that one stays.
func TestOfManyWhoRenewTheKeyTheySawOneDoes(t *testing.T) {
	mem := memory.New()
	nodes := []*env{newEnvOn(t, mem, withTags).open(), newEnvOn(t, mem, withTags).open()}
	sec := keyring.HostKeys()
	tag := nodes[0].tagOf(sec, "default")
	var won atomic.Int64
	var value atomic.Value
	var work sync.WaitGroup
	for i := range 32 {
		work.Go(func() {
			e := nodes[i%len(nodes)]
			k, _, err := e.Renew(matching(t.Context(), sec, "default", tag), sec, "default")
			switch {
			case err == nil:
				won.Add(1)
				value.Store(k.Value)
			case !errors.Is(err, errOther):
				t.Error(err)
			}
		})
	}
	work.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d have renewed it", won.Load())
	}
	if stored := nodes[0].stored(keystore.HostDoc).Keys[0].Value; stored != value.Load() {
		t.Error("who renewed it was told another value than is kept")
	}
}
