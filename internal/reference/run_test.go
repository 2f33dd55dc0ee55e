package reference_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
	"github.com/latchkey/latchkey/internal/state"
)

// advance moves the clock in steps, each when what was set off before is done, so
// that what is due next is known.
func (w *world) advance(d, step time.Duration) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	for ; d > 0; d -= step {
		if err := w.clock.AwaitTimers(ctx, 1); err != nil {
			w.t.Fatal("nobody waits for the time any more")
		}
		for _, r := range w.nodes {
			w.await("the node is idle", r.Idle)
		}
		w.clock.Advance(min(d, step))
	}
}

// barrier waits until the node has seen all changes of an app so far, and has
// done with them.
func (w *world) barrier(r *reference.Resolver, name string) {
	w.t.Helper()
	settings := w.snapshot(name).Settings
	secret := fmt.Sprintf("barrier-%d", rand.Int64())
	w.vault.set("barrier/"+secret, "x")
	settings["BARRIER"] = ref("barrier", secret)
	w.set(name, settings)
	w.awaitStatus(r, name, "BARRIER", reference.Resolved)
	delete(settings, "BARRIER")
	w.set(name, settings)
}

// TestAStoppedAppKeepsItsReferences is the incident that this project began with.
func TestAStoppedAppKeepsItsReferences(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "x")
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	r := w.running()
	w.awaitStatus(r, "orders", "S", reference.Resolved)
	w.setState("orders", app.Stopped)
	before := w.vault.called("shop-kv/s")
	for day := range 5 {
		w.advance(24*time.Hour, 24*time.Hour)
		w.await("it is refreshed that day", func() bool { return w.vault.called("shop-kv/s") > before+day })
		if rep := w.report(r, "orders", "S"); rep.Status != reference.Resolved || rep.Stale {
			t.Errorf("day %d: %+v", day, rep)
		}
	}
	w.vault.set("shop-kv/s", "y") // while it is stopped
	w.advance(5*time.Minute, 5*time.Minute)
	w.await("the change is seen", func() bool { return w.report(r, "orders", "S").Version == "version-of-y" })
	w.setState("orders", app.Running)
	if v := w.values(r, "orders"); v.Settings["S"] != "y" || len(v.Unresolved) != 0 {
		t.Errorf("%+v", v)
	}
	if diff := cmp.Diff([]string{"S: Initialized → Resolved", "S: Resolved → Resolved"}, w.heard()); diff != "" {
		t.Error(diff)
	}
	if w.touched() != 0 {
		t.Error("an app without copies was touched")
	}
}

func TestTheQuirkForgetsReferencesOfAStoppedApp(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "x")
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	r := w.running(func(c *reference.Config) { c.StoppedTokenExpiry = true })
	w.awaitStatus(r, "orders", "S", reference.Resolved)
	w.advance(48*time.Hour, 48*time.Hour)
	w.await("it is refreshed while running", func() bool { return w.vault.called("shop-kv/s") == 2 })
	w.setState("orders", app.Stopped)
	w.await("it is refreshed while stopped", func() bool { return w.vault.called("shop-kv/s") == 3 })
	if rep := w.report(r, "orders", "S"); rep.Status != reference.Resolved {
		t.Errorf("at once: %+v", rep)
	}
	w.advance(25*time.Hour, 5*time.Minute)
	w.awaitStatus(r, "orders", "S", reference.AccessDenied)
	rep := w.report(r, "orders", "S")
	if rep.Stale || rep.Version != "" || rep.Details != "Key Vault reference was not able to be resolved because site was denied access to Key Vault reference's vault." {
		t.Errorf("%+v", rep)
	}
	if err := r.Refresh(t.Context(), w.snapshot("orders").App); err != nil {
		t.Fatal(err)
	}
	if rep := w.report(r, "orders", "S"); rep.Status != reference.AccessDenied {
		t.Errorf("after a refresh: %+v", rep)
	}
	w.setState("orders", app.Running)
	if v := w.values(r, "orders"); v.Settings["S"] != "x" {
		t.Errorf("%+v", v)
	}
	w.awaitStatus(r, "orders", "S", reference.Resolved)
}

