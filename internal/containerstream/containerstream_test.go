package containerstream

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/resource"
)

const app = "/subscriptions/S/resourceGroups/G/containerApps/A"

func TestPathsOfStreamsAreTold(t *testing.T) {
	for path, want := range map[string]string{
		app + "/eventstream": KindEvents,
		app + "/revisions/R/replicas/P/containers/C/logstream":             KindLogs,
		strings.ToLower(app) + "/revisions/R/replicas/P/containers/C/EXEC": KindExec,
		app: "", app + "/revisions/R/replicas/P/containers/C": "", app + "/revisions/R/replicas//containers/C/exec": "",
		app + "/x/eventstream": "", "/subscriptions/S/resourceGroups/G/providers/Microsoft.App/containerApps/A": "", "": "", "/eventstream": "",
	} {
		p, ok := parse(path)
		if got := p.kind; ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v; want %q", path, got, ok, want)
		}
	}
	p, _ := parse(app + "/revisions/R/replicas/P/containers/C/exec")
	if p.revision != "R" || p.replica != "P" || p.container != "C" || p.app != "A" || p.group != "G" || p.subscription != "S" {
		t.Errorf("%+v", p)
	}
}

func FuzzPathsOfStreams(f *testing.F) {
	f.Add(app + "/revisions/R/replicas/P/containers/C/exec")
	f.Fuzz(func(t *testing.T, path string) {
		if p, ok := parse(path); ok && (p.app == "" || p.subscription == "" || p.kind != KindEvents && p.container == "") {
			t.Errorf("%q: %+v", path, p)
		}
	})
}

func TestCommandsAreSplitAsAShellDoes(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil, "sh": {"sh"}, "  ls  -l /tmp ": {"ls", "-l", "/tmp"}, `sh -c "echo 'a b'"`: {"sh", "-c", "echo 'a b'"},
		`a '' b`: {"a", "", "b"}, `a\ b`: {"a b"}, `'a\b'`: {`a\b`},
	} {
		if got, err := words(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{`"a`, `'`, `a\`} {
		if got, err := words(text); err == nil {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func FuzzWords(f *testing.F) {
	f.Add(`sh -c "echo 'a b'"`)
	f.Fuzz(func(t *testing.T, text string) { _, _ = words(text) })
}

func TestTokensAreForOneLifeOfOneAppAndEnd(t *testing.T) {
	c := clock.NewManual(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	tokens, err := NewTokens([]byte(strings.Repeat("k", 32)), c)
	if err != nil {
		t.Fatal(err)
	}
	id, err := resource.Parse("/subscriptions/5ab5c1b0-0000-4000-8000-000000000000/resourceGroups/g/providers/Microsoft.App/containerApps/a")
	if err != nil {
		t.Fatal(err)
	}
	token, expires, err := tokens.Issue(containerapp.App{ID: id, UID: "one"}, "me")
	if err != nil || !expires.Equal(c.Now().Add(TokenLife)) {
		t.Fatal(expires, err)
	}
	got, err := tokens.check(token)
	if err != nil || got.App != id.String() || got.UID != "one" || got.Principal != "me" {
		t.Errorf("%+v, %v", got, err)
	}
	other, err := NewTokens([]byte(strings.Repeat("o", 32)), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.check(token); err == nil {
		t.Error("a token of another key is good")
	}
	for i := range token {
		wrong := []byte(token)
		if wrong[i]++; string(wrong) == token {
			continue
		}
		if _, err := tokens.check(string(wrong)); err == nil {
			t.Errorf("good with another character at %d", i)
		}
	}
	c.Advance(TokenLife)
	if _, err := tokens.check(token); err == nil {
		t.Error("a token is good after its end")
	}
	if _, err := NewTokens(nil, c); err == nil {
		t.Error("a key of no length is taken")
	}
}

func TestWishesAreChecked(t *testing.T) {
	for query, want := range map[string]wish{
		"": {tail: -1}, "follow=true&tailLines=20&output=json": {true, true, 20}, "follow&output=text": {follow: true, tail: -1}, "tailLines=0&output=None": {},
	} {
		q, _ := url.ParseQuery(query)
		if got, err := readWish(q); err != nil || got != want {
			t.Errorf("%q: %+v, %v", query, got, err)
		}
	}
	for _, query := range []string{"follow=perhaps", "tailLines=301", "tailLines=-1", "tailLines=x", "output=xml"} {
		q, _ := url.ParseQuery(query)
		if got, err := readWish(q); err == nil {
			t.Errorf("%q: %+v", query, got)
		}
	}
}
