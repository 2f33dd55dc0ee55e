package health_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/health"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/concern"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

const sub = "5ab5c1b0-0000-4000-8000-000000000000"

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// rights allow principals actions at apps: "app action".
type rights map[string][]string

func (r rights) Allow(_ context.Context, q authz.Request) (authz.Decision, error) {
	allowed := slices.ContainsFunc(r[q.Principal], func(one string) bool {
		app, action, _ := strings.Cut(one, " ")
		return (app == "*" || app == q.Scope.Name()) && (action == "*" || strings.EqualFold(action, q.Action))
	})
	return authz.Decision{Allowed: allowed}, nil
}

func entry(group, app string, list ...concern.Concern) *concern.Entry {
	e := &concern.Entry{Resource: resource.Group(sub, group).Child("Microsoft.Web", "sites", app), Counts: map[concern.Kind]int{}}
	for _, c := range list {
		c.Resource = e.Resource
		e.Counts[c.Kind]++
		c.Settle()
		e.Found = append(e.Found, c)
	}
	slices.SortFunc(e.Found, concern.Compare)
	return e
}

func serve(t *testing.T, r rights, known bool, entries ...*concern.Entry) http.Handler {
	t.Helper()
	p := health.New(health.Config{Concerns: func(context.Context) ([]*concern.Entry, bool, error) { return entries, known, nil }, Authorize: r})
	return serving(t, p, r)
}

func serving(t *testing.T, p *health.Provider, r rights) http.Handler {
	t.Helper()
	api, err := arm.New(arm.Config{
		Authenticate: func(_ context.Context, r *http.Request) (arm.Caller, error) {
			return arm.Caller{ObjectID: r.Header.Get("Authorization")}, nil
		},
		Authorize: r, SubscriptionID: sub, Clock: clock.NewManual(noon),
	}, p.Operations()...)
	if err != nil {
		t.Fatal(err)
	}
	return api
}

type answer struct {
	Value []struct {
		ID, Name, Type string
		Properties     struct{ Kind, App, Name, Node, Section, Why string }
	}
	NextLink     string
	TotalRecords int
	Counts       map[string]int
	Apps         int
	Complete     bool
	Error        struct{ Code, Message string }
}

// TestAStateThatCannotBeReadIsNoGoodNews: nobody is told that there is nothing to look
// at when that is not known.
func TestAStateThatCannotBeReadIsNoGoodNews(t *testing.T) {
	me := rights{"me": {"* *"}}
	p := health.New(health.Config{Concerns: func(context.Context) ([]*concern.Entry, bool, error) {
		return nil, false, problem.New(problem.Unavailable, "the state does not answer").WithNext("ask again")
	}, Authorize: me})
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "https://localhost/subscriptions/"+sub+"/providers/Latchkey.Health/concerns?api-version=2026-01-01", nil)
	r.Header.Set("Authorization", "me")
	serving(t, p, me).ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func get(t *testing.T, h http.Handler, as, path string) (a answer) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "https://localhost"+path, nil)
	r.Header.Set("Authorization", as)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return a
}

const concerns = "/providers/Latchkey.Health/concerns?api-version=2026-01-01"

func names(a answer) (list []string) {
	for _, v := range a.Value {
		list = append(list, v.Properties.App+" "+v.Properties.Kind+" "+v.Properties.Name)
	}
	return list
}

func fixture(t *testing.T) http.Handler {
	return serve(t, rights{
		"owner": {"* *"}, "reader of shop": {"shop Microsoft.Web/sites/read"},
		"configurer": {"* Microsoft.Web/sites/config/read"}, "keeper": {"orders microsoft.web/SITES/host/keymetadata/read", "orders Microsoft.Web/sites/functions/keymetadata/read"},
		"keeper of hosts": {"* Microsoft.Web/sites/host/keymetadata/read"}, "keeper of functions": {"* Microsoft.Web/sites/functions/keymetadata/read"},
	}, true,
		entry("one", "orders", concern.Concern{Kind: concern.KeyEnds, Name: "late", KeyKind: "host", At: noon.Add(48 * time.Hour)},
			concern.Concern{Kind: concern.KeyEnds, Name: "early", KeyKind: "host", At: noon.Add(time.Hour)},
			concern.Concern{Kind: concern.ReferenceFails, Name: "DB", Section: "appsettings", Why: "there is no vault"}),
		entry("two", "shop", concern.Concern{Kind: concern.AppFails, Section: "node-1", Why: "host.json"}))
}