func TestAnOutageLosesNothing(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "x")
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	r := w.running()
	w.awaitStatus(r, "orders", "S", reference.Resolved)
	w.vault.fault("shop-kv", outage)
	before := w.vault.called("shop-kv/s")
	w.advance(5*time.Minute, 5*time.Minute)
	w.awaitStatus(r, "orders", "S", reference.OtherReasons)
	for range 10 {
		w.advance(time.Minute, time.Minute)
		if _, err := w.apps.Restart(t.Context(), id("orders"), "me"); err != nil {
			t.Fatal(err)
		}
		if v := w.values(r, "orders"); v.Settings["S"] != "x" || !v.Unresolved[0].Stale {
			t.Fatalf("%+v", v)
		}
	}
	rep := w.report(r, "orders", "S")
	if !rep.Stale || rep.Why != "the vault answered 500" || rep.HTTPStatus != 500 || rep.Version != "version-of-x" || rep.NextRefresh.IsZero() {
		t.Errorf("%+v", rep)
	}
	if n := w.vault.called("shop-kv/s") - before; n < 11 || n > 40 {
		t.Errorf("%d attempts", n)
	}
	w.vault.fault("shop-kv", nil)
	w.advance(5*time.Minute, 5*time.Minute)
	w.awaitStatus(r, "orders", "S", reference.Resolved)
	if rep := w.report(r, "orders", "S"); rep.Stale || rep.Why != "" || rep.HTTPStatus != 0 {
		t.Errorf("%+v", rep)
	}
	if diff := cmp.Diff([]string{"S: Initialized → Resolved", "S: Resolved → OtherReasons", "S: OtherReasons → Resolved"}, w.heard()); diff != "" {
		t.Error(diff)
	}
	if w.touched() != 0 {
		t.Error("copies were made to start anew and nothing changed")
	}
}

var denied = &reference.Failure{Status: reference.AccessDenied, HTTPStatus: 403, InnerCode: "ForbiddenByRbac", Message: "no role"}

// TestAChangeOfPermissionsHealsWhatItCan: a vault that is out of order is left
// alone.
func TestAChangeOfPermissionsHealsWhatItCan(t *testing.T) {
	w := newWorld(t)
	w.vault.fault("shop-kv", denied)
	w.vault.fault("down-kv", outage)
	w.create("orders", map[string]string{"S": ref("shop-kv", "s"), "D": ref("down-kv", "s")})
	r := w.running()
	w.awaitStatus(r, "orders", "S", reference.AccessDenied)
	w.awaitStatus(r, "orders", "D", reference.OtherReasons)
	w.await("the node is idle", r.Idle)
	before := w.vault.called("down-kv/s")
	w.vault.set("shop-kv/s", "x")
	w.vault.fault("shop-kv", nil)
	r.Retry()
	w.awaitStatus(r, "orders", "S", reference.Resolved)
	if again := w.vault.called("down-kv/s"); again != before {
		t.Errorf("a vault that fails was asked %d times more", again-before)
	}
}

func TestACopyThatHasTheLiteralTextStartsAnewWithTheSecret(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "x")
	w.vault.fault("shop-kv", denied)
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	r := w.running()
	if v := w.values(r, "orders"); v.Settings["S"] != ref("shop-kv", "s") {
		t.Errorf("%+v", v)
	}
	w.vault.fault("shop-kv", nil)
	r.Retry()
	w.awaitStatus(r, "orders", "S", reference.Resolved)
	w.advance(time.Second, time.Second)
	w.await("copies start anew", func() bool { return w.touched() == 1 })
}

