package keyvault_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/keyvault"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/localvault"
)

func TestThrottledRequestsWaitAsLongAsTheyAreTold(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	manual := clock.NewManual(time.Unix(1, 0))
	s := p.open(func(c *keyvault.Config) { c.Clock = manual })
	p.stock("fn", keystoretest.Function("1"))
	refusals := 2
	p.wire.set(func(r *http.Request) (*http.Response, error) {
		if refusals == 0 {
			return nil, nil
		}
		refusals--
		return answer(r, 429, "Throttled", "Retry-After", "3"), nil
	})
	done := make(chan error, 1)
	go func() { _, _, err := s.Load(t.Context(), "fn"); done <- err }()
	for i := range 2 {
		if err := manual.AwaitTimers(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		manual.Advance(3*time.Second - 1)
		if n := p.wire.requests.Load(); n != int64(i+1) {
			t.Errorf("%d requests before the time is up", n)
		}
		manual.Advance(1)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestFaultsOfTheVaultAreUnavailableAfterABoundedNumberOfTries(t *testing.T) {
	for name, tc := range map[string]struct {
		fault    func(*http.Request) (*http.Response, error)
		requests int64
	}{
		"500 all the time": {func(r *http.Request) (*http.Response, error) { return answer(r, 500, "InternalServerError"), nil }, 5},
		"503 all the time": {func(r *http.Request) (*http.Response, error) { return answer(r, 503, "ServiceUnavailable"), nil }, 5},
		"429 for too long": {func(r *http.Request) (*http.Response, error) {
			return answer(r, 429, "Throttled", "Retry-After", "3600"), nil
		}, 1},
		"no route":              {func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") }, 5},
		"an answer that is odd": {func(r *http.Request) (*http.Response, error) { return answer(r, 418, ""), nil }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, localvault.Config{})
			s := p.open()
			put(t, s, keystore.HostDoc, keystoretest.Host("1"))
			p.wire.set(tc.fault)
			p.wire.requests.Store(0)
			if _, _, err := s.Load(t.Context(), keystore.HostDoc); !errors.Is(err, keystore.ErrUnavailable) || strings.Contains(err.Error(), "host-1") {
				t.Errorf("load: %v", err)
			}
			if n := p.wire.requests.Load(); n != tc.requests {
				t.Errorf("%d requests, want %d", n, tc.requests)
			}
			p.wire.set(nil)
			want(t, s, keystore.HostDoc, keystoretest.Host("1"))
		})
	}
}

func TestAnAnswerCutOffIsNoAnswer(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	put(t, s, keystore.HostDoc, keystoretest.Host("1"))
	torn := 3
	p.wire.setAfter(func(r *http.Request, resp *http.Response) error {
		if resp.StatusCode == 200 && torn > 0 {
			torn--
			body := resp.Body
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.LimitReader(body, 40), body}
			resp.ContentLength = -1
		}
		return nil
	})
	want(t, s, keystore.HostDoc, keystoretest.Host("1"))
}

func TestMissingPermissionsAreNamed(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	put(t, s, keystore.HostDoc, keystoretest.Host("1"))
	for _, tc := range []struct {
		lacks string
		do    func() error
		kind  problem.Kind
	}{
		{"List", func() error { _, _, err := s.Load(t.Context(), keystore.HostDoc); return err }, problem.Denied},
		{"Get", func() error { _, _, err := s.Load(t.Context(), keystore.HostDoc); return err }, problem.Denied},
		{"Set", func() error { return try(t.Context(), s, keystore.HostDoc, keystoretest.Host("2")) }, keystore.ErrReadOnly},
		{"Delete", func() error { return s.Delete(t.Context(), keystore.HostDoc) }, keystore.ErrReadOnly},
	} {
		var has []string
		for _, right := range localvault.All {
			if !strings.EqualFold(right, tc.lacks) {
				has = append(has, right)
			}
		}
		p.vault.Allow("app", has...)
		if err := tc.do(); problem.KindOf(err) != tc.kind || !strings.Contains(problem.NextOf(err), "secret permission "+tc.lacks) {
			t.Errorf("without %s: %v; %s", tc.lacks, err, problem.NextOf(err))
		}
	}
	p.vault.Allow("app", localvault.All...)
	want(t, s, keystore.HostDoc, keystoretest.Host("1"))
}

// count is a change that is wrong unless nobody writes in between.
func count(old keystore.Document, exists bool) (keystore.Document, error) {
	n := 0
	if k, ok := old.Keys.Find(accesskey.Function, "n"); ok {
		n, _ = strconv.Atoi(k.Value)
	}
	old.Keys, _ = old.Keys.Put(accesskey.Function, accesskey.Key{Name: "n", Value: strconv.Itoa(n + 1)})
	return old, nil
}

func TestThirtyTwoWritersOfOneKeyLoseNothing(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	const writers, processes = 32, 8
	stores := make([]*keyvault.Store, processes)
	for i := range stores {
		stores[i] = p.open()
	}
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			if _, _, err := stores[i%processes].Update(ctx, "fn", count); err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	want(t, stores[0], "fn", keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{{Name: "n", Value: strconv.Itoa(writers)}}}})
}

