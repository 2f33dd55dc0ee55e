package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/kubernetes"
	"github.com/latchkey/latchkey/internal/problem"
)

// reply is an answer that did not come from the API server.
func reply(r *http.Request, code int, body string, headers ...string) *http.Response {
	resp := &http.Response{
		StatusCode: code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
	for i := 0; i < len(headers); i += 2 {
		resp.Header.Set(headers[i], headers[i+1])
	}
	return resp
}

// torn is a body that ends before its time.
type torn struct{ io.Reader }

func (t torn) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (torn) Close() error { return nil }

func TestThrottledRequestsWaitAsLongAsTheyAreTold(t *testing.T) {
	p := newPlace(t, kubernetes.Secret)
	manual := clock.NewManual(time.Unix(1, 0))
	cfg := p.config()
	cfg.Clock = manual
	s := open(t, cfg)
	refusals := 2
	p.wire.set(func(r *http.Request) (*http.Response, error) {
		if refusals == 0 {
			return nil, nil
		}
		refusals--
		return reply(r, 429, "", "Retry-After", "3"), nil
	})
	done := make(chan error, 1)
	go func() { done <- try(t, s, "fn", keystoretest.Function("1")) }()
	for range 2 {
		must(t, manual.AwaitTimers(t.Context(), 1))
		manual.Advance(3*time.Second - 1)
		if n := p.Requests("get"); n != 0 {
			t.Errorf("%d requests before the time is up", n)
		}
		manual.Advance(1)
	}
	must(t, <-done)
	p.wire.set(func(r *http.Request) (*http.Response, error) { return reply(r, 429, "", "Retry-After", "60"), nil })
	if err := try(t, s, "fn", keystoretest.Function("2")); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("a wait too long: %v", err)
	}
}

