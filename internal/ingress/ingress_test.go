package ingress_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/ingress"
	"github.com/latchkey/latchkey/internal/web"
)

const (
	domain = "env-1234.localhost"
	appID  = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.App/containerApps/shop"
	long   = time.Minute // more than anything takes
)

func ref(revision string) engine.Ref { return engine.Ref{App: appID, Revision: revision} }

// world is an ingress behind a server of the kind that nodes have.
type world struct {
	*ingress.Ingress
	t         *testing.T
	addr      string
	client    *http.Client
	activated chan engine.Ref
}

func newWorld(t *testing.T, change func(*ingress.Config)) *world {
	t.Helper()
	w := &world{t: t, activated: make(chan engine.Ref, 10_000)}
	cfg := ingress.Config{
		Activate: func(r engine.Ref) {
			select {
			case w.activated <- r:
			default:
			}
		},
		Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	w.Ingress = ingress.New(cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = l.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = web.NewServer(l, w.Ingress, slog.New(slog.DiscardHandler)).Run(ctx, time.Second)
	}()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", w.addr)
		},
		MaxIdleConnsPerHost: 300,
	}
	w.client = &http.Client{Transport: transport, Timeout: long, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() { transport.CloseIdleConnections(); stop(); <-ended; w.Close() })
	return w
}

// shop is an app of one revision.
func shop(change func(*ingress.App)) ingress.App {
	a := ingress.App{
		ID: appID, Name: "shop", Domain: domain, External: true, Port: 80, Transport: ingress.Auto,
		Traffic:   []ingress.Share{{Revision: "shop--one", Weight: 100}},
		Revisions: []ingress.Revision{{Name: "shop--one"}},
	}
	if change != nil {
		change(&a)
	}
	return a
}

// replica starts a server that stands for a replica of a revision.
func replica(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// at gives replicas by servers, named r0, r1, ….
func at(servers ...*httptest.Server) []ingress.Replica {
	var list []ingress.Replica
	for i, s := range servers {
		list = append(list, ingress.Replica{Name: fmt.Sprintf("r%d", i), Addresses: map[int]string{80: s.Listener.Addr().String()}})
	}
	return list
}

type reply struct {
	status int
	body   string
	header http.Header
}

func (w *world) get(host string, change ...func(*http.Request)) reply {
	w.t.Helper()
	r, err := w.ask(host, change...)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) ask(host string, change ...func(*http.Request)) (reply, error) {
	r, err := http.NewRequest("GET", "http://"+host+"/path?q=1", nil)
	if err != nil {
		return reply{}, err
	}
	for _, f := range change {
		f(r)
	}
	answer, err := w.client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	return reply{answer.StatusCode, string(body), answer.Header}, err
}

// until waits for something to be so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(long); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came to be that %s", what)
		}
	}
}

func TestHostNamesLeadToAppsLabelsAndRevisions(t *testing.T) {
	w := newWorld(t, nil)
	w.Put(shop(func(a *ingress.App) {
		a.Traffic = []ingress.Share{{Revision: "shop--one", Weight: 100, Label: "blue"}, {Revision: "Shop--Two", Label: "green"}}
		a.Revisions = []ingress.Revision{{Name: "shop--one"}, {Name: "shop--two"}}
		a.CustomDomains = []string{"www.shop.example"}
	}))
	w.Replicas(ref("shop--one"), at(replica(t, says("one"))))
	w.Replicas(ref("SHOP--two"), at(replica(t, says("two"))))
	for host, want := range map[string]string{
		"shop." + domain:                   "one",
		"SHOP." + domain + ".:8080":        "one",
		"shop.internal." + domain:          "one",
		"shop---blue." + domain:            "one",
		"shop---green." + domain:           "two",
		"shop--two." + domain:              "two",
		"shop--two.internal." + domain:     "two",
		"www.shop.example":                 "one",
		"shop---red." + domain:             "404",
		"shop--three." + domain:            "404",
		"other." + domain:                  "404",
		"x.shop." + domain:                 "404",
		"shop.internal.internal." + domain: "404",
	} {
		got := w.get(host)
		if want == "404" && got.status != 404 || want != "404" && (got.status != 200 || got.body != want) {
			t.Errorf("%s: got %d %q, want %s", host, got.status, got.body, want)
		}
	}
	w.Forget(appID)
	if got := w.get("shop." + domain); got.status != 404 || !strings.Contains(got.body, "stopped or does not exist") {
		t.Errorf("after the app is gone: %v", got)
	}
}

