package token

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

func kids(t *testing.T, a *Authority) (ids []string) {
	t.Helper()
	keys, err := a.JWKS(t.Context())
	must(t, err)
	for _, k := range keys {
		ids = append(ids, k.KeyID)
	}
	return ids
}

func signer(t *testing.T, raw string) string {
	t.Helper()
	return part(t, raw, 0)["kid"].(string)
}

func TestFirstKeyIsMadeOnce(t *testing.T) {
	f := newFixture(t)
	nodes := []*Authority{f.Authority, f.node(t)}
	var wg sync.WaitGroup
	tokens := make([]string, 6)
	for i := range tokens {
		wg.Go(func() { tokens[i] = mint(t, nodes[i%2]) })
	}
	wg.Wait()
	for i, raw := range tokens {
		if _, err := nodes[(i+1)%2].Verify(t.Context(), raw, forARM); err != nil {
			t.Error(err)
		}
	}
	if ids := kids(t, f.Authority); len(ids) != 1 {
		t.Errorf("%d keys", len(ids))
	}
}

func TestRotationOverlaps(t *testing.T) {
	for _, following := range []bool{false, true} {
		f := newFixture(t)
		if following {
			run(t, f.Authority)
		}
		old := kids(t, f.Authority)[0]
		must(t, f.Rotate(t.Context()))
		ids := kids(t, f.Authority)
		if len(ids) != 2 || ids[0] != old {
			t.Fatalf("published %q", ids)
		}
		if err := f.Rotate(t.Context()); !errors.Is(err, problem.Conflict) {
			t.Errorf("rotating twice: %v", err)
		}
		f.clock.Advance(DefaultLead - time.Second)
		last, err := f.Mint(t.Context(), claims, MaxLifetime)
		must(t, err)
		if signer(t, last.Raw) != old {
			t.Error("the new key signs before its time")
		}
		f.clock.Advance(time.Second)
		if signer(t, mint(t, f.Authority)) != ids[1] {
			t.Error("the new key does not sign")
		}
		f.clock.Advance(MaxLifetime - time.Second)
		if _, err := f.Verify(t.Context(), last.Raw, forARM); err != nil {
			t.Errorf("the last token of the old key: %v", err)
		}
		f.clock.Advance(2*DefaultSkew + time.Second)
		if ids := kids(t, f.Authority); len(ids) != 1 || ids[0] == old {
			t.Errorf("published in the end: %q", ids)
		}
	}
}

func TestAClockThatIsSetBackLeavesAKeyToSignWith(t *testing.T) {
	f := newFixture(t)
	must(t, f.Ready(t.Context()))
	must(t, f.Rotate(t.Context()))
	f.clock.Advance(DefaultLead + MaxLifetime + 2*DefaultSkew)
	must(t, f.Rotate(t.Context())) // clears the first key away
	ids := kids(t, f.Authority)
	back := f.node(t, func(c *Config) { c.Clock = clock.NewManual(start) })
	tok, err := back.Mint(t.Context(), claims, time.Hour)
	must(t, err)
	if len(ids) != 2 || tok.KeyID != ids[0] {
		t.Errorf("of keys %q, %s signs", ids, tok.KeyID)
	}
	if _, err := back.Verify(t.Context(), tok.Raw, forARM); err != nil {
		t.Errorf("its token: %v", err)
	}
}

func TestRevokedKeysDoNotCountAnyMore(t *testing.T) {
	f := newFixture(t)
	other := f.node(t)
	run(t, f.Authority)
	run(t, other)
	raw := mint(t, f.Authority)
	for _, a := range []*Authority{f.Authority, other} { // now both remember it
		_, err := a.Verify(t.Context(), raw, forARM)
		must(t, err)
	}
	must(t, f.Revoke(t.Context()))
	if _, err := f.Verify(t.Context(), raw, forARM); reasonOf(err) != BadSignature {
		t.Errorf("here: %v", err)
	}
	eventually(t, "the other node refuses it", func() bool {
		_, err := other.Verify(t.Context(), raw, forARM)
		return reasonOf(err) == BadSignature
	})
	if _, err := other.Verify(t.Context(), mint(t, f.Authority), forARM); err != nil {
		t.Errorf("a new token: %v", err)
	}
}

func TestKeysAreReplacedByAge(t *testing.T) {
	f := newFixture(t)
	must(t, f.Ready(t.Context()))
	nodes := []*Authority{f.Authority, f.node(t)}
	for _, a := range nodes {
		run(t, a)
	}
	first := kids(t, f.Authority)[0]
	advance := func(d time.Duration) {
		t.Helper()
		must(t, f.clock.AwaitTimers(t.Context(), len(nodes))) // both sleep
		f.clock.Advance(d)
	}
	advance(DefaultKeyAge - DefaultLead - tendEvery)
	if ids := kids(t, f.Authority); len(ids) != 1 {
		t.Errorf("too early: %q", ids)
	}
	advance(2 * tendEvery)
	for _, a := range nodes {
		eventually(t, "a new key is published", func() bool { return len(kids(t, a)) == 2 })
	}
	advance(DefaultLead + MaxLifetime + time.Hour)
	eventually(t, "the old key is cleared away", func() bool {
		doc, err := f.store.Get(t.Context(), keysKey)
		must(t, err)
		set, err := decodeKeys(doc)
		must(t, err)
		return len(set.keys) == 1 && set.keys[0].ID != first
	})
}

func TestWithoutTheStoreKeysAreNotTrusted(t *testing.T) {
	f := newFixture(t)
	run(t, f.Authority)
	raw := mint(t, f.Authority)
	f.store.SetUnavailable(true)
	if _, err := f.Verify(t.Context(), raw, forARM); err != nil {
		t.Errorf("the store was asked: %v", err)
	}
	(*follower)(f.Authority).Cut(problem.Unavailable)
	if _, err := f.Verify(t.Context(), raw, forARM); !errors.Is(err, problem.Unavailable) {
		t.Errorf("cut off: %v", err)
	}
	if _, err := f.Mint(t.Context(), claims, 0); !errors.Is(err, problem.Unavailable) {
		t.Errorf("minting: %v", err)
	}
}

func TestDeletedKeysAreMadeAnew(t *testing.T) {
	f := newFixture(t)
	run(t, f.Authority)
	raw := mint(t, f.Authority)
	_, err := f.store.Write(t.Context(), state.Delete(keysKey, state.Any))
	must(t, err)
	eventually(t, "the old token is refused", func() bool {
		_, err := f.Verify(t.Context(), raw, forARM)
		return reasonOf(err) == BadSignature
	})
}