func TestACallerSeesWhatTheyMayKnowOf(t *testing.T) {
	api := fixture(t)
	for who, want := range map[string][]string{
		"owner":          {"shop appFails ", "orders referenceFails DB", "orders keyEnds early", "orders keyEnds late"},
		"reader of shop": {"shop appFails "},
		"configurer":     {"orders referenceFails DB"},
		"keeper":         {"orders keyEnds early", "orders keyEnds late"},
		"nobody":         nil,

		"keeper of hosts": nil, "keeper of functions": nil, // the keys of the other are among them
	} {
		got := get(t, api, who, "/subscriptions/"+sub+concerns)
		if diff := cmp.Diff(want, names(got)); diff != "" || got.TotalRecords != len(want) || !got.Complete {
			t.Errorf("%s: %d, %s", who, got.TotalRecords, diff)
		}
	}
	whole := get(t, api, "owner", "/subscriptions/"+sub+concerns)
	if first := whole.Value[0]; first.Properties.Node != "node-1" || first.Properties.Section != "" || first.Type != "Latchkey.Health/concerns" ||
		!strings.HasSuffix(first.ID, "/sites/shop/providers/Latchkey.Health/concerns/appFails:node-1") {
		t.Errorf("%+v", first)
	}
	if diff := cmp.Diff(map[string]int{"appFails": 1, "referenceFails": 1, "keyEnds": 2}, whole.Counts); diff != "" || whole.Apps != 2 {
		t.Errorf("%d apps, %s", whole.Apps, diff)
	}
}

// TestWhereKeysAreIsForThoseWhoMayKnow: why a store cannot be read names it.
func TestWhereKeysAreIsForThoseWhoMayKnow(t *testing.T) {
	api := serve(t, rights{"reader": {"orders Microsoft.Web/sites/read"}, "keeper": {"orders Microsoft.Web/sites/host/keymetadata/read"}}, true,
		entry("one", "orders", concern.Concern{Kind: concern.KeysUnreadable, Why: "https://secret-place.example/ does not answer"}))
	for who, want := range map[string]int{"reader": 0, "keeper": 1} {
		if got := get(t, api, who, "/subscriptions/"+sub+concerns); got.TotalRecords != want || len(got.Value) != want {
			t.Errorf("%s sees %+v", who, got.Value)
		}
	}
}

func TestAScopeIsAskedForWhatIsInIt(t *testing.T) {
	api := fixture(t)
	group := "/subscriptions/" + sub + "/resourceGroups/"
	for path, want := range map[string]int{
		"": 4, group + "one": 3, group + "two": 1, group + "none": 0, group + "two/providers/Microsoft.Web/sites/SHOP": 1, group + "one/providers/Microsoft.Web/sites/shop": 0,
	} {
		if got := get(t, api, "owner", path+concerns); got.TotalRecords != want || len(got.Value) != want {
			t.Errorf("%s: %d %v", path, got.TotalRecords, names(got))
		}
	}
	for kind, want := range map[string]int{"keyEnds": 2, "KEYENDS,appFails": 3, "keyEnded": 0} {
		if got := get(t, api, "owner", concerns+"&kind="+kind); got.TotalRecords != want || len(got.Value) != want {
			t.Errorf("%s: %d", kind, got.TotalRecords)
		}
	}
	if got := get(t, api, "owner", concerns+"&kind=other"); got.Error.Code != "InvalidFilter" {
		t.Errorf("%+v", got.Error)
	}
}

func TestPagesHaveEachConcernOnce(t *testing.T) {
	var entries []*concern.Entry
	for i := range 30 {
		app := fmt.Sprint("app", i)
		entries = append(entries, entry("rg", app, concern.Concern{Kind: concern.KeyEnds, Name: "k", At: noon.Add(time.Duration(i%3) * time.Hour)}, concern.Concern{Kind: concern.ReferenceStale, Name: "S"}))
	}
	api := serve(t, rights{"me": {"* *"}}, false, entries...)
	seen := map[string]bool{}
	path, pages := concerns+"&$top=7", 0
	for path != "" {
		got := get(t, api, "me", path)
		if got.TotalRecords != 60 || got.Complete || len(got.Value) > 7 {
			t.Fatalf("%d, %d of %d", pages, len(got.Value), got.TotalRecords)
		}
		for _, v := range got.Value {
			if seen[v.ID] {
				t.Errorf("twice: %s", v.ID)
			}
			seen[v.ID] = true
		}
		path = ""
		if pages++; got.NextLink != "" {
			next, err := url.Parse(got.NextLink)
			if err != nil {
				t.Fatal(err)
			}
			path = next.RequestURI()
		}
	}
	if len(seen) != 60 || pages != 9 {
		t.Errorf("%d concerns on %d pages", len(seen), pages)
	}
}

func BenchmarkList(b *testing.B) {
	var entries []*concern.Entry
	for i := range 2000 {
		var list []concern.Concern
		for j := range concern.Kept {
			list = append(list, concern.Concern{Kind: concern.KeyEnds, Name: fmt.Sprint("k", j), At: noon.Add(time.Duration(i+j) * time.Minute)})
		}
		entries = append(entries, entry("rg", fmt.Sprintf("app%05d", i), list...))
	}
	p := health.New(health.Config{Concerns: func(context.Context) ([]*concern.Entry, bool, error) { return entries, true, nil }, Authorize: rights{"me": {"* *"}}})
	api, err := arm.New(arm.Config{
		Authenticate: func(context.Context, *http.Request) (arm.Caller, error) { return arm.Caller{ObjectID: "me"}, nil },
		Authorize:    rights{"me": {"* *"}}, SubscriptionID: sub, Clock: clock.NewManual(noon),
	}, p.Operations()...)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(b.Context(), "GET", "https://localhost"+concerns+"&$top=20", nil)
		r.Header.Set("Authorization", "me")
		api.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
}