func TestWeightsAreExact(t *testing.T) {
	w := newWorld(t, nil)
	weights := map[string]int{"a": 70, "b": 20, "c": 9, "d": 1, "e": 0}
	app := shop(func(a *ingress.App) { a.Traffic, a.Revisions = nil, nil })
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		app.Traffic = append(app.Traffic, ingress.Share{Revision: "shop--" + name, Weight: weights[name]})
		app.Revisions = append(app.Revisions, ingress.Revision{Name: "shop--" + name})
		w.Replicas(ref("shop--"+name), at(replica(t, says(name))))
	}
	w.Put(app)
	var mu sync.Mutex
	counts := map[string]int{}
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			for range 100 {
				got, err := w.ask("shop." + domain)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				counts[got.body]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	for name, weight := range weights {
		if counts[name] != weight*10 {
			t.Errorf("%s has %d%% and got %d of 1000", name, weight, counts[name])
		}
	}
	if total := w.Load(ref("shop--a")).Total; total != 700 {
		t.Errorf("%d requests are counted, want 700", total)
	}
}

func TestWeightsAreMixedEvenly(t *testing.T) {
	w := newWorld(t, nil)
	w.Put(shop(func(a *ingress.App) {
		a.Traffic = []ingress.Share{{Revision: "shop--one", Weight: 80}, {Revision: "shop--two", Weight: 20}, {Revision: "shop--gone", Weight: 50}}
		a.Revisions = []ingress.Revision{{Name: "shop--one"}, {Name: "shop--two"}}
	}))
	w.Replicas(ref("shop--one"), at(replica(t, says("1"))))
	w.Replicas(ref("shop--two"), at(replica(t, says("2"))))
	for range 4 {
		five := ""
		for range 5 {
			five += w.get("shop." + domain).body
		}
		if strings.Count(five, "2") != 1 {
			t.Errorf("five requests went to %s", five)
		}
	}
}

func TestRequestsGoToTheReplicaWithTheLeastToDo(t *testing.T) {
	w := newWorld(t, nil)
	held, release := make(chan struct{}, 1), make(chan struct{})
	slow := func(name string) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("q") == "slow" {
				held <- struct{}{}
				<-release
			}
			_, _ = io.WriteString(rw, name)
		}
	}
	w.Put(shop(nil))
	w.Replicas(ref("shop--one"), at(replica(t, slow("0")), replica(t, slow("1"))))
	answer := make(chan reply, 1)
	go func() {
		got, err := w.ask("shop."+domain, func(r *http.Request) { r.URL.RawQuery = "q=slow" })
		if err != nil {
			t.Error(err)
		}
		answer <- got
	}()
	<-held
	seen := map[string]int{}
	for range 10 {
		seen[w.get("shop."+domain).body]++
	}
	if n := w.InFlight(ref("shop--one")); n != 1 {
		t.Errorf("%d requests are under way, want 1", n)
	}
	close(release)
	busy := (<-answer).body
	if seen[busy] != 0 {
		t.Errorf("the busy replica %s got requests: %v", busy, seen)
	}
	until(t, "none is under way", func() bool { return w.InFlight(ref("shop--one")) == 0 })
	for range 10 {
		seen[w.get("shop."+domain).body]++
	}
	if seen[busy] != 5 {
		t.Errorf("replicas do not take turns: %v", seen)
	}
}

