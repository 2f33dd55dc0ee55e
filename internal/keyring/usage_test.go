package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// ledgerBook is a usage store in memory.
type ledgerBook struct {
	mu     sync.Mutex
	uses   []keyring.Use
	writes int
	fail   error
}

func (b *ledgerBook) Load(context.Context) ([]keyring.Use, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.uses), b.fail
}

func (b *ledgerBook) Add(_ context.Context, uses []keyring.Use) ([]keyring.Use, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return nil, b.fail
	}
	b.writes++
	var sums []keyring.Use
	for _, u := range uses {
		at := slices.IndexFunc(b.uses, func(have keyring.Use) bool { return have.Key == u.Key })
		if at < 0 {
			b.uses, at = append(b.uses, keyring.Use{Key: u.Key, Since: u.Since}), len(b.uses)
		}
		b.uses[at] = b.uses[at].Merge(u)
		sums = append(sums, b.uses[at])
	}
	return sums, nil
}

func (b *ledgerBook) state() ([]keyring.Use, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.uses), b.writes
}

func (b *ledgerBook) breakDown(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = err
}

func counting(b *ledgerBook) func(*keyring.Config) {
	return func(c *keyring.Config) { c.Usage = b }
}

func only(t *testing.T, uses []keyring.Use, name string) keyring.Use {
	t.Helper()
	at := slices.IndexFunc(uses, func(u keyring.Use) bool { return u.Key.Name == name })
	if at < 0 {
		t.Fatalf("no uses of %s in %+v", name, uses)
	}
	return uses[at]
}

func TestUsesAreCounted(t *testing.T) {
	e := limitedEnv(t, counting(&ledgerBook{}))
	began := e.clock.Now()
	e.present(limitedValue, "GET", "127.0.0.1")
	e.clock.Advance(time.Hour)
	e.present(limitedValue, "GET", "10.0.0.1")
	e.present("wrong", "GET", "10.0.0.1")
	e.limit(func(m *accesskey.Meta) { m.Disabled = true })
	e.present(limitedValue, "GET", "10.0.0.1") // refused: no use
	e.clock.Advance(time.Hour)
	e.present("mastervalue", "GET", "192.0.2.1")
	host := must[[]keyring.Use](t)(e.Usage(e.ctx, hostKeys))
	want := keyring.Use{Key: keyring.KeyRef{Kind: accesskey.Host, Name: "k1"}, Count: 2, Last: began.Add(time.Hour), From: keyring.Private}
	if diff := cmp.Diff([]keyring.Use{want}, host); diff != "" {
		t.Error(diff)
	}
	master := must[[]keyring.Use](t)(e.Usage(e.ctx, keyring.MasterKey()))
	if u := only(t, master, accesskey.MasterName); u.Count != 1 || u.From != keyring.Public {
		t.Errorf("%+v", u)
	}
	if before := e.tap.updates.Load(); before != 1 {
		t.Errorf("%d writes of key documents", before)
	}
	none := limitedEnv(t)
	if _, err := none.Usage(none.ctx, hostKeys); !errors.Is(err, problem.Unsupported) {
		t.Errorf("not counted: %v", err)
	}
}

