package sites_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/sites"
	"github.com/latchkey/latchkey/internal/keyref"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
)

const references = siteAt + "/config/configreferences/appsettings"

// resolver is a service that knows how references went.
type resolver struct {
	refreshed int
	list      []reference.Report
	err       error
}

func (r *resolver) Report(_ context.Context, _ app.App, s app.Section) (list []reference.Report, err error) {
	for _, rep := range r.list {
		if rep.Section == s {
			list = append(list, rep)
		}
	}
	return list, nil
}

func (r *resolver) Refresh(context.Context, app.App) error {
	r.refreshed++
	return r.err
}

// withReferences is an app with a good reference, one that went stale and a
// connection string that never resolved.
func withReferences(t *testing.T) (*fixture, *resolver) {
	t.Helper()
	since := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	own := reference.Identity{Type: "SystemAssigned", ResourceID: siteAt, PrincipalID: "p1"}
	r := &resolver{list: []reference.Report{
		{
			Section: app.AppSettings, Setting: "GOOD", Ref: keyref.Ref{Text: "@Microsoft.KeyVault(VaultName=shop;SecretName=s)", Vault: "shop", Secret: "s"},
			Status: reference.Resolved, Details: reference.Resolved.Details(), Identity: own, Version: "v1", Since: since, LastAttempt: since, NextRefresh: since.Add(time.Hour),
			GoodSince: since, Expires: since.Add(24 * time.Hour), History: []reference.Change{
				{Time: since, Status: reference.Resolved, Version: "v1"}, {Time: since.Add(-time.Hour), Status: reference.SecretNotFound, Why: "there is no such secret"},
			},
		},
		{
			Section: app.AppSettings, Setting: "STALE", Ref: keyref.Ref{Text: "@Microsoft.KeyVault(VaultName=shop;SecretName=t)", Vault: "shop", Secret: "t"},
			Status: reference.AccessDenied, Details: reference.AccessDenied.Details(), Why: "no permission", HTTPStatus: 403, InnerCode: "ForbiddenByPolicy",
			Identity: own, Version: "v7", Stale: true, Since: since,
		},
		{Section: app.ConnectionStrings, Setting: "Db", Ref: keyref.Ref{Text: "@Microsoft.KeyVault()"}, Status: reference.InvalidSyntax, Identity: own},
	}}
	f := newFixture(t, func(c *sites.Config) { c.References = r })
	f.create()
	return f, r
}

func TestReferencesShowHowResolvingWent(t *testing.T) {
	f, r := withReferences(t)
	list := f.object("POST", references+"/refresh", "")
	good, stale := at(list, "value", 0), at(list, "value", 1)
	if at(good, "name") != "GOOD" || at(stale, "name") != "STALE" || at(list, "value", 2) != nil || at(list, "nextLink") != nil || r.refreshed != 1 {
		t.Errorf("%v", list)
	}
	if at(good, "type") != "Microsoft.Web/sites/config/configreferences" || at(good, "id") != siteAt+"/config/configreferences/appsettings/GOOD" {
		t.Errorf("%v", good)
	}
	if diff := cmp.Diff(map[string]any{
		"reference": "@Microsoft.KeyVault(VaultName=shop;SecretName=s)", "status": "Resolved", "vaultName": "shop", "secretName": "s", "secretVersion": "",
		"activeVersion": "v1", "identityType": "SystemAssigned", "details": "Reference has been successfully resolved.", "source": "KeyVault",
		"identity": map[string]any{"type": "SystemAssigned", "resourceId": siteAt, "principalId": "p1"}, "lastGoodVersion": "v1", "stale": false,
		"since": "2026-11-21T08:00:00Z", "lastAttempt": "2026-11-21T08:00:00Z", "nextRefresh": "2026-11-21T09:00:00Z",
		"lastGoodSince": "2026-11-21T08:00:00Z", "expires": "2026-11-22T08:00:00Z",
	}, at(good, "properties")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{
		"reference": "@Microsoft.KeyVault(VaultName=shop;SecretName=t)", "status": "AccessToKeyVaultDenied", "vaultName": "shop", "secretName": "t", "secretVersion": "",
		"activeVersion": "v7", "identityType": "SystemAssigned", "source": "KeyVault",
		"details": "Key Vault reference was not able to be resolved because site was denied access to Key Vault reference's vault.",
		"why":     "no permission", "innerCode": "ForbiddenByPolicy", "httpStatus": 403.0, "lastGoodVersion": "v7", "stale": true, "since": "2026-11-21T08:00:00Z",
		"identity": map[string]any{"type": "SystemAssigned", "resourceId": siteAt, "principalId": "p1"},
	}, at(stale, "properties")); diff != "" {
		t.Error(diff)
	}
	one := f.object("GET", references+"/good", "")
	if at(one, "properties", "activeVersion") != "v1" {
		t.Errorf("%v", one)
	}
	if diff := cmp.Diff([]any{
		map[string]any{"time": "2026-11-21T08:00:00Z", "status": "Resolved", "version": "v1"},
		map[string]any{"time": "2026-11-21T07:00:00Z", "status": "SecretNotFound", "why": "there is no such secret"},
	}, at(one, "properties", "history")); diff != "" {
		t.Error(diff)
	}
	f.want(404, "GET", references+"/PLAIN", "")
	db := f.object("GET", strings.Replace(references, "appsettings", "connectionstrings", 1), "")
	if p, _ := at(db, "value", 0, "properties").(map[string]any); at(db, "value", 0, "name") != "Db" || p["activeVersion"] != nil || p["status"] != "InvalidSyntax" {
		t.Errorf("%v", db)
	}
}

