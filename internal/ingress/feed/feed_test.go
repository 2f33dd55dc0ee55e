package feed_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/ingress"
	"github.com/latchkey/latchkey/internal/ingress/feed"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

const domain = "env.localhost"

// shop is an app with revisions one, which was ready, and two, which was not yet.
func shop(t *testing.T, change func(*containerapp.App)) (containerapp.App, []containerapp.Revision) {
	t.Helper()
	id, err := resource.Parse("/subscriptions/s/resourceGroups/rg/providers/Microsoft.App/containerApps/Shop")
	if err != nil {
		t.Fatal(err)
	}
	a := containerapp.App{ID: id, Name: "Shop", UID: "first", Latest: "Shop--two", LatestReady: "Shop--one"}
	a.Properties.Configuration = &containerapp.Configuration{Ingress: &containerapp.Ingress{
		External: true, TargetPort: 8080, Transport: "auto", Traffic: []containerapp.Traffic{{LatestRevision: true, Weight: 100, Label: "new"}},
	}}
	if change != nil {
		change(&a)
	}
	return a, []containerapp.Revision{
		{Name: "Shop--zero"},
		{Name: "Shop--one", Active: true},
		{Name: "Shop--two", Active: true, Status: containerapp.Status{Provisioning: containerapp.Failed}},
	}
}

func TestAppsAreSeenAsTheirCallersMeetThem(t *testing.T) {
	ingressOf := func(change func(*containerapp.Ingress)) func(*containerapp.App) {
		return func(a *containerapp.App) { change(a.Properties.Configuration.Ingress) }
	}
	usual := func(change func(*ingress.App)) ingress.App {
		v := ingress.App{
			ID: "/subscriptions/s/resourceGroups/rg/providers/Microsoft.App/containerApps/Shop", Name: "Shop", Domain: domain, External: true,
			Port: 8080, Transport: "auto", Traffic: []ingress.Share{{Revision: "Shop--one", Weight: 100, Label: "new"}},
			Revisions: []ingress.Revision{{Name: "Shop--one"}, {Name: "Shop--two", Failed: true}},
		}
		if change != nil {
			change(&v)
		}
		return v
	}
	for name, tt := range map[string]struct {
		change func(*containerapp.App)
		want   ingress.App
		absent bool
		wrong  bool
	}{
		"the latest that was ready": {want: usual(nil)},
		"none was ready": {
			change: func(a *containerapp.App) { a.LatestReady = "" },
			want:   usual(func(v *ingress.App) { v.Traffic[0].Revision = "Shop--two" }),
		},
		"stopped": {
			change: func(a *containerapp.App) { a.Stopped = true },
			want:   usual(func(v *ingress.App) { v.Revisions, v.Traffic[0].Revision = nil, "Shop--two" }),
		},
		"being deleted":   {change: func(a *containerapp.App) { a.Deleting = true }, absent: true},
		"without ingress": {change: func(a *containerapp.App) { a.Properties.Configuration.Ingress = nil }, absent: true},
		"weights": {
			change: ingressOf(func(g *containerapp.Ingress) {
				g.Traffic = []containerapp.Traffic{{RevisionName: "Shop--one", Weight: 90}, {RevisionName: "Shop--two", Weight: 10, Label: "next"}}
			}),
			want: usual(func(v *ingress.App) {
				v.Traffic = []ingress.Share{{Revision: "Shop--one", Weight: 90}, {Revision: "Shop--two", Weight: 10, Label: "next"}}
			}),
		},
		"all the rest": {
			change: ingressOf(func(g *containerapp.Ingress) {
				g.External, g.AllowInsecure, g.Transport, g.TargetScheme = false, true, "http2", "HTTPS"
				g.StickySessions = &containerapp.StickySessions{Affinity: "Sticky"}
				g.CustomDomains = json.RawMessage(`[{"name":"www.example","bindingType":"Disabled"}]`)
				g.AdditionalPorts = json.RawMessage(`[{"targetPort":6379,"external":true},{"targetPort":1,"exposedPort":2}]`)
			}),
			want: usual(func(v *ingress.App) {
				v.External, v.AllowInsecure, v.Transport, v.TLS, v.Sticky = false, true, "http2", true, true
				v.CustomDomains = []string{"www.example"}
				v.Ports = []ingress.TCPPort{{Exposed: 6379, Target: 6379}, {Exposed: 2, Target: 1}}
			}),
		},
		"tcp": {
			change: ingressOf(func(g *containerapp.Ingress) { g.Transport, g.ExposedPort = "tcp", 5000 }),
			want: usual(func(v *ingress.App) {
				v.Transport, v.Ports = "tcp", []ingress.TCPPort{{Exposed: 5000, Target: 8080, External: true}}
			}),
		},
		"restrictions that are not understood": {
			change: ingressOf(func(g *containerapp.Ingress) { g.IPRestrictions = json.RawMessage(`[{"action":"Allow"}]`) }),
			want:   usual(func(v *ingress.App) { v.Closed = true }), wrong: true,
		},
		"ports that are not understood": {
			change: ingressOf(func(g *containerapp.Ingress) { g.AdditionalPorts = json.RawMessage(`[{"targetPort":0}]`) }),
			want:   usual(func(v *ingress.App) { v.Closed = true }), wrong: true,
		},
	} {
		a, revisions := shop(t, tt.change)
		got, ok, err := feed.View(a, revisions, domain)
		if ok == tt.absent || (err != nil) != tt.wrong {
			t.Errorf("%s: got %v %v", name, ok, err)
		}
		if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(ingress.App{}, "Policy")); diff != "" && !tt.absent {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// platform is what a feed asks.
type platform struct {
	mu       sync.Mutex
	domain   error
	statuses map[string]engine.Status
	observe  error
}

func (p *platform) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *platform) Domain(context.Context, containerapp.App) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return domain, p.domain
}

