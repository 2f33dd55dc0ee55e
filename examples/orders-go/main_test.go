package main

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestOrdersTellsWhichSecretItHasAndNotTheSecret(t *testing.T) {
	for value, want := range map[string]struct {
		status int
		text   string
	}{
		"s3cret": {200, `"fingerprint":"1ec1c26b"`},
		"":       {503, "not resolved"},
		"@Microsoft.KeyVault(VaultName=kv;SecretName=s)": {503, "not resolved"},
	} {
		t.Setenv("DATABASE_PASSWORD", value)
		w := httptest.NewRecorder()
		routes(nil).ServeHTTP(w, httptest.NewRequest("GET", "/api/orders", nil))
		if w.Code != want.status || !strings.Contains(w.Body.String(), want.text) || value != "" && strings.Contains(w.Body.String(), value) {
			t.Errorf("%q: %d %s", value, w.Code, w.Body)
		}
	}
}

func TestSupplierReadsTheVaultEachTime(t *testing.T) {
	value, fault := "one", error(nil)
	h := routes(func(_ context.Context, name string) (string, error) {
		if name != "supplier-key" {
			t.Errorf("asked for %q", name)
		}
		return value, fault
	})
	call := func() string {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/api/supplier", nil))
		return w.Body.String()
	}
	first := call()
	value = "two"
	if second := call(); first == second || !strings.Contains(second, fingerprint("two")) {
		t.Errorf("first %s, then %s", first, second)
	}
	fault = errors.New("no vault\nand more")
	if got := call(); !strings.Contains(got, "no vault") || strings.Contains(got, "more") {
		t.Errorf("a fault is shown as %s", got)
	}
}
