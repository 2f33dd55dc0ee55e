package storage_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

type keys struct {
	Keys []struct{ KeyName, Value, Permissions string }
}

type account struct {
	ID, Name, Kind, Location string
	Tags                     map[string]string
	SKU                      struct{ Name, Tier string }
	Properties               struct {
		ProvisioningState, AccessTier, MinimumTLSVersion string
		AllowSharedKeyAccess                             bool
		PrimaryEndpoints                                 map[string]string
	}
}

// start runs a platform with the resource group "rg", and gives the path of
// accounts in it.
func start(t *testing.T) (*platformtest.Platform, string) {
	t.Helper()
	p := platformtest.Start(t, platformtest.Config{})
	rg := p.Subscription() + "/resourceGroups/rg"
	p.Do(t, http.MethodPut, rg, map[string]any{"location": "local"}, nil)
	return p, rg + "/providers/Microsoft.Storage/storageAccounts/"
}

// put gives the status of a PUT.
func put(t *testing.T, p *platformtest.Platform, path, body string, out any) int {
	t.Helper()
	a, err := p.Client.Send(t.Context(), armclient.Request{Method: http.MethodPut, Path: path, Body: strings.NewReader(body), ContentType: "application/json"})
	if err != nil {
		t.Fatalf("PUT %s: %v", path, err)
	}
	p.Do(t, http.MethodGet, path, nil, out)
	return a.Status
}

const minimal = `{"location": "local", "sku": {"name": "Standard_LRS"}}`

func TestAccountsHaveKeysAndEndpoints(t *testing.T) {
	p, accounts := start(t)
	path := accounts + "made1"
	var a account
	if status := put(t, p, path, `{"location": "Local", "kind": "StorageV2", "sku": {"name": "Standard_GRS"}, "tags": {"latchkey-blob-endpoint": "http://127.0.0.1:10000/made1"},
		"properties": {"accessTier": "Cool", "provisioningState": "Failed", "primaryEndpoints": null}}`, &a); status != http.StatusOK {
		t.Errorf("creating it answers %d: Terraform takes 200 only", status)
	}
	if a.SKU.Name != "Standard_GRS" || a.SKU.Tier != "Standard" || a.Properties.AccessTier != "Cool" || a.Properties.ProvisioningState != "Succeeded" || !a.Properties.AllowSharedKeyAccess {
		t.Errorf("%+v", a)
	}
	if e := a.Properties.PrimaryEndpoints; e["blob"] != "http://127.0.0.1:10000/made1/" || !strings.HasPrefix(e["queue"], "https://made1.queue.") {
		t.Errorf("endpoints: %v", e)
	}
	var before, after, again keys
	p.Do(t, http.MethodPost, path+"/listKeys?$expand=kerb&api-version=2025-08-01", nil, &before)
	if raw, err := base64.StdEncoding.DecodeString(before.Keys[0].Value); err != nil || len(raw) != 64 || len(before.Keys) != 2 || before.Keys[0].KeyName != "key1" {
		t.Errorf("keys: %d bytes, %v", len(raw), err)
	}
	p.Do(t, http.MethodPost, path+"/regenerateKey", map[string]any{"keyName": "key1"}, &after)
	if after.Keys[0].Value == before.Keys[0].Value || after.Keys[1].Value != before.Keys[1].Value {
		t.Error("not key1 alone was replaced")
	}
	p.Do(t, http.MethodPatch, path, map[string]any{"tags": map[string]any{"a": "b"}}, &a)
	if a.Properties.AccessTier != "Cool" || a.Tags["a"] != "b" {
		t.Errorf("after PATCH: %+v", a)
	}
	put(t, p, path, minimal, &a)
	if p.Do(t, http.MethodPost, path+"/listKeys", nil, &again); again.Keys[0].Value != after.Keys[0].Value {
		t.Error("another PUT replaces the keys")
	}
	var shown map[string]any
	p.Do(t, http.MethodGet, path, nil, &shown)
	if strings.Contains(fmt.Sprint(shown), again.Keys[0].Value) {
		t.Error("GET shows a key")
	}
}