// TestAChangedSecretReachesTheCopiesOnce also checks that the start that follows
// does not fetch, let alone start, again.
func TestAChangedSecretReachesTheCopiesOnce(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c"} {
		w.vault.set("shop-kv/"+name, "1")
	}
	w.create("orders", map[string]string{"A": ref("shop-kv", "a"), "B": ref("SHOP-KV", "B"), "C": ref("shop-kv", "c")})
	w.vault.set("SHOP-KV/B", "1")
	w.create("other", map[string]string{"C": ref("shop-kv", "c")})
	r := w.running()
	w.awaitStatus(r, "orders", "C", reference.Resolved)
	w.awaitStatus(r, "other", "C", reference.Resolved)
	generation, others, cs := w.snapshot("orders").Generation, w.snapshot("other").Generation, w.vault.called("shop-kv/c")
	w.vault.set("shop-kv/a", "2")
	w.vault.set("SHOP-KV/B", "2")
	r.Changed("Shop-KV", "A")
	r.Changed("shop-kv", "b")
	r.Changed("shop-kv", "unknown")
	w.await("both are fetched", func() bool {
		return w.report(r, "orders", "A").Version == "version-of-2" && w.report(r, "orders", "B").Version == "version-of-2"
	})
	if w.touched() != 0 {
		t.Error("changes are not collected")
	}
	w.advance(time.Second, time.Second)
	w.await("copies start anew", func() bool { return w.snapshot("orders").Generation == generation+1 })
	before := w.vault.total()
	if v := w.values(w.node(), "orders"); v.Settings["A"] != "2" || v.Settings["B"] != "2" {
		t.Errorf("%+v", v)
	}
	if n := w.vault.total() - before; n != 0 {
		t.Errorf("the start fetches %d secrets again", n)
	}
	if n := w.vault.called("shop-kv/c") - cs; n != 0 {
		t.Errorf("%d fetches of what did not change", n)
	}
	w.barrier(r, "orders")
	w.advance(time.Minute, time.Second)
	w.barrier(r, "orders")
	if w.touched() != 1 || w.snapshot("other").Generation != others {
		t.Errorf("touched %d times", w.touched())
	}
	w.vault.set("shop-kv/c", "2")
	r.Changed("shop-kv", "")
	w.await("all of the vault's are fetched", func() bool {
		return w.report(r, "orders", "C").Version == "version-of-2" && w.report(r, "other", "C").Version == "version-of-2"
	})
}

// TestAChangeIsNotMissedWhileOtherSecretsAreFetched: what was fetched first may
// change before the last one comes.
func TestAChangeIsNotMissedWhileOtherSecretsAreFetched(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/db", "old")
	w.vault.set("slow-kv/s", "x")
	release := w.vault.hold("slow-kv")
	w.create("orders", map[string]string{"DB": ref("shop-kv", "db"), "SLOW": ref("slow-kv", "s")})
	r := w.running()
	w.await("one secret is fetched and the other is not", func() bool { return w.vault.called("shop-kv/db") == 1 && w.vault.going() == 1 })
	w.vault.set("shop-kv/db", "new")
	r.Changed("shop-kv", "db")
	release()
	w.await("the new value is there", func() bool { return w.report(r, "orders", "DB").Version == "version-of-new" })
}

// TestAClockThatIsSetBackStopsNothing: what is due would be far away, and a vault
// that did not answer would not be asked for days.
func TestAClockThatIsSetBackStopsNothing(t *testing.T) {
	const ahead = 5 * 24 * time.Hour
	w := newWorld(t)
	w.create("orders", map[string]string{"DB": ref("shop-kv", "db"), "A": ref("silent-kv", "a"), "B": ref("silent-kv", "b"), "C": ref("silent-kv", "c")})
	w.vault.set("shop-kv/db", "old")
	w.vault.fault("silent-kv", context.DeadlineExceeded)
	w.clock.Advance(ahead)
	r := w.running()
	for _, setting := range []string{"A", "B", "C"} {
		w.awaitStatus(r, "orders", setting, reference.FetchTimedOut)
	}
	w.await("the node is idle", r.Idle)
	w.clock.Advance(-ahead)
	for _, secret := range []string{"a", "b", "c"} {
		w.vault.set("silent-kv/"+secret, "x")
	}
	w.vault.set("shop-kv/db", "new")
	w.vault.fault("silent-kv", nil)
	r.Retry() // the timers of this clock were not moved; those of a drill are
	for _, setting := range []string{"A", "B", "C"} {
		w.awaitStatus(r, "orders", setting, reference.Resolved)
	}
	w.await("what was due later is fetched too", func() bool { return w.report(r, "orders", "DB").Version == "version-of-new" })
}

