package blob_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/localblob"
	"github.com/latchkey/latchkey/test/azurite"
)

// addKey is the change that appends a key.
func addKey(name, value string) keystore.Change {
	return func(old keystore.Document, _ bool) (keystore.Document, error) {
		old.Keys.Keys = append(old.Keys.Keys, accesskey.Key{Name: name, Value: value})
		return old, nil
	}
}

func want(t *testing.T, s keystore.Store, doc keystore.Doc, d keystore.Document) {
	t.Helper()
	got, _, err := s.Load(t.Context(), doc)
	if err != nil || fmt.Sprint(values(got)) != fmt.Sprint(values(d)) {
		t.Errorf("%s is %v, want %v: %v", doc, values(got), values(d), err)
	}
}

// values gives the keys of a document by name.
func values(d keystore.Document) map[string]string {
	out := map[string]string{"(master)": d.Keys.Master.Value}
	for _, k := range append(d.Keys.Keys, d.Keys.System...) {
		out[k.Name] = k.Value
	}
	return out
}

func TestThrottledRequestsWaitAsLongAsTheyAreTold(t *testing.T) {
	p := newPlace(t, fakeAccount(localblob.Start(t, false)))
	manual := clock.NewManual(time.Unix(1, 0))
	cfg := p.config()
	cfg.Clock = manual
	s := open(t, cfg)
	p.make()
	refusals := 2
	p.wire.set(func(r *http.Request) (*http.Response, error) {
		if refusals == 0 {
			return nil, nil
		}
		refusals--
		return answer(r, 429, "TooManyRequests", "Retry-After", "3"), nil
	})
	done := make(chan error, 1)
	go func() { done <- try(t.Context(), s, "fn", keystoretest.Function("1")) }()
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
	want(t, s, "fn", keystoretest.Function("1"))
}

func TestFaultsOfTheServiceAreUnavailableAfterABoundedNumberOfTries(t *testing.T) {
	for name, tc := range map[string]struct {
		fault    func(*http.Request) (*http.Response, error)
		requests int64
	}{
		"500 all the time":      {func(r *http.Request) (*http.Response, error) { return answer(r, 500, "InternalError"), nil }, 4},
		"503 all the time":      {func(r *http.Request) (*http.Response, error) { return answer(r, 503, "ServerBusy"), nil }, 4},
		"no connection":         {func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }, 4},
		"a long wait asked for": {func(r *http.Request) (*http.Response, error) { return answer(r, 429, "", "Retry-After", "60"), nil }, 1},
		"404 of somebody else":  {func(r *http.Request) (*http.Response, error) { return answer(r, 404, ""), nil }, 1},
		"404 without a blob":    {func(r *http.Request) (*http.Response, error) { return answer(r, 404, "ResourceNotFound"), nil }, 1},
		"200 of somebody else":  {func(r *http.Request) (*http.Response, error) { return answer(r, 200, ""), nil }, 1},
		"a redirection": {func(r *http.Request) (*http.Response, error) {
			return answer(r, 302, "", "Location", "https://x.test/"), nil
		}, 1},
		"a blob in the archive":   {func(r *http.Request) (*http.Response, error) { return answer(r, 409, "BlobArchived"), nil }, 1},
		"an account switched off": {func(r *http.Request) (*http.Response, error) { return answer(r, 409, "AccountBeingCreated"), nil }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, account{connectionString: "AccountName=a;AccountKey=YQ==;BlobEndpoint=http://127.0.0.1:1/a"})
			p.wire.set(tc.fault)
			s := p.open()
			_, _, err := s.Load(t.Context(), keystore.HostDoc)
			if !errors.Is(err, keystore.ErrUnavailable) || errors.Is(err, keystore.ErrNotFound) {
				t.Errorf("load: %v", err)
			}
			if n := p.wire.requests.Load(); n != tc.requests {
				t.Errorf("%d requests, want %d", n, tc.requests)
			}
			if err := try(t.Context(), s, keystore.HostDoc, keystoretest.Host("1")); !errors.Is(err, keystore.ErrUnavailable) {
				t.Errorf("update: %v", err)
			}
		})
	}
}