func TestAnswersOfOthersAreNoAbsence(t *testing.T) {
	for what, body := range map[string]string{
		"proxy":            "<html>404",
		"other object":     `{"kind":"Status","reason":"NotFound","details":{"name":"other"}}`,
		"aggregation":      `{"kind":"Status","reason":"NotFound","details":{}}`,
		"not even a state": `{"reason":"NotFound","details":{"name":"func-keys"}}`,
	} {
		p := newPlace(t, kubernetes.Secret)
		s := p.open()
		must(t, try(t, s, "fn", keystoretest.Function("1")))
		p.wire.set(func(r *http.Request) (*http.Response, error) { return reply(r, 404, body), nil })
		if _, _, err := s.Load(t.Context(), "fn"); !errors.Is(err, keystore.ErrUnavailable) {
			t.Errorf("%s: load: %v", what, err)
		}
		if err := try(t, s, "fn", keystoretest.Function("2")); !errors.Is(err, keystore.ErrUnavailable) {
			t.Errorf("%s: update: %v", what, err)
		}
	}
	p := newPlace(t, kubernetes.Secret)
	s := p.open()
	for _, body := range []string{"", "{}", `{"metadata":{"name":"other","resourceVersion":"1"}}`, `{"metadata":{"name":"func-keys"}}`, "[", `{"data":{"a":1}}`} {
		p.wire.set(func(r *http.Request) (*http.Response, error) { return reply(r, 200, body), nil })
		if _, _, err := s.Load(t.Context(), "fn"); !errors.Is(err, keystore.ErrUnavailable) {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// A redirect would take the token to another server.
func TestRedirectsAreNotFollowed(t *testing.T) {
	p := newPlace(t, kubernetes.Secret)
	asked := 0
	p.wire.set(func(r *http.Request) (*http.Response, error) {
		asked++
		return reply(r, 302, "", "Location", "http://elsewhere.invalid/"), nil
	})
	if _, _, err := p.open().Load(t.Context(), "fn"); !errors.Is(err, keystore.ErrUnavailable) || asked != 1 {
		t.Errorf("%d requests, %v", asked, err)
	}
}

func TestAWriteWhoseAnswerGotLostIsNotMadeTwice(t *testing.T) {
	onBoth(t, func(t *testing.T, kind kubernetes.Kind) {
		p := newPlace(t, kind)
		s := p.open()
		writes, lost := 0, 0
		p.wire.set(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodGet {
				return nil, nil
			}
			if writes++; writes%2 == 0 { // what is tried again is refused: the version is another
				return nil, nil
			}
			lost++
			resp, err := p.wire.real.RoundTrip(r)
			if err != nil {
				return nil, err
			}
			resp.Body = torn{io.LimitReader(resp.Body, 20)}
			return resp, nil
		})
		for i := range 6 {
			if _, _, err := s.Update(t.Context(), "fn", addKey(fmt.Sprint("k", i), "v")); err != nil {
				t.Fatal(err)
			}
		}
		p.wire.set(nil)
		d, _, err := s.Load(t.Context(), "fn")
		if err != nil || len(d.Keys.Keys) != 6 || lost != 6 {
			t.Errorf("%d keys after %d lost answers, %v", len(d.Keys.Keys), lost, err)
		}
	})
}

// 32 writers, each with a handle of its own, while requests fail at random before
// they arrive, after they were carried out, and in the middle of the answer.
func TestNothingIsLostInAStormOfFaultsAndConflicts(t *testing.T) {
	p := newPlace(t, kubernetes.Secret)
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(1, 2))
	p.wire.set(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		n := rnd.IntN(40)
		mu.Unlock()
		switch n {
		case 0:
			return nil, errors.New("connection reset")
		case 1:
			return reply(r, 503, "busy"), nil
		case 2:
			return reply(r, 429, "", "Retry-After", "0"), nil
		case 3, 4:
			resp, err := p.wire.real.RoundTrip(r)
			if err != nil {
				return nil, err
			}
			_ = resp.Body.Close()
			if n == 3 {
				return nil, errors.New("connection reset after the request")
			}
			resp.Body = torn{strings.NewReader(`{"metadata":`)}
			return resp, nil
		}
		return nil, nil
	})
	const writers, each = 32, 3
	var wg sync.WaitGroup
	var sure sync.Map
	for w := range writers {
		s := p.open()
		wg.Go(func() {
			for i := range each {
				doc := keystore.Doc([]string{"a", "b"}[w%2])
				name := fmt.Sprintf("k-%d-%d", w, i)
				_, _, err := s.Update(t.Context(), doc, func(old keystore.Document, exists bool) (keystore.Document, error) {
					for _, k := range old.Keys.Keys {
						if k.Name == name {
							return old, nil
						}
					}
					return addKey(name, "value of "+name)(old, exists)
				})
				switch {
				case err == nil:
					sure.Store(name, true)
				case !errors.Is(err, keystore.ErrUnavailable) && !errors.Is(err, keystore.ErrConflict):
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	wg.Wait()
	p.wire.set(nil)
	have := map[string]bool{}
	for _, doc := range []keystore.Doc{"a", "b"} {
		d, _, err := p.open().Load(t.Context(), doc)
		must(t, err)
		for _, k := range d.Keys.Keys {
			if have[k.Name] || k.Value != "value of "+k.Name {
				t.Errorf("%s is there twice or has value %q", k.Name, k.Value)
			}
			have[k.Name] = true
		}
	}
	written := 0
	for range sure.Range {
		written++
	}
	sure.Range(func(name, _ any) bool {
		if !have[name.(string)] {
			t.Errorf("%s was written and is lost", name)
		}
		return true
	})
	if written < writers*each/2 {
		t.Errorf("only %d of %d writes were made", written, writers*each)
	}
}

func TestPermissionTakenAwayInTheMiddleOfAWrite(t *testing.T) {
	p := newPlace(t, kubernetes.Secret)
	s := p.open()
	must(t, try(t, s, "fn", keystoretest.Function("1")))
	_, _, err := s.Update(t.Context(), "fn", func(keystore.Document, bool) (keystore.Document, error) {
		p.Deny("patch")
		return keystoretest.Function("2"), nil
	})
	if !errors.Is(err, keystore.ErrReadOnly) || p.data(p.key())["functions.fn.default"] != "function-1" {
		t.Errorf("update: %v", err)
	}
}

func TestAnObjectDeletedDuringAWriteIsMadeAnew(t *testing.T) {
	p := newPlace(t, kubernetes.Secret)
	s := p.open()
	must(t, try(t, s, "fn", keystoretest.Function("1")))
	var seen []bool
	_, _, err := s.Update(t.Context(), "fn", func(_ keystore.Document, exists bool) (keystore.Document, error) {
		if seen = append(seen, exists); len(seen) == 1 {
			p.do("DELETE", p.key(), "", nil)
		}
		return keystoretest.Function("2"), nil
	})
	if err != nil || fmt.Sprint(seen) != "[true false]" {
		t.Errorf("%v, %v", seen, err)
	}
}

// hears collects what a watch tells.
func hears(t *testing.T, s keystore.Watcher) (heard chan keystore.Doc, done <-chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	heard = make(chan keystore.Doc, 1000)
	done, err := s.Watch(ctx, func(d keystore.Doc) { heard <- d })
	must(t, err)
	t.Cleanup(func() { cancel(); <-done })
	return heard, done
}

func await(t *testing.T, heard <-chan keystore.Doc, want keystore.Doc) {
	t.Helper()
	for {
		select {
		case d := <-heard:
			if d == want || d == "" {
				return
			}
		case <-time.After(time.Minute):
			t.Fatalf("the watch never told of %q", want)
		}
	}
}

func TestAWatchGoesOnWhereItWas(t *testing.T) {
	p := newPlace(t, kubernetes.Secret)
	s := p.open()
	must(t, try(t, s, "a", keystoretest.Function("1")))
	heard, _ := hears(t, s)
	for i, answer := range []func(*http.Request) *http.Response{
		func(*http.Request) *http.Response { return nil },
		func(*http.Request) *http.Response { p.Forget(); return nil },
		func(r *http.Request) *http.Response { // refused as it is by older servers
			if r.URL.Query().Get("resourceVersion") == "" {
				return nil
			}
			return reply(r, 410, `{"kind":"Status","reason":"Gone"}`)
		},
	} {
		changed := make(chan struct{})
		p.wire.set(func(r *http.Request) (*http.Response, error) {
			if r.URL.Query().Get("watch") != "true" {
				return nil, nil
			}
			<-changed
			return answer(r), nil
		})
		doc := keystore.Doc(fmt.Sprint("fn", i))
		p.CloseClientConnections()
		p.outsider(t, doc) // while nobody watches
		close(changed)
		await(t, heard, doc)
		must(t, s.Delete(t.Context(), doc))
		await(t, heard, doc)
	}
	p.do("DELETE", p.key(), "", nil)
	await(t, heard, "a")
}

// outsider writes a document from elsewhere, by connections of its own.
func (p *target) outsider(t *testing.T, doc keystore.Doc) {
	t.Helper()
	cfg := p.config()
	cfg.Transport = nil
	must(t, try(t, open(t, cfg), doc, keystoretest.Function("outside")))
}

func TestAWatchThatCannotBeTakenUpEnds(t *testing.T) {
	p := newPlace(t, kubernetes.Secret)
	s := p.open()
	_, done := hears(t, s)
	p.wire.set(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") })
	p.CloseClientConnections()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("it goes on")
	}
	if _, err := s.Watch(t.Context(), func(keystore.Doc) {}); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("watch: %v", err)
	}
}

func TestWithoutThePermissionToWatchTheObjectIsRead(t *testing.T) {
	p := newPlace(t, kubernetes.Secret)
	p.Deny("watch")
	manual := clock.NewManual(time.Unix(1, 0))
	cfg := p.config()
	cfg.Clock, cfg.Poll = manual, time.Minute
	s := open(t, cfg)
	heard, _ := hears(t, s)
	p.outside(t, "fn", keystoretest.Function("1"))
	must(t, manual.AwaitTimers(t.Context(), 1))
	manual.Advance(66 * time.Second)
	await(t, heard, "fn")
	p.Deny("watch", "get")
	if _, err := s.Watch(t.Context(), func(keystore.Doc) {}); !errors.Is(err, problem.Denied) {
		t.Errorf("watch: %v", err)
	}
}

func TestLoadsAtTheSameTimeShareAReadThatIsNoOlderThanThey(t *testing.T) {
	p := newPlace(t, kubernetes.Secret)
	s := p.open()
	must(t, try(t, s, "fn", keystoretest.Function("1")))
	before := p.Requests("get")
	arrived, hold := make(chan struct{}, 10), make(chan struct{})
	p.wire.set(func(*http.Request) (*http.Response, error) {
		arrived <- struct{}{}
		<-hold
		return nil, nil
	})
	var wg sync.WaitGroup
	load := func(ctx context.Context) {
		if d, _, err := s.Load(ctx, "fn"); err != nil || len(d.Keys.Keys) != 2 {
			t.Errorf("load: %d keys, %v", len(d.Keys.Keys), err)
		}
	}
	wg.Go(func() { load(t.Context()) })
	<-arrived // a read has begun; all that come now wait for the next
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Load(ended, "fn"); !errors.Is(err, context.Canceled) {
		t.Errorf("load: %v", err)
	}
	for range 50 {
		wg.Go(func() { load(t.Context()) })
	}
	stacks := make([]byte, 4<<20)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); runtime.Gosched() {
		if strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "(*reads).get(") == 51 {
			break
		}
	}
	close(hold)
	wg.Wait()
	if n := p.Requests("get") - before; n != 2 {
		t.Errorf("%d reads for 51 loads", n)
	}
}