// TestAFailureCountsAfterAClockWasSetBack: a success in what is the future now is
// not that of another node.
func TestAFailureCountsAfterAClockWasSetBack(t *testing.T) {
	const ahead = 5 * 24 * time.Hour
	w := newWorld(t)
	w.create("orders", map[string]string{"DB": ref("shop-kv", "db")})
	w.vault.set("shop-kv/db", "old")
	w.clock.Advance(ahead)
	r := w.running()
	w.awaitStatus(r, "orders", "DB", reference.Resolved)
	w.await("the node is idle", r.Idle)
	w.clock.Advance(-ahead)
	refresh := func() reference.Report {
		if err := r.Refresh(t.Context(), w.snapshot("orders").App); err != nil {
			t.Fatal(err)
		}
		return w.report(r, "orders", "DB")
	}
	w.vault.fault("shop-kv", &reference.Failure{Status: reference.AccessDenied, Message: "no"})
	if got := refresh(); got.Status != reference.AccessDenied || !got.Stale || !got.LastAttempt.Equal(w.clock.Now()) {
		t.Errorf("refused: %+v", got)
	}
	w.clock.Advance(ahead)
	w.vault.fault("shop-kv", nil)
	refresh()
	w.clock.Advance(-ahead)
	if got := refresh(); got.Status != reference.Resolved || !got.LastAttempt.Equal(w.clock.Now()) {
		t.Errorf("read again: %+v", got)
	}
}

// unwritable is a store that takes nothing about references while it fails.
type unwritable struct {
	state.Store
	fails   atomic.Bool
	refused atomic.Int64
}

func (u *unwritable) Write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	about := slices.ContainsFunc(ops, func(op state.Op) bool { return strings.HasPrefix(string(op.Key), string(reference.Documents)) })
	if about && u.fails.Load() {
		u.refused.Add(1)
		return 0, problem.New(problem.Unavailable, "the disk is full")
	}
	return u.Store.Write(ctx, ops...)
}

// TestAChangeThatCannotBeStoredIsReadAgainSoon: not when the secret is due the next
// time.
func TestAChangeThatCannotBeStoredIsReadAgainSoon(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/db", "old")
	w.create("orders", map[string]string{"DB": ref("shop-kv", "db")})
	store := &unwritable{Store: w.store}
	r := w.running(func(c *reference.Config) { c.Store, c.Interval = store, 24*time.Hour })
	w.awaitStatus(r, "orders", "DB", reference.Resolved)
	store.fails.Store(true)
	w.vault.set("shop-kv/db", "new")
	r.Changed("shop-kv", "db")
	w.await("storing it fails", func() bool { return store.refused.Load() > 0 })
	store.fails.Store(false)
	w.advance(time.Minute, time.Second)
	w.await("the new value is there", func() bool { return w.report(r, "orders", "DB").Version == "version-of-new" })
}

// TestAskingMoreOftenMakesNoWaitLonger has a reference that fails and is asked for
// again and again.
func TestAskingMoreOftenMakesNoWaitLonger(t *testing.T) {
	w := newWorld(t)
	w.vault.fault("shop-kv", denied)
	w.create("orders", map[string]string{"DB": ref("shop-kv", "db")})
	r := w.running()
	w.awaitStatus(r, "orders", "DB", reference.AccessDenied)
	w.await("the node is idle", r.Idle)
	due := w.report(r, "orders", "DB").NextRefresh
	for i := range 10 {
		r.Retry()
		w.await("it is tried again", func() bool { return w.vault.called("shop-kv/db") >= i+2 && r.Idle() })
	}
	if again := w.report(r, "orders", "DB").NextRefresh; due.IsZero() || !again.Equal(due) {
		t.Errorf("it is due at %s after %s", again, due)
	}
}