func TestRefusalsNameThePermission(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		p := newPlace(t, a)
		s := p.open()
		put(t, s, "fn", keystoretest.Function("1"))
		revoked := func(method string) func(*http.Request) (*http.Response, error) {
			return func(r *http.Request) (*http.Response, error) {
				if r.Method == method {
					return answer(r, 403, "AuthorizationPermissionMismatch"), nil
				}
				return nil, nil
			}
		}
		p.wire.set(revoked(http.MethodGet))
		if _, _, err := s.Load(t.Context(), "fn"); !errors.Is(err, problem.Denied) || problem.NextOf(err) == "" {
			t.Errorf("load: %v", err)
		}
		if _, err := s.List(t.Context()); !errors.Is(err, problem.Denied) {
			t.Errorf("list: %v", err)
		}
		p.wire.set(revoked(http.MethodPut))
		if err := try(t.Context(), s, "fn", keystoretest.Function("2")); !errors.Is(err, keystore.ErrReadOnly) {
			t.Errorf("update: %v", err)
		}
		p.wire.set(revoked(http.MethodDelete))
		if err := s.Delete(t.Context(), "fn"); !errors.Is(err, keystore.ErrReadOnly) {
			t.Errorf("delete: %v", err)
		}
		p.wire.set(nil)
		want(t, s, "fn", keystoretest.Function("1"))
		cfg := p.config()
		cfg.ConnectionString = strings.Replace(cfg.ConnectionString, azurite.Key, "d3Jvbmc=", 1)
		if a.name == "fake" { // it believes every key
			return
		}
		if _, _, err := open(t, cfg).Load(t.Context(), "fn"); !errors.Is(err, problem.Denied) || strings.Contains(err.Error(), "d3Jvbmc=") {
			t.Errorf("load with a wrong key: %v", err)
		}
	})
}

func TestLostAnswersAreNoConflicts(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		p := newPlace(t, a)
		s := p.open()
		lost, runs := 0, 0
		p.wire.setAfter(func(r *http.Request, _ *http.Response) error {
			if lost++; (r.Method == http.MethodPut || r.Method == http.MethodDelete) && lost%2 == 1 {
				return errors.New("connection reset by peer")
			}
			return nil
		})
		for i := range 4 {
			name := fmt.Sprint("k", i)
			for _, doc := range []keystore.Doc{"fn", "gn"} {
				_, _, err := s.Update(t.Context(), doc, func(old keystore.Document, exists bool) (keystore.Document, error) {
					runs++
					return addKey(name, name)(old, exists)
				})
				if err != nil {
					t.Errorf("%s %s: %v", doc, name, err)
				}
			}
		}
		if runs != 8 {
			t.Errorf("%d runs of 8 changes", runs)
		}
		d, _, err := s.Load(t.Context(), "fn")
		if err != nil || len(d.Keys.Keys) != 4 {
			t.Errorf("%v, %v", d.Keys, err)
		}
		if err := s.Delete(t.Context(), "fn"); err != nil {
			t.Errorf("delete: %v", err)
		}
	})
}

func TestTornAnswersAreReadAgain(t *testing.T) {
	p := newPlace(t, fakeAccount(localblob.Start(t, false)))
	s := p.open()
	put(t, s, "fn", keystoretest.Function("1"))
	torn := 2
	p.wire.setAfter(func(r *http.Request, resp *http.Response) error {
		if r.Method == http.MethodGet && torn > 0 {
			torn--
			resp.Body = &tornBody{resp.Body}
		}
		return nil
	})
	want(t, s, "fn", keystoretest.Function("1"))
	if torn != 0 {
		t.Error("nothing was torn")
	}
}

// tornBody is cut off after its first bytes.
type tornBody struct{ io.ReadCloser }