func TestChildrenOfAccounts(t *testing.T) {
	p, accounts := start(t)
	var a account
	put(t, p, accounts+"made1", minimal, &a)
	for _, tt := range []struct {
		path, name string
		created    int
		bad        string
	}{
		{"/blobServices/default/containers/", "one", http.StatusCreated, "No"},
		{"/fileServices/default/shares/", "one", http.StatusCreated, "x"},
		{"/queueServices/default/queues/", "one", http.StatusOK, "a--b"},
		{"/tableServices/default/tables/", "One", http.StatusOK, "1one"},
	} {
		list := accounts + "made1" + tt.path
		var child struct {
			ID, Name, Type string
			Properties     map[string]any
		}
		if status := put(t, p, list+tt.name, `{"properties": {"metadata": {"a": "b"}}}`, &child); status != tt.created {
			t.Errorf("%s: creating answers %d", tt.path, status)
		}
		if status := put(t, p, list+tt.name, `{"properties": {}}`, &child); status != http.StatusOK || child.ID != list+tt.name {
			t.Errorf("%s: changing answers %d: %+v", tt.path, status, child)
		}
		var all struct{ Value []struct{ Name string } }
		if p.Do(t, http.MethodGet, strings.TrimSuffix(list, "/"), nil, &all); len(all.Value) != 1 || all.Value[0].Name != tt.name {
			t.Errorf("%s: %+v", tt.path, all)
		}
		if err := p.Client.Do(t.Context(), http.MethodPut, list+tt.bad, map[string]any{}, nil); !errors.Is(err, problem.Invalid) {
			t.Errorf("%s%s: %v", tt.path, tt.bad, err)
		}
		p.Do(t, http.MethodDelete, list+tt.name, nil, nil)
		if err := p.Client.Do(t.Context(), http.MethodGet, list+tt.name, nil, nil); !errors.Is(err, problem.NotFound) {
			t.Errorf("%s after its deletion: %v", tt.path, err)
		}
	}
	var service struct{ Properties map[string]any }
	put(t, p, accounts+"made1/blobServices/default", `{"properties": {"isVersioningEnabled": true}}`, &service)
	if service.Properties["isVersioningEnabled"] != true || service.Properties["cors"] == nil {
		t.Errorf("service: %v", service.Properties)
	}
	put(t, p, accounts+"made1/blobServices/default/containers/left", `{}`, nil)
	p.Do(t, http.MethodDelete, accounts+"made1", nil, nil)
	for _, path := range []string{"", "/blobServices/default", "/blobServices/default/containers/left", "/blobServices/default/containers"} {
		if err := p.Client.Do(t.Context(), http.MethodGet, accounts+"made1"+path, nil, nil); !errors.Is(err, problem.NotFound) {
			t.Errorf("%s of the deleted account: %v", path, err)
		}
	}
}

func TestAccountsThatCannotBeAreRefused(t *testing.T) {
	p, accounts := start(t)
	var a account
	put(t, p, accounts+"taken1", minimal, &a)
	p.Do(t, http.MethodPut, p.Subscription()+"/resourceGroups/other", map[string]any{"location": "local"}, nil)
	other := strings.Replace(accounts, "/rg/", "/other/", 1)
	for name, tt := range map[string]struct {
		path string
		body map[string]any
		kind problem.Kind
	}{
		"name":     {accounts + "No-Good", map[string]any{"location": "local", "sku": map[string]any{"name": "Standard_LRS"}}, problem.Invalid},
		"sku":      {accounts + "new1", map[string]any{"location": "local", "sku": map[string]any{"name": "LRS"}}, problem.Invalid},
		"no sku":   {accounts + "new1", map[string]any{"location": "local"}, problem.Invalid},
		"location": {accounts + "new1", map[string]any{"sku": map[string]any{"name": "Standard_LRS"}}, problem.Invalid},
		"identity": {accounts + "new1", map[string]any{"location": "local", "sku": map[string]any{"name": "Standard_LRS"}, "identity": map[string]any{"type": "SystemAssigned"}}, problem.Invalid},
		"taken":    {other + "taken1", map[string]any{"location": "local", "sku": map[string]any{"name": "Standard_LRS"}}, problem.Conflict},
	} {
		if err := p.Client.Do(t.Context(), http.MethodPut, tt.path, tt.body, nil); !errors.Is(err, tt.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, free := range map[string]bool{"taken1": false, "new1": true, "No": false} {
		var answer struct{ NameAvailable bool }
		p.Do(t, http.MethodPost, p.Subscription()+"/providers/Microsoft.Storage/checkNameAvailability", map[string]any{"name": name, "type": "Microsoft.Storage/storageAccounts"}, &answer)
		if answer.NameAvailable != free {
			t.Errorf("%s is free: %v", name, answer.NameAvailable)
		}
	}
	if err := p.Client.Do(t.Context(), http.MethodPost, accounts+"taken1/regenerateKey", map[string]any{"keyName": "key3"}, nil); !errors.Is(err, problem.Invalid) {
		t.Errorf("key3: %v", err)
	}
}