// TestASecretThatAlwaysChangesDoesNotLoop has a source that gives another value
// each time: a start must not cause the next one.
func TestASecretThatAlwaysChangesDoesNotLoop(t *testing.T) {
	w := newWorld(t)
	var mu sync.Mutex
	n := 0
	r := w.running(func(c *reference.Config) {
		c.Source = sourceFunc(func() (reference.Secret, error) {
			mu.Lock()
			defer mu.Unlock()
			n++
			return reference.Secret{Value: fmt.Sprint(n), Version: fmt.Sprint(n)}, nil
		})
	})
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	w.awaitStatus(r, "orders", "S", reference.Resolved)
	for round := range 3 {
		w.advance(5*time.Minute, 5*time.Minute)
		w.await("the change is seen", func() bool { return w.report(r, "orders", "S").Version == fmt.Sprint(round+2) })
		w.advance(time.Second, time.Second)
		w.await("copies start anew", func() bool { return w.touched() == round+1 })
		if v := w.values(r, "orders"); v.Settings["S"] != fmt.Sprint(round+2) {
			t.Errorf("%+v", v)
		}
	}
}

type sourceFunc func() (reference.Secret, error)

func (f sourceFunc) Fetch(context.Context, reference.Query) (reference.Secret, error) { return f() }

func TestChangesOfTheAppFetchAllAgain(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/a", "1")
	w.vault.put("shop-kv/b/v1", reference.Secret{Value: "2", Version: "v1"})
	settings := map[string]string{"A": ref("shop-kv", "a"), "B": "@Microsoft.KeyVault(VaultName=shop-kv;SecretName=b;SecretVersion=v1)"}
	w.create("orders", settings)
	r := w.running()
	w.awaitStatus(r, "orders", "B", reference.Resolved)
	count := func() int { return min(w.vault.called("shop-kv/a"), w.vault.called("shop-kv/b/v1")) }
	before := count()
	settings["PLAIN"] = "x"
	w.set("orders", settings)
	w.await("settings that change fetch all", func() bool { return count() == before+1 })
	if _, err := w.apps.Patch(t.Context(), id("orders"), "me", app.Spec{Identity: []byte(`{"type":"SystemAssigned"}`)}); err != nil {
		t.Fatal(err)
	}
	w.await("an identity that changes fetches all", func() bool { return count() == before+2 })
	w.advance(5*time.Minute, 5*time.Minute)
	w.await("the one without a version is fetched", func() bool { return w.vault.called("shop-kv/a") > before+2 })
	if n := w.vault.called("shop-kv/b/v1"); n != before+2 {
		t.Errorf("a version that cannot change was fetched %d times", n)
	}
	if rep := w.report(r, "orders", "B"); !rep.NextRefresh.IsZero() {
		t.Errorf("%+v", rep)
	}
	r.Poke()
	w.await("everything is fetched", func() bool { return count() == before+3 })
}

func TestAnExpiringSecretIsReadInTime(t *testing.T) {
	w := newWorld(t)
	expires := w.clock.Now().Add(10 * time.Hour)
	w.vault.put("shop-kv/s", reference.Secret{Value: "1", Version: "1", Expires: expires})
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	r := w.running(func(c *reference.Config) { c.Interval = 24 * time.Hour })
	w.awaitStatus(r, "orders", "S", reference.Resolved)
	w.await("it is known when", func() bool { return w.report(r, "orders", "S").NextRefresh.Equal(expires.Add(-time.Minute)) })
	w.advance(10*time.Hour-time.Minute, 10*time.Hour)
	w.await("it is read before", func() bool { return w.report(r, "orders", "S").NextRefresh.Equal(expires) })
	w.vault.put("shop-kv/s", reference.Secret{Value: "2", Version: "2", Expires: expires.AddDate(0, 0, 1)})
	w.advance(time.Minute, time.Minute)
	w.await("the next one is read", func() bool { return w.report(r, "orders", "S").Version == "2" })
	w.advance(time.Second, time.Second)
	w.await("copies start anew", func() bool { return w.touched() == 1 })
}

