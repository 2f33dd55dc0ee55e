package keyvault_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/testkit/localvault"
)

func TestOddHostKeysAreSecretsOfThreeShapes(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	d := keystore.Document{Keys: accesskey.Set{
		Master: accesskey.Key{Name: "master", Value: "m"},
		Keys:   []accesskey.Key{{Name: "Te-st!{rty", Value: "f"}},
		System: []accesskey.Key{{Name: "Te--st!{rt*(y)(ty--", Value: "s"}},
	}}
	s := p.open()
	put(t, s, keystore.HostDoc, d)
	for name, value := range map[string]string{
		"host--masterKey--master": "m", "host--functionKey--Te-045st-033-123rty": "f",
		"host--systemKey--Te-045-045st-033-123rt-042-040y-041-040ty-045-045": "s",
	} {
		if got := p.get(name); *got.Value != value {
			t.Errorf("%s is not the key it should be", name)
		}
	}
	if n := len(p.names()); n != 3 {
		t.Errorf("%d secrets: %v", n, p.names())
	}
	want(t, s, keystore.HostDoc, d)
}

// TestSecretsAreFoundWhateverTheCaseOfTheirNames: a vault ignores case, and lists
// the spelling of whoever wrote first.
func TestSecretsAreFoundWhateverTheCaseOfTheirNames(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	p.set("HOST--masterkey--MASTER", "m")
	p.set("Host--FUNCTIONKEY--default", "h")
	p.set("host--SystemKey--eventgrid-095Extension", "s")
	p.set("FUNCTION--Orders--default", "f")
	s := p.open()
	want(t, s, keystore.HostDoc, keystore.Document{Keys: accesskey.Set{
		Master: accesskey.Key{Name: "master", Value: "m"},
		Keys:   []accesskey.Key{{Name: "default", Value: "h"}}, System: []accesskey.Key{{Name: "eventgrid_Extension", Value: "s"}},
	}})
	want(t, s, "orders", keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{{Name: "default", Value: "f"}}}})
}

// writes counts the PUT and DELETE requests for secrets that are keys.
func (p *place) writes() func() map[string]int {
	var mu sync.Mutex
	seen := map[string]int{}
	p.wire.set(func(r *http.Request) (*http.Response, error) {
		name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/secrets/"), "/")
		if key := strings.HasPrefix(name, "host--") || strings.HasPrefix(name, "function--"); key && (r.Method == http.MethodPut || r.Method == http.MethodDelete) {
			mu.Lock()
			seen[r.Method+" "+name]++
			mu.Unlock()
		}
		return nil, nil
	})
	return func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		out := seen
		seen = map[string]int{}
		return out
	}
}

func TestAWriteSetsEachKeyOnceAndDeletesNoneThatIsWanted(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	counted := p.writes()
	put(t, s, keystore.HostDoc, keystoretest.Host("1"))
	once := map[string]int{
		"PUT host--masterKey--master": 1, "PUT host--functionKey--default": 1, "PUT host--systemKey--eventgrid-095extension": 1,
	}
	if diff := cmp.Diff(once, counted()); diff != "" {
		t.Errorf("the first write: %s", diff)
	}
	if _, _, err := s.Update(t.Context(), keystore.HostDoc, addKey("more", "v")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"PUT host--functionKey--more": 1}, counted()); diff != "" {
		t.Errorf("a key more: %s", diff)
	}
	put(t, s, keystore.HostDoc, keystoretest.Host("1"))
	if diff := cmp.Diff(map[string]int{"DELETE host--functionKey--more": 1}, counted()); diff != "" {
		t.Errorf("a key less: %s", diff)
	}
	want(t, s, keystore.HostDoc, keystoretest.Host("1"))
}

func TestKeysOverManyPagesAreAllFound(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	var orders keystore.Document
	for i := range 36 { // a vault's page has 25 secrets at most
		p.set(fmt.Sprintf("aaa-noise-%02d", i), "no key")
		p.set(fmt.Sprintf("function--orders--k%02d", i), fmt.Sprint("v", i))
		p.set(fmt.Sprintf("function--orders2--k%02d", i), "another function's")
		orders.Keys.Keys = append(orders.Keys.Keys, accesskey.Key{Name: fmt.Sprintf("k%02d", i), Value: fmt.Sprint("v", i)})
	}
	p.set("host--masterKey--master", "m") // on the last pages, after the others
	s := p.open()
	want(t, s, "orders", orders)
	want(t, s, keystore.HostDoc, keystore.Document{Keys: accesskey.Set{Master: accesskey.Key{Name: "master", Value: "m"}}})
	if docs, err := s.List(t.Context()); err != nil || fmt.Sprint(docs) != "[host orders orders2]" {
		t.Errorf("documents %v, %v", docs, err)
	}
}
