package witness

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// step is one request of a client's sequence and what the client takes for an
// answer. Any other status ends the client's command with an error, or makes it
// try again for minutes.
type step struct {
	method string
	path   string // with {names} of [replay].names
	body   string
	accept string // the statuses, such as "200|202"
	// reads are the members that the client reads: "a.b" must be there and not be
	// null, "!a.b" must be null or absent, "a.b=c" must have the value c.
	reads []string
}

// replay sends what a client sends, word for word.
type replay struct {
	*caller
	version string // added to paths that name none
	header  http.Header
	names   *strings.Replacer
	// also is checked of every answer.
	also func(s step, a answer) error
}

func (r replay) run(t *testing.T, steps ...step) {
	t.Helper()
	for _, s := range steps {
		if err := r.one(t, s); err != nil {
			t.Fatal(err)
		}
	}
}

// together sends requests at the same time.
func (r replay) together(t *testing.T, steps ...step) {
	t.Helper()
	r.token(t) // so that none of them is the one that signs in
	var all sync.WaitGroup
	for _, s := range steps {
		all.Go(func() {
			if err := r.one(t, s); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func (r replay) one(t testing.TB, s step) error {
	path := r.names.Replace(s.path)
	if !strings.Contains(path, "api-version=") && strings.HasPrefix(path, "/") {
		mark := "?"
		if strings.Contains(path, "?") {
			mark = "&"
		}
		path += mark + "api-version=" + r.version
	}
	header := r.header
	if strings.HasPrefix(path, "https:") && s.body != "" && header.Get("Content-Type") == "" {
		header = header.Clone()
		header.Set("Content-Type", "application/octet-stream")
	}
	a := r.send(t, request{method: s.method, path: path, body: r.names.Replace(s.body), header: header})
	what := s.method + " " + path
	if !slices.Contains(strings.Split(s.accept, "|"), fmt.Sprint(a.status)) {
		return fmt.Errorf("%s: the client takes %s, not %s", what, s.accept, a)
	}
	if r.also != nil {
		if err := r.also(s, a); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	for _, read := range s.reads {
		if err := a.has(r.names.Replace(read)); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// has checks a member of the body, as [step].reads says.
func (a answer) has(read string) error {
	name, want, valued := strings.Cut(read, "=")
	name, absent := strings.CutPrefix(name, "!")
	got := a.at(name)
	switch {
	case absent && got != nil:
		return fmt.Errorf("%s must not be there, and is %v", name, got)
	case !absent && got == nil:
		return fmt.Errorf("%s is not there in %s", name, a)
	case valued && fmt.Sprint(got) != want:
		return fmt.Errorf("%s is %v, not %s", name, got, want)
	}
	return nil
}

// replaying makes the sequences of a client about an app in a group.
func replaying(c *caller, version, group, app string, header http.Header) replay {
	return replay{caller: c, version: version, header: header, names: strings.NewReplacer(
		"{sub}", c.subscription(), "{subid}", c.cred.SubscriptionID, "{rg}", c.group(group), "{group}", group, "{app}", app,
		"{site}", c.site(group, app), "{web}", c.group(group)+"/providers/Microsoft.Web",
		"{scm}", strings.Replace(c.p.Management, "://", "://"+app+".scm.", 1),
	)}
}

func TestClientsThatCannotRunHereAreReplayed(t *testing.T) {
	p := up(t, t.TempDir(), "--metrics-address", "")
	c := p.owner(t)
	t.Run("azurerm", func(t *testing.T) { azurerm(t, c) })
	t.Run("azurerm with vaults", func(t *testing.T) { azurermVault(t, c) })
	t.Run("core tools", func(t *testing.T) { coreTools(t, c) })
	t.Run("az", func(t *testing.T) { az(t, c) })
}

// zip is a package with the function f.
func zip(t *testing.T) string {
	return string(platformtest.Package(t, []string{"f"}, nil))
}