func TestOneNodeOfTwoRefreshes(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "1")
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	first, stop := w.start()
	w.await("the first refreshes", func() bool { return first.Stats().Leading })
	w.awaitStatus(first, "orders", "S", reference.Resolved)
	second, _ := w.start()
	before := w.vault.total()
	if v := w.values(second, "orders"); v.Settings["S"] != "1" || w.vault.total() != before {
		t.Errorf("%+v, %d fetches", v, w.vault.total()-before)
	}
	w.vault.set("shop-kv/s", "2")
	for _, r := range []*reference.Resolver{first, second} { // the feed is heard by both
		r.Changed("shop-kv", "s")
	}
	w.await("it is seen", func() bool { return w.report(second, "orders", "S").Version == "version-of-2" })
	w.advance(time.Second, time.Second)
	w.await("copies start anew", func() bool { return w.touched() == 1 })
	if second.Stats().Leading || w.vault.total() != before+1 {
		t.Errorf("%+v, %d fetches", second.Stats(), w.vault.total()-before)
	}
	w.vault.set("shop-kv/s", "3")
	stop()
	w.await("the second takes over", func() bool { return w.report(second, "orders", "S").Version == "version-of-3" })
	w.store.ExpireLeases()
	w.await("it goes on when the lease is lost", func() bool { return w.vault.total() >= before+3 && second.Stats().Leading })
	w.advance(time.Second, time.Second)
	w.await("copies start anew", func() bool { return w.touched() == 2 })
}

// TestAChangeIsTouchedByTheNextNode has a node that dies between the two.
func TestAChangeIsTouchedByTheNextNode(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "1")
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	first, stop := w.start()
	w.await("the first refreshes", func() bool { return first.Stats().Leading })
	w.awaitStatus(first, "orders", "S", reference.Resolved)
	w.vault.set("shop-kv/s", "2")
	first.Changed("shop-kv", "s")
	w.await("it is seen", func() bool { return w.report(first, "orders", "S").Version == "version-of-2" })
	stop()
	if w.touched() != 0 {
		t.Fatal("it was too fast")
	}
	second := w.running()
	w.awaitStatus(second, "orders", "S", reference.Resolved)
	w.await("copies start anew", func() bool { w.clock.Advance(time.Second); return w.touched() == 1 })
}

// TestACopyThatDidNotWaitStartsAnew has one that opens with an older value while
// the newer one is being fetched.
func TestACopyThatDidNotWaitStartsAnew(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "1")
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	r := w.node(func(c *reference.Config) { c.Opening = 50 * time.Millisecond })
	w.values(r, "orders")
	if _, err := w.apps.Restart(t.Context(), id("orders"), "me"); err != nil {
		t.Fatal(err)
	}
	w.vault.set("shop-kv/s", "2")
	release := w.vault.hold()
	done := make(chan error)
	go func() { done <- r.Refresh(context.Background(), w.snapshot("orders").App) }()
	w.await("it is being fetched", func() bool { return w.vault.going() == 1 })
	if v := w.values(r, "orders"); v.Settings["S"] != "1" {
		t.Errorf("%+v", v)
	}
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if w.touched() != 1 {
		t.Errorf("touched %d times", w.touched())
	}
}

func TestADeletedAppIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "1")
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	r := w.running()
	w.awaitStatus(r, "orders", "S", reference.Resolved)
	uid := w.snapshot("orders").UID
	if err := w.apps.Delete(t.Context(), id("orders"), "me"); err != nil {
		t.Fatal(err)
	}
	if err := r.Forget(t.Context(), uid); err != nil {
		t.Fatal(err)
	}
	w.await("it is forgotten", func() bool { return r.Stats().Apps == 0 })
	w.create("orders", map[string]string{"S": ref("shop-kv", "other")})
	w.awaitStatus(r, "orders", "S", reference.SecretNotFound)
	if rep := w.report(r, "orders", "S"); rep.Version != "" || rep.Stale {
		t.Errorf("%+v", rep)
	}
}

