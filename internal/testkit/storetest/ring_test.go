package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/problem"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// counted makes values that are the same in every ring that is asked the same.
type counted struct{ n int }

func (c *counted) Generate(kind accesskey.Kind) (string, error) {
	c.n++
	return fmt.Sprintf("generated-%v-%d-%s", kind, c.n, strings.Repeat("x", 40)), nil
}

func (*counted) Identifiable(accesskey.Kind, string) bool { return true }

// player is a ring on one of the stores, asked for one thing at a time.
type player struct {
	*keyring.Ring
	store keystore.Store
	clock *clock.Manual
	ops   int
}

func newPlayer(t *testing.T, s keystore.Store, ops int) *player {
	t.Helper()
	p := &player{store: s, clock: clock.NewManual(epoch), ops: ops}
	// The stores' clocks are not this one: nothing of the ring's may run out meanwhile.
	r, err := keyring.New(keyring.Config{Store: s, Clock: p.clock, Format: &counted{}, Limits: keyring.Limits{LoadTimeout: 1000 * time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	p.Ring = r
	for _, sec := range sections() { // in this order, for the values that are generated
		if _, err := r.List(t.Context(), sec); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

var ringFunctions = []string{"orders", "Orders-2", "a_b"}

func sections() []keyring.Section {
	all := []keyring.Section{keyring.MasterKey(), keyring.HostKeys(), keyring.SystemKeys()}
	for _, f := range ringFunctions {
		all = append(all, keyring.FunctionKeys(f))
	}
	return all
}

// state is what can be seen of a ring: what values open and, if listed, the keys,
// which are read from the store.
func (p *player) state(ctx context.Context, values []string, listed bool) any {
	var seen []any
	for _, sec := range sections() {
		if !listed {
			break
		}
		keys, err := p.List(ctx, sec)
		for i := range keys {
			keys[i].Extra = legible(keys[i].Extra)
		}
		seen = append(seen, keys, problem.KindOf(err).Error())
	}
	for _, v := range values {
		for _, f := range append([]string{""}, ringFunctions...) {
			d := p.Match(v, p.Function(f))
			seen = append(seen, d.Level, d.Name, d.Kind, d.Reason)
		}
	}
	return seen
}

var verifier = regexp.MustCompile(`lkh1\.[-\w.]+`)

// legible gives a key's members without what is random in them.
func legible(extra map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for name, text := range extra {
		out[name] = verifier.ReplaceAll(text, []byte("(verifier)"))
	}
	return out
}

// move is one operation on a ring; it gives what can be compared.
type move struct {
	name string
	do   func(ctx context.Context, p *player) any
}

func answer(k accesskey.Key, created bool, err error) any {
	if err != nil {
		return problem.KindOf(err).Error()
	}
	return []any{k.Name, k.Value, created}
}

func randomMove(rnd *rand.Rand) move {
	sec := []keyring.Section{
		keyring.MasterKey(), keyring.HostKeys(), keyring.HostKeys(), keyring.SystemKeys(),
		keyring.FunctionKeys("orders"), keyring.FunctionKeys("ORDERS"), keyring.FunctionKeys("orders-2"), keyring.FunctionKeys("a_b"),
	}[rnd.IntN(8)]
	name := []string{"default", "one", "One", "two", "three_extension", "_master", "no/such name"}[rnd.IntN(7)]
	if sec.Kind == accesskey.Master {
		name = accesskey.MasterName
	}
	value := fmt.Sprintf("value-%d-%s", rnd.IntN(40), strings.Repeat("y", 32))
	spell := time.Duration(1+rnd.IntN(48)) * time.Hour
	one := func(what string, do func(ctx context.Context, p *player) (accesskey.Key, error)) move {
		return move{fmt.Sprintf("%s %v/%s %s", what, sec.Kind, sec.Function, name), func(ctx context.Context, p *player) any {
			k, err := do(ctx, p)
			return answer(k, false, err)
		}}
	}
	switch n := rnd.IntN(100); {
	case n < 22:
		return one("set", func(ctx context.Context, p *player) (accesskey.Key, error) {
			k, _, err := p.Set(ctx, sec, name, value)
			return k, err
		})
	case n < 36:
		return one("renew", func(ctx context.Context, p *player) (accesskey.Key, error) {
			k, _, err := p.Renew(ctx, sec, name)
			return k, err
		})
	case n < 52:
		return one("rotate", func(ctx context.Context, p *player) (accesskey.Key, error) {
			r, err := p.Rotate(ctx, sec, name, spell)
			return r.Key, err
		})
	case n < 60:
		return one("disable", func(ctx context.Context, p *player) (accesskey.Key, error) { return p.Disable(ctx, sec, name) })
	case n < 68:
		return one("enable", func(ctx context.Context, p *player) (accesskey.Key, error) { return p.Enable(ctx, sec, name) })
	case n < 73:
		return one("expire", func(ctx context.Context, p *player) (accesskey.Key, error) {
			return p.Expire(ctx, sec, name, p.clock.Now().Add(spell))
		})
	case n < 78:
		return one("note", func(ctx context.Context, p *player) (accesskey.Key, error) {
			return p.SetMeta(ctx, sec, name, func(m *accesskey.Meta) error {
				m.Note, m.CIDRs = value, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
				return nil
			})
		})
	case n < 88:
		return one("delete", func(ctx context.Context, p *player) (accesskey.Key, error) {
			return accesskey.Key{}, p.Delete(ctx, sec, name)
		})
	case n < 91:
		return one("end overlap", func(ctx context.Context, p *player) (accesskey.Key, error) {
			return accesskey.Key{}, p.EndOverlap(ctx, sec, name)
		})
	case n < 94:
		return one("system key", func(ctx context.Context, p *player) (accesskey.Key, error) {
			k, _, err := p.EnsureSystemKey(ctx, "three")
			return k, err
		})
	case n < 97:
		return move{"retire", func(ctx context.Context, p *player) any {
			gone, err := p.Retire(ctx)
			return []any{fmt.Sprint(gone), problem.KindOf(err).Error()}
		}}
	}
	return move{"wait", func(_ context.Context, p *player) any { p.clock.Advance(spell); return nil }}
}

// history is every value that ever was one in the reference, oldest first.
type history struct {
	values []string
	known  map[string]bool
}

func (h *history) add(ctx context.Context, p *player) {
	for _, sec := range sections() {
		keys, _ := p.List(ctx, sec)
		for _, k := range keys {
			if !h.known[k.Value] {
				h.known[k.Value] = true
				h.values = append(h.values, k.Value)
			}
		}
	}
}

// some gives the latest values, and now and then all.
func (h *history) some(move int) []string {
	if move%50 == 49 {
		return h.values
	}
	return h.values[max(0, len(h.values)-15):]
}

// TestRingsOnAllStoresDoTheSame: the same random operations on a ring per store.
// After each, values that are or were keys open the same; after every fifth, all
// stores have the same keys. keystoretest.EnvSeed replays a run, EnvOps lengthens it.
func TestRingsOnAllStoresDoTheSame(t *testing.T) {
	ctx := t.Context()
	seed := keystoretest.Seed(t)
	ops := share(t, 400)
	reference := newPlayer(t, inMemory(t).open(t), ops)
	var players []*player
	for _, entry := range []struct {
		place func(testing.TB) *place
		ops   int
	}{{inControlPlane, 400}, {inBlobs, 200}, {inFiles, 80}, {inVault, 30}, {inSecret, 80}, {inConfigMap, 80}} {
		players = append(players, newPlayer(t, entry.place(t).open(t), share(t, entry.ops)))
	}
	rnd := rand.New(rand.NewPCG(seed, seed))
	ever := history{known: map[string]bool{}}
	for i := range ops {
		m := randomMove(rnd)
		want := m.do(ctx, reference)
		ever.add(ctx, reference)
		known := ever.some(i)
		listed := i%5 == 4
		state := reference.state(ctx, known, listed)
		var wg sync.WaitGroup
		for _, p := range players {
			if i < p.ops {
				wg.Go(func() { p.compare(t, ctx, fmt.Sprintf("operation %d, %s", i, m.name), m, want, state, known, listed) })
			}
		}
		if wg.Wait(); t.Failed() {
			return
		}
	}
}

func (p *player) compare(t *testing.T, ctx context.Context, what string, m move, want, state any, known []string, listed bool) {
	if got := m.do(ctx, p); !reflect.DeepEqual(want, got) {
		t.Errorf("%s: %s answers (-want +got):\n%s", what, p.store, cmp.Diff(want, got))
	} else if got := p.state(ctx, known, listed); !reflect.DeepEqual(state, got) {
		t.Errorf("%s: %s has (-want +got):\n%s", what, p.store, cmp.Diff(state, got))
	}
}
