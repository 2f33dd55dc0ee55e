package server_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore/migrate"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/test/azurite"
)

// values gives all values of an app's keys by section and name.
func values(t *testing.T, cfg server.Config) map[string]string {
	t.Helper()
	keys, err := server.OpenKeys(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	all := map[string]string{}
	for name, sec := range map[string]keyring.Section{"master": keyring.MasterKey(), "host": keyring.HostKeys(), "hello": keyring.FunctionKeys("Hello")} {
		list, err := keys.List(t.Context(), sec)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range list {
			all[name+" "+k.Name] = k.Value
		}
	}
	return all
}

// TestKeysMoveToABlobAndBack: with every value as it was, and the app uses them there.
func TestKeysMoveToABlobAndBack(t *testing.T) {
	cfg := shop(t)
	before := values(t, cfg)
	storage := azurite.Start(t, azurite.Options{})
	cfg.Environ = append(cfg.Environ, "AzureWebJobsStorage="+storage.ConnectionString(), "WEBSITE_SITE_NAME=shop")
	m, err := server.PlanMigration(t.Context(), cfg, "files", "blob", migrate.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	there := cfg
	there.Environ = append(append([]string{}, cfg.Environ...), "AzureWebJobsSecretStorageType=Blob")
	if diff := cmp.Diff(before, values(t, there)); diff != "" || len(before) != 3 {
		t.Errorf("others in the blob: %s", diff)
	}
	for _, c := range server.ExamineKeys(t.Context(), there) {
		if c.Status != server.CheckOK {
			t.Errorf("%+v", c)
		}
	}
	if m, err = server.PlanMigration(t.Context(), there, "blob", "files:"+t.TempDir()+"/back", migrate.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := m.Apply(t.Context()); err != nil || len(m.Steps) != 2 {
		t.Errorf("back: %v %+v", err, m.Steps)
	}
	storage.Kill()
	for _, c := range server.ExamineKeys(t.Context(), there) {
		if c.Status == server.CheckOK || strings.Contains(c.Message, azurite.Key) {
			t.Errorf("without the service: %+v", c)
		}
	}
}

func TestARenewedSignatureIsReadFromTheSettings(t *testing.T) {
	cfg := shop(t)
	const first, second = "https://shop.blob.core.windows.net/keys?sig=first&sr=c", "https://shop.blob.core.windows.net/keys?sig=second&sr=c"
	put(t, cfg.Dir, "local.settings.json", `{"Values": {"AzureWebJobsSecretStorageSas": "`+first+`", "WEBSITE_SITE_NAME": "shop"}}`)
	setting := server.LiveSettings(cfg)
	if got := setting("AzureWebJobsSecretStorageSas"); got != first {
		t.Fatalf("got %q", got)
	}
	put(t, cfg.Dir, "local.settings.json", `{"Values": {"AzureWebJobsSecretStorageSas": "`+second+`", "WEBSITE_SITE_NAME": "other"}}`)
	if got := setting("AzureWebJobsSecretStorageSas"); got != second {
		t.Errorf("got %q", got)
	}
	if got := setting("WEBSITE_SITE_NAME"); got != "shop" {
		t.Errorf("what chooses the keys changed while they are in use: %q", got)
	}
	put(t, cfg.Dir, "local.settings.json", `{"Val`)
	if got := setting("AzureWebJobsSecretStorageSas"); got != first {
		t.Errorf("while the file is written: %q", got)
	}
}

func TestPlacesThatAreNoneAreRefused(t *testing.T) {
	for _, place := range []string{"", "etcd", "files:", "blob:there", ":x"} {
		if _, err := server.PlanMigration(t.Context(), shop(t), "files", place, migrate.Options{}); !errors.Is(err, problem.Invalid) {
			t.Errorf("%q: %v", place, err)
		}
	}
}
