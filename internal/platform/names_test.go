package platform

import "testing"

func TestHostNamesTellWhoIsMeant(t *testing.T) {
	n := names{domain: "localhost", functions: 7071, management: 7443}
	for host, want := range map[string]struct {
		kind hostKind
		app  string
	}{
		"localhost":                {hostOther, ""},
		"localhost:7443":           {hostOther, ""},
		"127.0.0.1:7443":           {hostOther, ""},
		"[::1]:7443":               {hostOther, ""},
		"orders.localhost":         {hostApp, "orders"},
		"Orders.LOCALHOST:7071":    {hostApp, "orders"},
		"orders.localhost.":        {hostApp, "orders"},
		"orders.scm.localhost":     {hostSCM, "orders"},
		"orders.scm.localhost:7":   {hostSCM, "orders"},
		"kv.vault.localhost:7443":  {hostVault, "kv"},
		"a.b.vault.localhost":      {hostOther, ""},
		"scm.localhost":            {hostApp, "scm"}, // a name that no app can have
		".localhost":               {hostOther, ""},
		".scm.localhost":           {hostOther, ""},
		"a.b.localhost":            {hostOther, ""},
		"a.b.scm.localhost":        {hostOther, ""},
		"orderslocalhost":          {hostOther, ""},
		"orders.localhost.example": {hostOther, ""},
		"":                         {hostOther, ""},
	} {
		kind, app := n.kindOf(host)
		if kind != want.kind || app != want.app {
			t.Errorf("%q: got %d %q, want %d %q", host, kind, app, want.kind, want.app)
		}
	}
}

func TestTheAuthorityVouchesForOwnHostsOnly(t *testing.T) {
	n := names{domain: "apps.example.org"}
	for host, want := range map[string]bool{
		"apps.example.org": true, "orders.apps.example.org": true, "orders.scm.apps.example.org": true, "kv.vault.apps.example.org": true,
		"127.0.0.1": true, "::1": true, "10.0.0.1": false, "example.org": false, "evilapps.example.org": false, "": false,
		"a.b.c.d.e.apps.example.org": false,
	} {
		if got := n.vouches(host); got != want {
			t.Errorf("%q: got %v", host, got)
		}
	}
}