func TestUsesAreHandedOverInBatches(t *testing.T) {
	book := &ledgerBook{}
	e := limitedEnv(t, counting(book))
	for range 3 {
		for range 100 {
			e.present(limitedValue, "GET", "127.0.0.1")
			e.present("plain value", "GET", "127.0.0.1")
		}
		if err := e.FlushUsage(e.ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.FlushUsage(e.ctx); err != nil { // nothing new
		t.Fatal(err)
	}
	uses, writes := book.state()
	if writes != 3 || only(t, uses, "k1").Count != 300 || only(t, uses, "k2").Count != 300 {
		t.Errorf("%d writes, %+v", writes, uses)
	}
	if u := only(t, must[[]keyring.Use](t)(e.Usage(e.ctx, hostKeys)), "k1"); u.Count != 300 {
		t.Errorf("counted twice: %+v", u)
	}
}

func TestUsesAreNotLostWhenTheyCannotBeKept(t *testing.T) {
	book := &ledgerBook{}
	e := limitedEnv(t, counting(book))
	e.present(limitedValue, "GET", "127.0.0.1")
	oops := errors.New("down")
	book.breakDown(oops)
	if err := e.FlushUsage(e.ctx); !errors.Is(err, oops) {
		t.Errorf("%v", err)
	}
	e.present(limitedValue, "GET", "127.0.0.1")
	book.breakDown(nil)
	if err := e.FlushUsage(e.ctx); err != nil {
		t.Fatal(err)
	}
	if uses, _ := book.state(); only(t, uses, "k1").Count != 2 {
		t.Errorf("%+v", uses)
	}
}

func TestAStartedRingHandsUsesOverOnceAMinuteAndWhenItCloses(t *testing.T) {
	book := &ledgerBook{}
	e := newEnv(t, counting(book))
	e.put(keystore.HostDoc, hostSet("m", []accesskey.Key{key("k1", limitedValue)}, nil))
	if err := e.Start(e.ctx); err != nil {
		t.Fatal(err)
	}
	for minute := range 3 {
		for range 50 {
			e.present(limitedValue, "GET", "127.0.0.1")
		}
		if err := e.clock.AwaitTimers(e.ctx, 1); err != nil {
			t.Fatal(err)
		}
		e.clock.Advance(time.Minute)
		eventually(t, func() bool { _, writes := book.state(); return writes == minute+1 })
	}
	e.present(limitedValue, "GET", "127.0.0.1")
	e.Close()
	if uses, writes := book.state(); writes != 4 || only(t, uses, "k1").Count != 151 {
		t.Errorf("%d writes, %+v", writes, uses)
	}
}

// eventually polls until ok, or fails after a generous time.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	late := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-late:
			t.Fatal("it never happened")
		default:
			runtime.Gosched()
		}
	}
}