func TestASwitchUnderLoadLosesNothing(t *testing.T) {
	w := newWorld(t, nil)
	versions := []string{"shop--one", "shop--two"}
	servers := map[string]*httptest.Server{}
	for _, name := range versions {
		servers[name] = replica(t, says(name))
	}
	put := func(name string) {
		w.Replicas(ref(name), at(servers[name]))
		w.Put(shop(func(a *ingress.App) {
			a.Revisions, a.Traffic = []ingress.Revision{{Name: name}}, []ingress.Share{{Revision: name, Weight: 100}}
		}))
	}
	put(versions[0])
	stop := make(chan struct{})
	var asked, answered atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				asked.Add(1)
				got, err := w.ask("shop." + domain)
				if err != nil || got.status != 200 {
					t.Errorf("a request was lost: %v %v", got, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	for i := range 40 {
		had := answered.Load()
		until(t, "requests go on", func() bool { return answered.Load() > had+10 || t.Failed() })
		old, now := versions[i%2], versions[(i+1)%2]
		put(now)
		w.Replicas(ref(old), nil)
	}
	close(stop)
	group.Wait()
	if asked.Load() != answered.Load() {
		t.Errorf("%d of %d were answered", answered.Load(), asked.Load())
	}
	for _, name := range versions {
		if n := w.InFlight(ref(name)); n != 0 {
			t.Errorf("%s still has %d", name, n)
		}
	}
}

func TestActivationAnswersEveryWaitingRequestOnce(t *testing.T) {
	const many = 200
	w := newWorld(t, nil)
	w.Put(shop(nil))
	var mu sync.Mutex
	served := map[string]int{}
	s := replica(t, func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		served[string(body)]++
		mu.Unlock()
		_, _ = rw.Write(body)
	})
	var group sync.WaitGroup
	for i := range many {
		group.Go(func() {
			text := fmt.Sprint(i)
			got, err := w.ask("shop."+domain, func(r *http.Request) {
				r.Method, r.Body, r.ContentLength = "POST", io.NopCloser(strings.NewReader(text)), int64(len(text))
			})
			if err != nil || got.status != 200 || got.body != text {
				t.Errorf("request %s: %v %v", text, got, err)
			}
		})
	}
	until(t, "all wait", func() bool { return w.Load(ref("shop--one")).Waiting == many })
	if l := w.Load(ref("shop--one")); l.InFlight != many || l.Total != many || l.Last.IsZero() {
		t.Errorf("the load is %+v", l)
	}
	if got := <-w.activated; got != ref("shop--one") {
		t.Errorf("%v was activated", got)
	}
	w.Replicas(ref("shop--one"), at(s))
	group.Wait()
	for text, n := range served {
		if n != 1 {
			t.Errorf("request %s arrived %d times", text, n)
		}
	}
	if len(served) != many {
		t.Errorf("%d requests arrived", len(served))
	}
	if l := w.Load(ref("shop--one")); l.InFlight != 0 || l.Waiting != 0 {
		t.Errorf("the load is %+v", l)
	}
}

// Each app has its own bound; that of all keeps many apps from holding more together.
func TestAllAppsTogetherQueueNoMoreThanTheNodeMayHold(t *testing.T) {
	w := newWorld(t, func(c *ingress.Config) { c.Queue, c.Waiting = 2, 3 })
	w.Put(shop(nil))
	w.Put(shop(func(a *ingress.App) {
		a.ID, a.Name = appID+"2", "other"
	}))
	first, second := ref("shop--one"), engine.Ref{App: appID + "2", Revision: "shop--one"}
	ctx, leave := context.WithCancel(context.Background())
	var group sync.WaitGroup
	defer group.Wait()
	defer leave()
	queue := func(host string, revision engine.Ref, n int) {
		for range n {
			group.Go(func() { _, _ = w.ask(host, func(r *http.Request) { *r = *r.WithContext(ctx) }) })
		}
		until(t, fmt.Sprint(n, " wait at ", host), func() bool { return w.Load(revision).Waiting == n })
	}
	queue("shop."+domain, first, 2)
	queue("other."+domain, second, 1)
	if got := w.get("other." + domain); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("got %v", got)
	}
	leave() // all places are free again
	group.Wait()
	until(t, "nobody waits", func() bool { return w.Load(first).Waiting+w.Load(second).Waiting == 0 })
	ctx, leave = context.WithCancel(context.Background())
	defer leave()
	queue("other."+domain, second, 2)
	queue("shop."+domain, first, 1)
}