func TestOldVersionsShowReferencesInOneResource(t *testing.T) {
	f, _ := withReferences(t)
	body := f.object("GET", references+"?api-version=2019-08-01", "")
	if at(body, "name") != "appsettings" || at(body, "properties", "keyToReferenceStatuses", "STALE", "status") != "AccessToKeyVaultDenied" ||
		at(body, "properties", "keyToReferenceStatuses", "GOOD", "location") != "ApplicationSetting" {
		t.Errorf("%v", body)
	}
	if one := f.object("GET", references+"/GOOD?api-version=2018-02-01", ""); at(one, "properties", "location") != "ApplicationSetting" {
		t.Errorf("%v", one)
	}
}

// TestTheGoClientCanReadReferences has a client that cannot read the text that the
// platform gives as the identity's type.
func TestTheGoClientCanReadReferences(t *testing.T) {
	f, _ := withReferences(t)
	w := f.want(200, "GET", references, "", "User-Agent", "azsdk-go-armappservice/v4.0.0 (go1.26; linux)")
	var list map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	if at(list, "value", 0, "properties", "identityType", "type") != "SystemAssigned" {
		t.Errorf("%v", list)
	}
}

func TestARefreshThatTakesLongAnswersWhatIsKnown(t *testing.T) {
	f, r := withReferences(t)
	r.err = problem.New(problem.Timeout, "slow")
	f.want(200, "POST", references+"/refresh", "")
	r.err = problem.New(problem.Unavailable, "cut")
	f.want(503, "POST", references+"/refresh", "")
}

func TestReferencesAreRead(t *testing.T) {
	f := newFixture(t)
	f.create()
	f.want(200, "PUT", siteAt+"/config/appsettings", `{"properties":{"PLAIN":"x","GOOD":"@Microsoft.KeyVault(VaultName=shop;SecretName=s;SecretVersion=1)","BAD":"@Microsoft.KeyVault(Vault=shop)"}}`)
	f.want(200, "PUT", siteAt+"/config/connectionstrings", `{"properties":{"Db":{"value":"@Microsoft.KeyVault(SecretUri=https://shop.x/secrets/s)","type":"Custom"}}}`)
	list := f.object("GET", references, "")
	if at(list, "value", 0, "properties", "why") != `unknown part "Vault" at position 21` || at(list, "value", 0, "properties", "status") != "InvalidSyntax" ||
		at(list, "value", 1, "properties", "status") != "Initialized" || at(list, "value", 1, "properties", "secretVersion") != "1" || at(list, "value", 2) != nil {
		t.Errorf("%v", list)
	}
	if list := f.object("GET", siteAt+"/config/configreferences/connectionstrings", ""); at(list, "value", 0, "name") != "Db" {
		t.Errorf("%v", list)
	}
}