func TestAnIdentityThatComesLaterHeals(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "1")
	w.identity(func(app.Snapshot) (identity.Assigned, error) {
		return identity.Assigned{}, problem.New(problem.NotFound, "the app has no identity")
	})
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	r := w.running()
	w.awaitStatus(r, "orders", "S", reference.MSINotEnabled)
	w.identity(func(app.Snapshot) (identity.Assigned, error) {
		return identity.Assigned{ResourceID: "/user", ObjectID: "u"}, nil
	})
	w.advance(5*time.Second, 5*time.Second)
	w.awaitStatus(r, "orders", "S", reference.Resolved)
	if diff := cmp.Diff(reference.Identity{Type: "UserAssigned", ResourceID: "/user", PrincipalID: "u"}, w.report(r, "orders", "S").Identity); diff != "" {
		t.Error(diff)
	}
}

// TestATouchThatFailsIsTriedAgain also has the state go away for a while.
func TestATouchThatFailsIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "1")
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	var mu sync.Mutex
	failing := true
	r := w.running(func(c *reference.Config) {
		c.Touch = func(ctx context.Context, a app.App) (app.App, error) {
			mu.Lock()
			defer mu.Unlock()
			if failing {
				failing = false
				return a, problem.New(problem.Unavailable, "cut")
			}
			return w.touch(ctx, a)
		}
	})
	w.awaitStatus(r, "orders", "S", reference.Resolved)
	w.store.SetUnavailable(true)
	w.vault.set("shop-kv/s", "2")
	r.Changed("shop-kv", "s")
	w.store.SetUnavailable(false)
	w.await("copies start anew", func() bool { w.clock.Advance(time.Second); return w.touched() == 1 })
	if v := w.values(r, "orders"); v.Settings["S"] != "2" {
		t.Errorf("%+v", v)
	}
}

