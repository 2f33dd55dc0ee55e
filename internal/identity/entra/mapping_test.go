package entra

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestMappingsAreChecked(t *testing.T) {
	good := Mapping{Identity: "orders", Mode: Secret, TenantID: tenant, ClientID: client, SecretFile: "/x"}
	for field, change := range map[string]func(*Mapping){
		"":                 func(*Mapping) {},
		"identity":         func(m *Mapping) { m.Identity = "" },
		"identity ":        func(m *Mapping) { m.Identity = "sites/orders" },
		"mode":             func(m *Mapping) { m.Mode = "password" },
		"secretFile":       func(m *Mapping) { m.SecretFile = "" },
		"tokenFile":        func(m *Mapping) { m.TokenFile = "/y" },
		"certificateFile":  func(m *Mapping) { m.Mode, m.SecretFile = Certificate, "" },
		"tenantId":         func(m *Mapping) { m.TenantID = "" },
		"tenantId ":        func(m *Mapping) { m.TenantID = "a/b" },
		"tenantId  ":       func(m *Mapping) { m.Mode, m.SecretFile = Machine, "" },
		"clientId":         func(m *Mapping) { m.ClientID = "orders" },
		"clientId ":        func(m *Mapping) { m.ClientID = "" },
		"authorityHost":    func(m *Mapping) { m.AuthorityHost = "http://localhost" },
		"authorityHost ":   func(m *Mapping) { m.AuthorityHost = "https://localhost/tenant" },
		"authorityHost  ":  func(m *Mapping) { m.AuthorityHost = "localhost" },
		"authorityHost   ": func(m *Mapping) { m.AuthorityHost = "https://me:secret@localhost" },
		"resources[1]":     func(m *Mapping) { m.Resources = []string{storage, "https://*"} },
		"resources[0]":     func(m *Mapping) { m.Resources = []string{"*"} },
		"resources[0] ":    func(m *Mapping) { m.Resources = []string{" "} },
		"resources[0]  ":   func(m *Mapping) { m.Resources = []string{"https://x.*.com"} },
	} {
		m := good
		change(&m)
		_, err := New(Config{Mappings: []Mapping{{Identity: "first", Mode: Machine}, m}, Log: slog.New(slog.DiscardHandler)})
		if field == "" {
			if err != nil {
				t.Errorf("a good one: %v", err)
			}
			continue
		}
		if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), strings.TrimSpace(field)) || !strings.Contains(err.Error(), "mapping 1") {
			t.Errorf("%s: %v", field, err)
		}
		if err != nil && strings.Contains(err.Error(), "me:secret") {
			t.Errorf("%s: the error holds a secret", field)
		}
	}
	if _, err := New(Config{}); problem.KindOf(err) != problem.Invalid {
		t.Errorf("no log: %v", err)
	}
}

// Anybody who may make a container app can give it the name of a function app.
func TestIdentitiesOfMappings(t *testing.T) {
	contained := identity.Assigned{System: true, ObjectID: "q", AppID: "c",
		ResourceID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.App/containerApps/orders"}
	for name, tt := range map[string]struct {
		identity string
		who      identity.Assigned
		want     bool
	}{
		"id of the app":                   {appID, own, true},
		"id in another case":              {strings.ToUpper(appID), own, true},
		"name of the app":                 {"Orders", own, true},
		"id of an identity":               {userID, shared, true},
		"name is not for an identity":     {"orders", shared, false},
		"id of the app, other identity":   {appID, shared, false},
		"name is not for a container app": {"orders", contained, false},
		"id of a container app":           {contained.ResourceID, contained, true},
		"end of a name":                   {"ders", own, false},
		"deleted":                         {userID, identity.Assigned{ResourceID: userID}, false},
	} {
		if got := (Mapping{Identity: tt.identity}).isFor(tt.who); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestPatternsOfResources(t *testing.T) {
	for _, tt := range []struct {
		pattern, resource string
		want              bool
	}{
		{storage, storage, true},
		{storage, storage + "/", true},
		{storage, "HTTPS://Storage.azure.com/.default", true},
		{storage, storage + "/account", true},
		{storage + "/", storage, true},
		{storage, storage + ".evil.test", false},
		{storage, storage + "x", false},
		{storage, "http://storage.azure.com", false},
		{"https://*.azure.com", storage + "/", true},
		{"https://*.azure.com/", "https://a.b.AZURE.com", true},
		{"https://*.azure.com", "https://azure.com", false},
		{"https://*.azure.com", "https://.azure.com", false},
		{"https://*.azure.com", "https://evilazure.com", false},
		{"https://*.azure.com", "https://x.azure.com.evil.test", false},
		{"https://*.azure.com", "https://evil.test/x.azure.com", false},
		{"https://*.azure.com", "https://x.azure.com:444", false},
		{"https://*.azure.com:444", "https://x.azure.com:444", true},
		{"https://*.azure.com", "api://x.azure.com", false},
		{"https://*.azure.com", "https://u@x.azure.com", false},
		{client, client, true},
		{client, "api://" + client, false},
		{"api://" + client, "api://" + client + "/x", true},
	} {
		if got := matches(tt.pattern, tt.resource); got != tt.want {
			t.Errorf("%s for %s: %t", tt.pattern, tt.resource, got)
		}
	}
}

func FuzzSaid(f *testing.F) {
	f.Add([]byte(`{"error":"invalid_client","error_description":"AADSTS7000215: Invalid.\r\nTrace ID: x"}`))
	f.Add([]byte(`{"error":{},"message":"\u0000"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		code, text := said(body)
		if text = clean(text, maxText); len([]rune(code)) > 41 || len([]rune(text)) > maxText+1 || strings.ContainsAny(code+text, "\n\r\x00\x1b") {
			t.Errorf("%q, %q", code, text)
		}
	})
}
