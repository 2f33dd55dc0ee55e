package sites_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/sites"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/resource"
)

// meanwhile does something at the first read of a body.
type meanwhile struct {
	io.Reader
	do func()
}

func (m *meanwhile) Read(p []byte) (int, error) {
	if m.do != nil {
		m.do()
		m.do = nil
	}
	return m.Reader.Read(p)
}

// asking does something the first time an action is asked for.
type asking struct {
	arm.Authorizer
	action string
	do     func()
}

func (a *asking) Allow(ctx context.Context, r authz.Request) (authz.Decision, error) {
	if a.do != nil && strings.EqualFold(r.Action, a.action) {
		do := a.do
		a.do = nil
		do()
	}
	return a.Authorizer.Allow(ctx, r)
}

const assignAction = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"

func identityOf(t *testing.T, f *fixture) string {
	t.Helper()
	id, err := resource.Parse(siteAt)
	if err != nil {
		t.Fatal(err)
	}
	a, err := f.apps.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return string(a.Resource.Identity)
}

// Who may write an app but not assign identities could keep a request open and
// finish it once the identity is taken away.
func TestIdentityThatIsTakenAwayWhileABodyArrivesDoesNotComeBack(t *testing.T) {
	for name, body := range map[string]string{
		"type alone":        `{"identity":{"type":"UserAssigned"}}`,
		"both types":        `{"identity":{"type":"SystemAssigned, UserAssigned"}}`,
		"names it":          `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"` + identityAt + `":{}}}}`,
		"in capitals":       `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"` + strings.ToUpper(identityAt) + `":{}}}}`,
		"members twice":     `{"identity":{"type":"None"},"Identity":{"type":"UserAssigned","userAssignedIdentities":{"` + identityAt + `":{}}}}`,
		"entry null, again": `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"` + identityAt + `":null,"` + strings.ToUpper(identityAt) + `":{}}}}`,
	} {
		f, ids := withIdentities(t)
		makeIdentity(t, ids, identityAt)
		f.object("PATCH", siteAt, `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"`+identityAt+`":{}}}}`)
		arriving := &meanwhile{strings.NewReader(body), func() {
			f.object("PATCH", siteAt, `{"identity":{"type":"None"}}`)
			f.deny = assignAction
		}}
		r := httptest.NewRequestWithContext(t.Context(), "PATCH", "https://localhost:7443"+siteAt+"?api-version=2023-12-01", arriving)
		r.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		f.api.ServeHTTP(w, r)
		if stored := identityOf(t, f); strings.Contains(strings.ToLower(stored), strings.ToLower(identityAt)) {
			t.Errorf("%s: answers %d, and the app has %s", name, w.Code, stored)
		}
	}
}

func TestIdentityThatIsTakenAwayWhileAChangeIsDecidedDoesNotComeBack(t *testing.T) {
	for name, do := range map[string]func(f *fixture){
		"taken away":          func(f *fixture) { f.object("PATCH", siteAt, `{"identity":{"type":"None"}}`) },
		"the app is replaced": func(f *fixture) { f.want(http.StatusOK, "DELETE", siteAt, ""); f.create() },
	} {
		ids, ask := &later{}, &asking{action: "Microsoft.Web/serverfarms/join/action"}
		f := newFixture(t, func(c *sites.Config) {
			c.Identities, ask.Authorizer, c.Authorize = ids, c.Authorize, ask
		})
		var err error
		ids.Identities, err = managed.New(managed.Config{Inventory: f.inv, Directory: identity.New(f.inv.Store, f.clock), TenantID: "t"})
		if err != nil {
			t.Fatal(err)
		}
		f.create()
		makeIdentity(t, ids.Identities, identityAt)
		block := `"identity":{"type":"UserAssigned","userAssignedIdentities":{"` + identityAt + `":{}}}`
		f.object("PATCH", siteAt, "{"+block+"}")
		f.want(http.StatusOK, "PUT", webAt+"/serverfarms/other", `{"location":"local","sku":{"name":"Y1","tier":"Dynamic"}}`)
		ask.do = func() {
			do(f)
			f.deny = assignAction
		}
		f.want(http.StatusForbidden, "PUT", siteAt, `{"location":"local","properties":{"serverFarmId":"`+webAt+`/serverfarms/other"},`+block+`}`)
		if ask.do != nil {
			t.Errorf("%s: nobody was asked", name)
		}
		if stored := identityOf(t, f); strings.Contains(stored, identityAt) {
			t.Errorf("%s: the app has %s", name, stored)
		}
	}
}

// The ids of identities are stored by a second write.
func TestIdentityThatIsTakenAwayBeforeItsIDsAreStoredDoesNotComeBack(t *testing.T) {
	ids := &slowly{}
	f := newFixture(t, func(c *sites.Config) { c.Identities = ids })
	var err error
	ids.Identities, err = managed.New(managed.Config{Inventory: f.inv, Directory: identity.New(f.inv.Store, f.clock), TenantID: "t"})
	if err != nil {
		t.Fatal(err)
	}
	f.create()
	id, err := resource.Parse(siteAt)
	if err != nil {
		t.Fatal(err)
	}
	ids.after = func() {
		if _, err := f.apps.Patch(t.Context(), id, "another", app.Spec{Identity: json.RawMessage(`{"type":"None"}`)}); err != nil {
			t.Error(err)
		}
	}
	if site := f.object("PATCH", siteAt, `{"identity":{"type":"SystemAssigned"}}`); at(site, "identity") != nil {
		t.Errorf("answered %v", at(site, "identity"))
	}
	if stored := identityOf(t, f); strings.Contains(stored, "SystemAssigned") {
		t.Errorf("the app has %s", stored)
	}
}

// slowly is an identity service at whose end others are faster, once.
type slowly struct {
	*managed.Identities
	after func()
}

func (s *slowly) Ensure(ctx context.Context, id resource.ID, block json.RawMessage) (json.RawMessage, error) {
	made, err := s.Identities.Ensure(ctx, id, block)
	if do := s.after; do != nil {
		s.after = nil
		do()
	}
	return made, err
}