func (b *tornBody) Read(p []byte) (int, error) {
	n, _ := b.ReadCloser.Read(p[:min(len(p), 10)])
	return n, io.ErrUnexpectedEOF
}

func TestACallersDeadlineEndsEverything(t *testing.T) {
	p := newPlace(t, fakeAccount(localblob.Start(t, false)))
	s := p.open()
	put(t, s, "fn", keystoretest.Function("1"))
	p.wire.set(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := s.Load(ctx, "fn"); !errors.Is(err, problem.Timeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("load: %v", err)
	}
	if err := try(ctx, s, "fn", keystoretest.Function("2")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("update: %v", err)
	}
	p.wire.set(nil)
	want(t, s, "fn", keystoretest.Function("1"))
}

func TestThirtyTwoHandlesLoseNothing(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		p := newPlace(t, a)
		const writers, each = 32, 2
		var wg sync.WaitGroup
		for w := range writers {
			s := p.open()
			wg.Go(func() {
				for i := range each {
					name := fmt.Sprintf("k-%d-%d", w, i)
					if _, _, err := s.Update(t.Context(), "fn", addKey(name, name)); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
			})
		}
		wg.Wait()
		d, _, err := p.open().Load(t.Context(), "fn")
		if err != nil || len(values(d)) != writers*each+1 || len(d.Keys.Keys) != writers*each {
			t.Errorf("%d keys of %d: %v", len(d.Keys.Keys), writers*each, err)
		}
	})
}

// A model of what was acknowledged and what was tried says which keys must be
// there and which may.
func TestNoFaultLosesOrInventsKeys(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		p := newPlace(t, a)
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		faults := storm{rnd: rand.New(rand.NewPCG(seed, seed))}
		p.wire.set(faults.before)
		p.wire.setAfter(faults.after)
		stores := []keystore.Store{p.open(), p.open()}
		var mu sync.Mutex
		tried, acknowledged := map[string]string{}, map[string]string{}
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 10 {
					name := fmt.Sprintf("k-%d-%d", w, i)
					value := "value of " + name
					mu.Lock()
					tried[name] = value
					mu.Unlock()
					_, _, err := stores[w%2].Update(t.Context(), "fn", addKey(name, value))
					if err != nil && !errors.Is(err, keystore.ErrUnavailable) && !errors.Is(err, keystore.ErrInvalid) {
						t.Errorf("%s: %v", name, err)
					}
					mu.Lock()
					if err == nil {
						acknowledged[name] = value
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		p.wire.set(nil)
		p.wire.setAfter(nil)
		d, _, err := stores[0].Load(t.Context(), "fn")
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range acknowledged {
			if values(d)[name] != value {
				t.Errorf("acknowledged key %s is %q", name, values(d)[name])
			}
		}
		for _, k := range d.Keys.Keys {
			if tried[k.Name] != k.Value {
				t.Errorf("key %s=%q was never written", k.Name, k.Value)
			}
		}
		t.Logf("%d acknowledged, %d stored, of %d", len(acknowledged), len(d.Keys.Keys), len(tried))
	})
}

// storm breaks every third request or so.
type storm struct {
	mu  sync.Mutex
	rnd *rand.Rand
}

func (s *storm) roll() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rnd.IntN(30)
}

func (s *storm) before(r *http.Request) (*http.Response, error) {
	switch s.roll() {
	case 0:
		return answer(r, 500, "InternalError"), nil
	case 1:
		return answer(r, 503, "ServerBusy"), nil
	case 2:
		return answer(r, 429, "TooManyRequests", "X-Ms-Retry-After-Ms", "2"), nil
	case 3:
		return nil, errors.New("lookup x: no such host")
	case 4:
		return nil, io.ErrUnexpectedEOF
	}
	return nil, nil
}

func (s *storm) after(r *http.Request, resp *http.Response) error {
	switch s.roll() {
	case 0, 1:
		return errors.New("connection reset by peer")
	case 2:
		resp.StatusCode = 500
		resp.Header.Set("X-Ms-Error-Code", "OperationTimedOut")
	case 3:
		if r.Method == http.MethodGet {
			resp.Body = &tornBody{resp.Body}
		}
	}
	return nil
}