func (p *platform) Observe(_ context.Context, ref engine.Ref) (engine.Status, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.statuses[ref.Revision]
	if !ok && p.observe == nil {
		return s, problem.New(problem.NotFound, "it is not placed")
	}
	return s, p.observe
}

func running(addr string, ready bool) engine.Status {
	return engine.Status{Replicas: []engine.Replica{
		{Name: "r0", State: engine.ReplicaRunning, Ready: ready, Addresses: map[int]string{8080: addr}},
		{Name: "r1", State: engine.ReplicaTerminating, Ready: true, Addresses: map[int]string{8080: "127.0.0.1:1"}},
	}}
}

func TestTheIngressFollows(t *testing.T) {
	in := ingress.New(ingress.Config{Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler), Timeout: 20 * time.Millisecond})
	t.Cleanup(in.Close)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") }))
	t.Cleanup(s.Close)
	addr := s.Listener.Addr().String()
	p := &platform{statuses: map[string]engine.Status{}, domain: problem.New(problem.Unavailable, "not now")}
	f := feed.New(feed.Config{Ingress: in, Domain: p.Domain, Observe: p.Observe, Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); f.Run(ctx) }()
	defer func() { stop(); <-ended }()
	status := func(host string) int {
		r := httptest.NewRequest("GET", "http://"+host+"/", nil)
		w := httptest.NewRecorder()
		in.ServeHTTP(w, r)
		return w.Code
	}
	becomes := func(host string, want int) {
		t.Helper()
		for end := time.Now().Add(time.Minute); status(host) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: got %d, never %d", host, status(host), want)
			}
		}
	}
	a, revisions := shop(t, nil)
	f.Seen(a, revisions)
	becomes("shop.env.localhost", 404)
	p.change(func() { p.domain = nil })
	becomes("shop.env.localhost", 503) // it waits for a replica
	p.change(func() { p.statuses["shop--one"] = running(addr, false) })
	f.Changed(engine.Ref{App: a.ID.String(), Revision: "Shop--one"})
	becomes("shop.env.localhost", 503)
	p.change(func() { p.statuses["shop--one"] = running(addr, true) })
	f.Changed(engine.Ref{App: a.ID.String(), Revision: "Shop--one"})
	becomes("shop.env.localhost", 200)
	p.change(func() { p.observe = problem.New(problem.Unavailable, "the engine is away") })
	f.Changed(engine.Ref{App: a.ID.String(), Revision: "Shop--one"})
	becomes("shop---new.env.localhost", 200)
	p.change(func() { p.observe = nil })

	a.LatestReady = "Shop--two"
	p.change(func() { p.statuses["shop--two"] = running(addr, true) })
	f.Changed(engine.Ref{App: a.ID.String(), Revision: "Shop--two"})
	becomes("shop--two.env.localhost", 200)
	f.Seen(a, revisions[2:])
	if got := status("shop--one.env.localhost"); got != 404 {
		t.Errorf("a revision that ended is served at once after it was seen to: %d", got)
	}
	becomes("shop.env.localhost", 200)
	p.change(func() { delete(p.statuses, "shop--two") })
	f.Changed(engine.Ref{App: a.ID.String(), Revision: "Shop--two"})
	becomes("shop.env.localhost", 503)
	f.Gone(a.ID.String())
	if got := status("shop.env.localhost"); got != 404 {
		t.Errorf("an app that is gone: %d", got)
	}
	f.Seen(a, revisions)
	becomes("shop.env.localhost", 503)
	stop()
	<-ended
	if got := status("shop.env.localhost"); got != 404 {
		t.Errorf("after the feed ended: %d", got)
	}
}