// TestManyReferencesMakeNoHerd counts; it does not measure.
func TestManyReferencesMakeNoHerd(t *testing.T) {
	w := newWorld(t)
	const apps, each = 100, 20
	for a := range apps {
		settings := map[string]string{"SHARED": ref("shop-kv", "shared")}
		for s := range each - 1 {
			name := fmt.Sprintf("s-%d-%d", a, s)
			w.vault.set(fmt.Sprintf("shop-%d/%s", a%10, name), "x")
			settings[fmt.Sprintf("S%d", s)] = ref(fmt.Sprintf("shop-%d", a%10), name)
		}
		w.create(fmt.Sprintf("app-%d", a), settings)
	}
	w.vault.set("shop-kv/shared", "1")
	r := w.running(func(c *reference.Config) { c.Parallel, c.PerVault = 16, 4 })
	all := func(ok func(s reference.Summary) bool) func() bool {
		return func() bool {
			list, err := r.All(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range list {
				if !ok(s) {
					return false
				}
			}
			return len(list) == apps
		}
	}
	w.await("all are resolved", all(func(s reference.Summary) bool { return s.Failing == 0 }))
	if n := w.vault.total(); n != apps*each {
		t.Errorf("%d fetches", n)
	}
	if w.vault.most > 16 {
		t.Errorf("%d fetches at the same time", w.vault.most)
	}
	before := w.vault.total()
	w.vault.set("shop-kv/shared", "2")
	r.Changed("shop-kv", "shared")
	w.await("all copies start anew", func() bool { w.clock.Advance(100 * time.Millisecond); return w.touched() == apps })
	if n := w.vault.total() - before; n != apps {
		t.Errorf("%d fetches for one change", n)
	}
	w.await("all is counted", func() bool { return r.Stats().Touches == apps })
	if s := r.Stats(); s.InFlight != 0 || s.Queued != 0 || s.Apps != apps || s.Touches != apps || s.Fetches[reference.Resolved] != int64(w.vault.total()) {
		t.Errorf("%+v", s)
	}
}

// TestASilentVaultDoesNotHoldUpOthers also checks that its references learn soon
// how it stands.
func TestASilentVaultDoesNotHoldUpOthers(t *testing.T) {
	w := newWorld(t)
	settings := map[string]string{"GOOD": ref("good-kv", "s")}
	for i := range 50 {
		settings[fmt.Sprintf("S%d", i)] = ref("slow-kv", fmt.Sprintf("s%d", i))
	}
	w.vault.set("good-kv/s", "x")
	w.vault.fault("slow-kv", context.DeadlineExceeded)
	w.create("orders", settings)
	r := w.running(func(c *reference.Config) { c.PerVault = 2 })
	w.awaitStatus(r, "orders", "S49", reference.FetchTimedOut)
	if rep := w.report(r, "orders", "GOOD"); rep.Status != reference.Resolved {
		t.Errorf("%+v", rep)
	}
	if n := w.vault.total(); n > 10 {
		t.Errorf("%d fetches", n)
	}
}

// TestGoodValuesAreNeverLost does things at random. Whatever faults happen, a copy
// that opens gets a value for each reference that ever had one.
func TestGoodValuesAreNeverLost(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t)
			rnd := rand.New(rand.NewPCG(seed, 1))
			names := []string{"a", "b", "c"}
			settings := map[string]string{}
			for _, name := range names {
				w.vault.set("shop-kv/"+name, name+"0")
				settings[name] = ref("shop-kv", name)
			}
			w.create("orders", settings)
			r, stop := w.start()
			other := w.node(func(c *reference.Config) { c.Opening = 10 * time.Millisecond })
			w.awaitStatus(r, "orders", "c", reference.Resolved)
			faults := []error{outage, problem.New(problem.Denied, "no"), problem.New(problem.NotFound, "none"), context.DeadlineExceeded, problem.New(problem.Unavailable, "cut")}
			release := func() {}
			for step := range 60 {
				name := names[rnd.IntN(len(names))]
				switch rnd.IntN(12) {
				case 0:
					w.vault.fault("shop-kv/"+name, faults[rnd.IntN(len(faults))])
				case 1:
					w.vault.fault("shop-kv/"+name, nil)
				case 2:
					w.vault.set("shop-kv/"+name, fmt.Sprint(name, step))
					r.Changed("shop-kv", name)
				case 3:
					w.clock.Advance(time.Duration(rnd.IntN(600)) * time.Second)
				case 4:
					w.setState("orders", []app.State{app.Running, app.Stopped}[rnd.IntN(2)])
				case 5:
					settings["PLAIN"] = fmt.Sprint(step)
					w.set("orders", settings)
				case 6:
					w.store.ExpireLeases()
				case 7:
					w.store.Forget()
				case 8:
					w.vault.put("shop-kv/"+name, reference.Secret{Version: "empty"})
				case 9:
					stop()
					r, stop = w.start()
				case 10:
					release()
					release = w.vault.hold()
				case 11:
					w.store.SetUnavailable(true)
					r.Poke()
					w.store.SetUnavailable(false)
				}
				v := w.values(other, "orders")
				for _, name := range names {
					if got := v.Settings[name]; got == settings[name] || got == "" || got[:1] != name {
						t.Fatalf("step %d: %s is %q", step, name, got)
					}
				}
			}
			release()
			for _, name := range names {
				w.vault.fault("shop-kv/"+name, nil)
				w.vault.set("shop-kv/"+name, name+" at last")
			}
			w.await("all is well", func() bool {
				w.clock.Advance(time.Minute)
				ok := r.Stats().Leading
				for _, name := range names {
					rep := w.report(r, "orders", name)
					ok = ok && rep.Status == reference.Resolved && rep.Version == "version-of-"+name+" at last"
				}
				return ok
			})
		})
	}
}