// TestAStockHostThatWritesAtTheSameTimeDoesNotLoseOurKey has one delete our new key
// before we can see that it lasted.
func TestAStockHostThatWritesAtTheSameTimeDoesNotLoseOurKey(t *testing.T) {
	p := newPlace(t, localvault.Config{DeletionDelay: 20 * time.Millisecond})
	s := p.open()
	put(t, s, keystore.HostDoc, keystoretest.Host("1"))
	var once sync.Once
	p.wire.setAfter(func(r *http.Request, _ *http.Response) error {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "host--functionKey--mine") {
			once.Do(func() { p.stock(keystore.HostDoc, keystoretest.Host("stock")) })
		}
		return nil
	})
	runs := 0
	got, _, err := s.Update(t.Context(), keystore.HostDoc, func(old keystore.Document, exists bool) (keystore.Document, error) {
		runs++
		return addKey("mine", "v")(old, exists)
	})
	if err != nil {
		t.Fatal(err)
	}
	wanted := keystoretest.Host("stock")
	wanted.Keys.Keys = append(wanted.Keys.Keys, accesskey.Key{Name: "mine", Value: "v"})
	if runs != 2 || fmt.Sprint(values(got)) != fmt.Sprint(values(wanted)) {
		t.Errorf("%d runs gave %v", runs, values(got))
	}
	want(t, s, keystore.HostDoc, wanted)
}

// TestARaceThatEndsInRefusalLeavesNothingBehind has the change refuse when it runs
// again.
func TestARaceThatEndsInRefusalLeavesNothingBehind(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	put(t, s, "fn", keystoretest.Function("1"))
	var once sync.Once
	p.wire.setAfter(func(r *http.Request, _ *http.Response) error {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "function--fn--two") {
			once.Do(func() { p.set("function--fn--default", "outside"); p.set("function--fn--one", "outside") })
		}
		return nil
	})
	oops := errors.New("oops")
	_, _, err := s.Update(t.Context(), "fn", func(old keystore.Document, exists bool) (keystore.Document, error) {
		if k, _ := old.Keys.Find(accesskey.Function, "one"); k.Value != "" {
			return old, oops
		}
		old.Keys.Keys = append(old.Keys.Keys, accesskey.Key{Name: "one", Value: "1"}, accesskey.Key{Name: "two", Value: "2"})
		return old, nil
	})
	if !errors.Is(err, oops) {
		t.Fatal(err)
	}
	wanted := keystoretest.Function("1")
	wanted.Keys.Keys[0].Value = "outside"
	wanted.Keys.Keys = append(wanted.Keys.Keys, accesskey.Key{Name: "one", Value: "outside"})
	want(t, s, "fn", wanted)
}

// TestACrashAtAnyRequestKeepsEveryKey ends a writer's connection after each request
// in turn.
func TestACrashAtAnyRequestKeepsEveryKey(t *testing.T) {
	before, after := keystoretest.Host("1"), keystoretest.Host("2")
	after.Keys.Master = before.Keys.Master
	after.Keys.Keys = append(after.Keys.Keys, accesskey.Key{Name: "new", Value: "n"})
	after.Keys.System = nil
	after.Keys.Keys[0].Value = "changed"
	for n := int64(0); ; n++ {
		manual := clock.NewManual(time.Unix(1_700_000_000, 0))
		p := newPlace(t, localvault.Config{Clock: manual})
		put(t, p.open(func(c *keyvault.Config) { c.Transport = p.vault.Transport }), keystore.HostDoc, before)
		var seen atomic.Int64
		p.wire.set(func(*http.Request) (*http.Response, error) {
			if seen.Add(1) > n {
				return nil, errors.New("the process is gone")
			}
			return nil, nil
		})
		err := try(t.Context(), p.open(), keystore.HostDoc, after)
		p.wire.set(nil)
		other := p.open()
		d, _, loadErr := other.Load(t.Context(), keystore.HostDoc)
		got := values(d)
		if loadErr != nil || got["(master)"] != "master-1" || got["default"] != "host-1" && got["default"] != "changed" {
			t.Fatalf("after %d requests: %v, %v", n, got, loadErr)
		}
		manual.Advance(3 * time.Minute) // the claim runs out
		put(t, other, keystore.HostDoc, after)
		want(t, other, keystore.HostDoc, after)
		if err == nil {
			if n < 8 {
				t.Errorf("an update of %d requests", n)
			}
			return
		}
	}
}

