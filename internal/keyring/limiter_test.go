package keyring_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
)

func TestBudgetAllowsTheBurstAndThenTheRate(t *testing.T) {
	b := keyring.Budget{Burst: 100, PerSecond: 10}
	var account, now time.Duration
	allowed := func(tries int) (n int) {
		for range tries {
			next, wait := b.Spend(account, now)
			if account = next; wait == 0 {
				n++
			}
		}
		return n
	}
	for i, want := range []int{100, 10, 10} {
		if got := allowed(1000); got != want {
			t.Errorf("second %d: %d allowed, want %d", i, got, want)
		}
		now += time.Second
	}
	now += time.Hour
	if got := allowed(1000); got != 100 {
		t.Errorf("after an hour: %d allowed, want 100", got)
	}
	if got := b.Wait(account, now); got != 100*time.Millisecond {
		t.Errorf("wait %v", got)
	}
}

func TestBudgetNeverExceedsBurstPlusRate(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for range 200 {
		b := keyring.Budget{Burst: 1 + rng.IntN(50), PerSecond: 1 + rng.IntN(50)}
		var account, now time.Duration
		spent := 0
		for range 500 {
			now += time.Duration(rng.IntN(60)) * time.Millisecond
			next, wait := b.Spend(account, now)
			if account = next; wait == 0 {
				spent++
			}
			if most := float64(b.Burst) + now.Seconds()*float64(b.PerSecond); float64(spent) > most+1e-3 {
				t.Fatalf("%+v: %d spent after %v", b, spent, now)
			}
		}
	}
}

func TestSourcesAreKeptApart(t *testing.T) {
	l := keyring.NewLimiter(clock.NewManual(time.Unix(0, 0)), keyring.Budget{Burst: 1, PerSecond: 1}, 100)
	for _, c := range []struct {
		source string
		fresh  bool
	}{
		{"192.0.2.1", true}, {"192.0.2.1", false}, {"::ffff:192.0.2.1", false}, {"192.0.2.2", true},
		{"2001:db8:1:2::1", true}, {"2001:db8:1:2:ffff::9", false}, {"2001:db8:1:3::1", true},
		{"fe80::1%eth0", true}, {"fe80::2%eth1", false},
	} {
		if wait, _ := l.Spend(netip.MustParseAddr(c.source)); (wait == 0) != c.fresh {
			t.Errorf("%s: wait %v", c.source, wait)
		}
	}
	if wait, _ := l.Spend(netip.Addr{}); wait != 0 {
		t.Error("a source without address shares an account")
	}
}

func TestTheLimiterForgetsTheSourceSeenLongestAgo(t *testing.T) {
	l := keyring.NewLimiter(clock.NewManual(time.Unix(0, 0)), keyring.Budget{Burst: 1, PerSecond: 1}, 2)
	addr := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", i)) }
	l.Spend(addr(1))
	l.Spend(addr(2))
	l.Spend(addr(3))
	if l.Wait(addr(1)) != 0 || l.Wait(addr(2)) == 0 || l.Wait(addr(3)) == 0 {
		t.Error("not the oldest was forgotten")
	}
}

func TestWrongKeysThrottleTheirSource(t *testing.T) {
	strong := newKey(t, 3)
	e := newEnv(t)
	e.put(keystore.HostDoc, hostSet("m", []accesskey.Key{key("weak", "chosen"), key("strong", strong)}, nil))
	e.open()
	for i := range 100 {
		if d := e.ask("wrong", ""); d.Throttled {
			t.Fatalf("throttled at wrong key %d", i+1)
		}
		if i%10 == 0 {
			e.expect("chosen", "", keyring.FunctionLevel, "weak", keyring.Matched) // right keys cost nothing
		}
	}
	long := newKey(t, 3)
	if d := e.ask(long, ""); !d.Throttled || d.Reason != keyring.Unknown || d.RetryAfter != 100*time.Millisecond {
		t.Errorf("wrong key 101: %+v", d)
	}
	if d := e.ask("chosen", ""); !d.Throttled || d.Reason != keyring.NotEvaluated || d.Level != keyring.Anonymous {
		t.Errorf("a short key: %+v", d)
	}
	e.expect(strong, "", keyring.FunctionLevel, "strong", keyring.Matched)
	e.expect("", "", keyring.Anonymous, "", keyring.NoKey)
	elsewhere := e.Authorize(e.ctx, keyring.Request{Key: "chosen", Source: netip.MustParseAddr("203.0.113.9")})
	if elsewhere.Name != "weak" {
		t.Errorf("another source: %+v", elsewhere)
	}
	e.clock.Advance(100 * time.Millisecond)
	e.expect("chosen", "", keyring.FunctionLevel, "weak", keyring.Matched)
	if told := e.events.of(keyring.SourceThrottled); len(told) != 1 || told[0].Source != source.String() {
		t.Errorf("events %v", told)
	}
}

func TestMissingDecisionsAreNotCharged(t *testing.T) {
	e := newEnv(t)
	e.mem.SetUnavailable(true)
	for range 300 {
		if d := e.ask("wrong", ""); d.Throttled || !d.Unavailable() {
			t.Fatalf("decision %+v", d)
		}
	}
}