func TestArchivedBlobsAreNeverReplaced(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		p := newPlace(t, a)
		s := p.open()
		put(t, s, "fn", keystoretest.Function("1"))
		archive := azblob.AccessTierArchive
		if _, err := p.client.NewBlobClient(app+"/fn.json").SetTier(t.Context(), archive, nil); err != nil {
			t.Fatal(err)
		}
		_, _, err := s.Load(t.Context(), "fn")
		if !errors.Is(err, keystore.ErrUnavailable) || !strings.Contains(problem.NextOf(err), "AZFD0008") {
			t.Errorf("load: %v", err)
		}
		if err := try(t.Context(), s, "fn", keystoretest.Function("2")); !errors.Is(err, keystore.ErrUnavailable) {
			t.Errorf("update: %v", err)
		}
		if _, err := p.client.NewBlobClient(app+"/fn.json").SetTier(t.Context(), azblob.AccessTierHot, nil); err != nil {
			t.Fatal(err)
		}
		want(t, s, "fn", keystoretest.Function("1"))
	})
}

func TestAContainerThatGoesComesBackWithTheNextDocument(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		p := newPlace(t, a)
		s := p.open()
		put(t, s, "fn", keystoretest.Function("1"))
		if _, err := p.client.Delete(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Load(t.Context(), "fn"); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("load: %v", err)
		}
		if docs, err := s.List(t.Context()); err != nil || len(docs) != 0 {
			t.Errorf("list: %v, %v", docs, err)
		}
		put(t, s, "fn", keystoretest.Function("2"))
		want(t, s, "fn", keystoretest.Function("2"))
	})
}

func TestAKilledEmulatorIsUnavailableUntilItIsBack(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts a process")
	}
	e := azurite.Start(t, azurite.Options{Dir: t.TempDir()})
	p := newPlace(t, account{"Azurite", e.ConnectionString()})
	s := p.open()
	put(t, s, keystore.HostDoc, keystoretest.Host("1"))
	e.Stop()
	_, _, load := s.Load(t.Context(), keystore.HostDoc)
	_, list := s.List(t.Context())
	for what, err := range map[string]error{"load": load, "list": list, "update": try(t.Context(), s, keystore.HostDoc, keystoretest.Host("2"))} {
		if !errors.Is(err, keystore.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	e.Restart()
	want(t, s, keystore.HostDoc, keystoretest.Host("1"))

	memory := azurite.Start(t, azurite.Options{})
	p = newPlace(t, account{"Azurite", memory.ConnectionString()})
	s = p.open()
	put(t, s, "fn", keystoretest.Function("1"))
	memory.Kill()
	if _, _, err := s.Load(t.Context(), "fn"); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("load: %v", err)
	}
	memory.Restart()
	if _, _, err := s.Load(t.Context(), "fn"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("load of what the emulator forgot: %v", err)
	}
	put(t, s, "fn", keystoretest.Function("2"))
}

var _ azcore.TokenCredential = token("")

// TestAListThatFailsOnceIsListedAgain: the SDK's pager gives its first fault for
// ever after.
func TestAListThatFailsOnceIsListedAgain(t *testing.T) {
	p := newPlace(t, fakeAccount(localblob.Start(t, false)))
	p.make()
	s := p.open()
	if err := try(t.Context(), s, "fn", keystoretest.Function("1")); err != nil {
		t.Fatal(err)
	}
	failed := false
	p.wire.set(func(r *http.Request) (*http.Response, error) {
		if failed || r.URL.Query().Get("comp") != "list" {
			return nil, nil
		}
		failed = true
		return answer(r, 500, "InternalError"), nil
	})
	docs, err := s.List(t.Context())
	if err != nil || len(docs) != 1 || !failed {
		t.Errorf("%v, %v, failed %t", docs, err, failed)
	}
}