func TestACrashWhileKeysAreFirstMadeNeverLeavesHostKeysWithoutAMaster(t *testing.T) {
	for n := int64(0); ; n++ {
		p := newPlace(t, localvault.Config{})
		var seen atomic.Int64
		p.wire.set(func(*http.Request) (*http.Response, error) {
			if seen.Add(1) > n {
				return nil, errors.New("the process is gone")
			}
			return nil, nil
		})
		err := try(t.Context(), p.open(), keystore.HostDoc, keystoretest.Host("1"))
		p.wire.set(nil)
		d, _, loadErr := p.open().Load(t.Context(), keystore.HostDoc)
		if loadErr == nil && d.Keys.Master.Value != "master-1" || loadErr != nil && !errors.Is(loadErr, keystore.ErrNotFound) {
			t.Fatalf("after %d requests: %v, %v", n, d, loadErr)
		}
		if err == nil {
			return
		}
	}
}

func TestTheClaimOfADeadWriterRunsOut(t *testing.T) {
	vaultTime, own := clock.NewManual(time.Unix(1_700_000_000, 0)), clock.NewManual(time.Unix(1, 0))
	p := newPlace(t, localvault.Config{Clock: vaultTime})
	p.set("latchkey--writer--0000000000000000", "v", "latchkey-claim", "fn")
	s := p.open(func(c *keyvault.Config) { c.Clock = own })
	done := make(chan error, 1)
	go func() { done <- try(t.Context(), s, "fn", keystoretest.Function("1")) }()
	for _, d := range []time.Duration{60 * time.Second, 59 * time.Second, 3 * time.Second} {
		if err := own.AwaitTimers(t.Context(), 1); err != nil { // it waits for the other writer
			t.Fatal(err)
		}
		if names := p.names(); len(names) != 0 {
			t.Fatalf("written despite a claim: %v", names)
		}
		vaultTime.Advance(d)
		own.Advance(d)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want(t, s, "fn", keystoretest.Function("1"))
}

func TestRandomFaultsChangeNoKey(t *testing.T) {
	p := newPlace(t, localvault.Config{DeletionDelay: 5 * time.Millisecond})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd, mu := rand.New(rand.NewPCG(seed, seed)), sync.Mutex{}
	roll := func(n int) int { mu.Lock(); defer mu.Unlock(); return rnd.IntN(n) }
	p.wire.set(func(r *http.Request) (*http.Response, error) {
		switch roll(20) {
		case 0:
			return answer(r, 429, "Throttled", "Retry-After-Ms", "1"), nil
		case 1:
			return answer(r, 503, "ServiceUnavailable"), nil
		case 2:
			return nil, errors.New("connection reset")
		}
		return nil, nil
	})
	p.wire.setAfter(func(*http.Request, *http.Response) error { // the answer gets lost, not the request
		if roll(20) == 0 {
			return errors.New("connection reset")
		}
		return nil
	})
	s, model := p.open(), map[string]string{}
	calm := p.open(func(c *keyvault.Config) { c.Transport = p.vault.Transport })
	for i := range 60 {
		name, value := fmt.Sprint("k", roll(6)), fmt.Sprint("v", i)
		drop := roll(4) == 0
		_, _, err := s.Update(t.Context(), "fn", func(old keystore.Document, _ bool) (keystore.Document, error) {
			old.Keys, _ = old.Keys.Remove(accesskey.Function, name)
			if !drop {
				old.Keys, _ = old.Keys.Put(accesskey.Function, accesskey.Key{Name: name, Value: value})
			}
			return old, nil
		})
		d, _, loadErr := calm.Load(t.Context(), "fn")
		if loadErr != nil && !errors.Is(loadErr, keystore.ErrNotFound) {
			t.Fatal(loadErr)
		}
		got := values(d)
		was := model[name]
		if delete(model, name); !drop {
			model[name] = value
		}
		if err != nil && got[name] == was { // it may have taken effect or not
			if delete(model, name); was != "" {
				model[name] = was
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(model) {
			t.Fatalf("operation %d (%v): %v, want %v", i, err, got, model)
		}
	}
}

// TestAWriteInTheSameSecondIsSeenBeforeItIsReplaced has a list look the same after
// somebody wrote.
func TestAWriteInTheSameSecondIsSeenBeforeItIsReplaced(t *testing.T) {
	p := newPlace(t, localvault.Config{Clock: clock.NewManual(time.Unix(1_700_000_000, 0))})
	s := p.open()
	p.set("function--fn--n", "1")
	runs := 0
	_, _, err := s.Update(t.Context(), "fn", func(old keystore.Document, exists bool) (keystore.Document, error) {
		if runs++; runs == 1 {
			p.set("function--fn--n", "10")
		}
		return count(old, exists)
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, "fn", keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{{Name: "n", Value: "11"}}}})
}