func TestARotationTellsWhoStillUsesTheOldValue(t *testing.T) {
	e := limitedEnv(t, counting(&ledgerBook{}))
	e.present(limitedValue, "GET", "127.0.0.1")
	if err := e.FlushUsage(e.ctx); err != nil {
		t.Fatal(err)
	}
	e.clock.Advance(time.Minute)
	got := must[keyring.Rotation](t)(e.Rotate(e.ctx, hostKeys, "k1", time.Hour))
	e.present(limitedValue, "GET", "10.0.0.1")
	e.present(limitedValue, "GET", "10.0.0.1")
	e.present(got.Key.Value, "GET", "127.0.0.1")
	for range 2 {
		uses := must[[]keyring.Use](t)(e.Usage(e.ctx, hostKeys))
		if old := only(t, uses, got.Retired); old.Count != 2 || old.From != keyring.Private {
			t.Errorf("old value %+v", old)
		}
		if now := only(t, uses, "k1"); now.Count != 1 || !now.Since.Equal(e.clock.Now()) {
			t.Errorf("new value %+v", now)
		}
		if err := e.FlushUsage(e.ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func TestQuotasHoldOverRestartsAndNodes(t *testing.T) {
	book := &ledgerBook{}
	a := limitedEnv(t, counting(book))
	a.limit(func(m *accesskey.Meta) { m.Quota = accesskey.Quota{N: 5, Per: accesskey.Day} })
	b := newEnvOn(t, a.mem, counting(book))
	if err := b.Start(b.ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		a.present(limitedValue, "GET", "127.0.0.1")
		b.present(limitedValue, "GET", "127.0.0.1")
	}
	for _, n := range []*env{a, b, a} {
		n.present("plain value", "GET", "127.0.0.1") // something to hand over
		n.limit(func(m *accesskey.Meta) { m.Note += "." })
		if err := n.FlushUsage(n.ctx); err != nil {
			t.Fatal(err)
		}
	}
	if d := b.present(limitedValue, "GET", "127.0.0.1"); d.Reason != keyring.Matched {
		t.Errorf("the fifth use: %v", d.Reason)
	}
	if d := b.present(limitedValue, "GET", "127.0.0.1"); d.Reason != keyring.QuotaExceeded {
		t.Errorf("the sixth use: %v", d.Reason)
	}
	b.Close()
	c := newEnvOn(t, a.mem, counting(book))
	if err := c.Start(c.ctx); err != nil {
		t.Fatal(err)
	}
	if d := c.present(limitedValue, "GET", "127.0.0.1"); d.Reason != keyring.QuotaExceeded {
		t.Errorf("after a restart: %v", d.Reason)
	}
}

func TestUsesMerge(t *testing.T) {
	t0, t1 := time.Unix(1000, 0), time.Unix(2000, 0)
	for name, c := range map[string]struct{ a, b, want keyring.Use }{
		"same value": {
			keyring.Use{Count: 1, Last: t0, From: keyring.Loopback, Quota: keyring.Used{Start: t0, Count: 1}},
			keyring.Use{Count: 2, Last: t1, From: keyring.Public, Quota: keyring.Used{Start: t0, Count: 2}},
			keyring.Use{Count: 3, Last: t1, From: keyring.Public, Quota: keyring.Used{Start: t0, Count: 3}},
		},
		"later value": {
			keyring.Use{Since: t0, Count: 9, Last: t1, Quota: keyring.Used{Start: t0, Count: 1}}, keyring.Use{Since: t1, Count: 2},
			keyring.Use{Since: t1, Count: 2, Quota: keyring.Used{Start: t0, Count: 1}},
		},
		"earlier value": {keyring.Use{Since: t1, Count: 9}, keyring.Use{Since: t0, Count: 2, Last: t1}, keyring.Use{Since: t1, Count: 9}},
		"later period": {
			keyring.Use{Quota: keyring.Used{Start: t0, Count: 9}}, keyring.Use{Quota: keyring.Used{Start: t1, Count: 1}},
			keyring.Use{Quota: keyring.Used{Start: t1, Count: 1}},
		},
	} {
		if diff := cmp.Diff(c.want, c.a.Merge(c.b)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestCountingWhileKeysChange(t *testing.T) {
	book := &ledgerBook{}
	e := limitedEnv(t, counting(book))
	e.limit(func(m *accesskey.Meta) { m.Rate = accesskey.Rate{N: 1_000_000, Per: time.Second} })
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 500 {
				e.present(limitedValue, "GET", "127.0.0.1")
			}
		})
	}
	all.Go(func() {
		for i := range 50 {
			if _, err := e.SetMeta(e.ctx, hostKeys, "k1", func(m *accesskey.Meta) error { m.Note = fmt.Sprint(i); return nil }); err != nil {
				t.Error(err)
			}
			if err := e.FlushUsage(e.ctx); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	if u := only(t, must[[]keyring.Use](t)(e.Usage(e.ctx, hostKeys)), "k1"); u.Count != 2000 {
		t.Errorf("%d uses, want 2000", u.Count)
	}
}

func TestQuotaUsesAreHandedOverOnce(t *testing.T) {
	book := &ledgerBook{}
	e := limitedEnv(t, counting(book))
	e.limit(func(m *accesskey.Meta) { m.Quota = accesskey.Quota{N: 3, Per: accesskey.Day} })
	for i := range 3 {
		if d := e.present(limitedValue, "GET", "127.0.0.1"); d.Reason != keyring.Matched {
			t.Errorf("use %d: %v", i, d.Reason)
		}
		if err := e.FlushUsage(e.ctx); err != nil {
			t.Fatal(err)
		}
	}
	if uses, _ := book.state(); only(t, uses, "k1").Quota.Count != 3 {
		t.Errorf("%+v", uses)
	}
	if d := e.present(limitedValue, "GET", "127.0.0.1"); d.Reason != keyring.QuotaExceeded {
		t.Errorf("the fourth use: %v", d.Reason)
	}
}