func TestAFullQueueRefuses(t *testing.T) {
	w := newWorld(t, func(c *ingress.Config) { c.Queue = 3 })
	w.Put(shop(nil))
	ctx, leave := context.WithCancel(context.Background())
	var group sync.WaitGroup
	defer group.Wait()
	defer leave()
	queue := func(ctx context.Context) {
		group.Go(func() {
			if got, err := w.ask("shop."+domain, func(r *http.Request) { *r = *r.WithContext(ctx) }); err == nil && got.status != 200 {
				t.Errorf("one that waits got %v", got)
			}
		})
	}
	waiting := func(n int) {
		t.Helper()
		until(t, fmt.Sprint(n, " wait"), func() bool { return w.Load(ref("shop--one")).Waiting == n })
	}
	one, goAway := context.WithCancel(ctx)
	queue(one)
	queue(ctx)
	queue(ctx)
	waiting(3)
	got := w.get("shop." + domain)
	if got.status != 503 || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, "Too many requests") {
		t.Errorf("got %v", got)
	}
	goAway() // frees a place
	waiting(2)
	queue(ctx)
	waiting(3)
	w.Replicas(ref("shop--one"), at(replica(t, says("here"))))
	until(t, "nobody waits", func() bool { return w.Load(ref("shop--one")).InFlight == 0 })
}

func TestWaitingEnds(t *testing.T) {
	w := newWorld(t, func(c *ingress.Config) { c.Timeout = 50 * time.Millisecond })
	w.Put(shop(nil))
	if got := w.get("shop." + domain); got.status != 503 || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, "in time") {
		t.Errorf("got %v", got)
	}
	if l := w.Load(ref("shop--one")); l.InFlight != 0 || l.Waiting != 0 {
		t.Errorf("the load is %+v", l)
	}
}

func TestNobodyWaitsForWhatFailedOrIsGone(t *testing.T) {
	w := newWorld(t, nil)
	failed := func(a *ingress.App) { a.Revisions[0].Failed = true }
	for name, change := range map[string]func(){
		"fails":            func() { w.Put(shop(failed)) },
		"goes":             func() { w.Forget(appID) },
		"stops":            func() { w.Put(shop(func(a *ingress.App) { a.Revisions = nil })) },
		"gets no requests": func() { w.Put(shop(func(a *ingress.App) { a.Traffic = nil })) },
	} {
		w.Put(shop(nil))
		answer := make(chan reply, 1)
		go func() {
			got, err := w.ask("shop." + domain)
			if err != nil {
				t.Error(err)
			}
			answer <- got
		}()
		until(t, "it waits", func() bool { return w.Load(ref("shop--one")).Waiting == 1 })
		change()
		select {
		case got := <-answer:
			if got.status != 404 && got.status != 503 {
				t.Errorf("%s: got %v", name, got)
			}
		case <-time.After(long):
			t.Fatalf("%s: it still waits", name)
		}
	}
}

func TestWaitingRequestsFollowASwitch(t *testing.T) {
	w := newWorld(t, nil)
	w.Put(shop(nil))
	answer := make(chan reply, 1)
	go func() {
		got, err := w.ask("shop." + domain)
		if err != nil {
			t.Error(err)
		}
		answer <- got
	}()
	until(t, "it waits", func() bool { return w.Load(ref("shop--one")).Waiting == 1 })
	w.Put(shop(func(a *ingress.App) {
		a.Revisions, a.Traffic = []ingress.Revision{{Name: "shop--two"}}, []ingress.Share{{Revision: "shop--two", Weight: 100}}
	}))
	until(t, "it waits for the other", func() bool { return w.Load(ref("shop--two")).Waiting == 1 })
	w.Replicas(ref("shop--two"), at(replica(t, says("two"))))
	if got := <-answer; got.body != "two" {
		t.Errorf("got %v", got)
	}
	for _, name := range []string{"shop--one", "shop--two"} {
		if l := w.Load(ref(name)); l.InFlight != 0 || l.Waiting != 0 {
			t.Errorf("%s has %+v", name, l)
		}
	}
}
