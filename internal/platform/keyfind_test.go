package platform_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// TestTheOwnersOfAKeyAreFound looks for values over apps that run and that never ran,
// as the owner and as somebody who may do so in one app only.
func TestTheOwnersOfAKeyAreFound(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	for _, name := range []string{"orders", "quiet"} {
		p.CreateApp(t, name, platformtest.Upstream(t, saying("hello")))
		p.Deploy(t, name, platformtest.Package(t, []string{"Hello"}, nil))
	}
	p.Do(t, http.MethodPost, p.Site("quiet")+"/stop", nil, nil)
	master, host := p.HostKeys(t, "quiet")
	var function map[string]string
	p.Do(t, http.MethodPost, p.Site("orders")+"/functions/Hello/listkeys", nil, &function)
	find := p.Subscription() + "/providers/Latchkey.Keys/find"
	for _, tt := range []struct{ name, at, value, want string }{
		{"a master key of an app that is stopped", find, master, "quiet master  _master"},
		{"a host key without its padding", find, strings.TrimRight(host, "="), "quiet host  default"},
		{"a function key in an address, in its app", p.Site("orders") + "/host/default/findkey", "https://x.example/api/Hello?code=" + strings.ReplaceAll(function["default"], "=", "%3D"), "orders function Hello default"},
		{"a key of another app", p.Site("orders") + "/host/default/findkey", host, ""},
		{"nobody's", find, "nobody's", ""},
	} {
		if got := foundKeys(t, p.Client, tt.at, tt.value); got != tt.want {
			t.Errorf("%s: found %q, want %q", tt.name, got, tt.want)
		}
	}
	if err := p.Client.Do(t.Context(), http.MethodPost, find, object{"value": " "}, nil); problem.KindOf(err) != problem.Invalid {
		t.Errorf("without a value: %v", err)
	}

	_, cred := principal(t, p, contributorRole, p.Site("orders"))
	one := as(t, p, cred)
	if err := one.Do(t.Context(), http.MethodPost, find, object{"value": host}, nil); problem.KindOf(err) != problem.Denied {
		t.Errorf("somebody with a role at one app looks at all: %v", err)
	}
	if err := one.Do(t.Context(), http.MethodPost, p.Site("quiet")+"/host/default/findkey", object{"value": host}, nil); problem.KindOf(err) != problem.Denied {
		t.Errorf("somebody without a role looks for a key: %v", err)
	}
	if got := foundKeys(t, one, p.Site("orders")+"/host/default/findkey", function["default"]); got != "orders function Hello default" {
		t.Errorf("somebody with a role at the app found %q", got)
	}
	_, cred = principal(t, p, readerRole, "")
	reader := as(t, p, cred)
	if err := reader.Do(t.Context(), http.MethodPost, find, object{"value": host}, nil); problem.KindOf(err) != problem.Denied {
		t.Errorf("a reader looks for keys: %v", err)
	}
}

func foundKeys(t *testing.T, c *armclient.Client, at, value string) string {
	t.Helper()
	var found struct {
		Value []struct{ App, Kind, Function, Name string }
		Apps  int
	}
	if err := c.Do(t.Context(), http.MethodPost, at, object{"value": value}, &found); err != nil {
		t.Fatal(err)
	}
	if found.Apps == 0 {
		t.Error("no app was looked at")
	}
	var list []string
	for _, k := range found.Value {
		list = append(list, fmt.Sprint(k.App[strings.LastIndex(k.App, "/")+1:], " ", k.Kind, " ", k.Function, " ", k.Name))
	}
	return strings.Join(list, ", ")
}
