package keynotes_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/keynotes"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func partner(count int64, last time.Time) keyring.Use {
	return keyring.Use{
		Key:   keyring.KeyRef{Kind: accesskey.Function, Function: "hello", Name: "partner"},
		Since: noon, Count: count, Last: last, From: keyring.Private,
		Quota: keyring.Used{Start: noon, Count: count},
	}
}

func TestUsesAreSummedUpByEverybodyWhoHasTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			mine, _ := keynotes.Open(keynotes.Config{Dir: dir})
			for range 5 {
				if _, err := mine.Add(t.Context(), []keyring.Use{partner(1, noon)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	uses, _ := keynotes.Open(keynotes.Config{Dir: dir})
	sums, err := uses.Add(t.Context(), []keyring.Use{partner(2, noon.Add(time.Hour))})
	want := []keyring.Use{partner(42, noon.Add(time.Hour))}
	if diff := cmp.Diff(want, sums); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	got, err := uses.Load(t.Context())
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestNothingIsMadeBeforeThereIsSomethingToKeep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	prepared := 0
	uses, restrictions := keynotes.Open(keynotes.Config{Dir: dir, Prepare: func() { prepared++ }})
	if got, err := uses.Load(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("%v %v", got, err)
	}
	if got, err := restrictions.Recall(t.Context(), keystore.HostDoc); err != nil || got != nil {
		t.Errorf("%s %v", got, err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) || prepared > 0 {
		t.Errorf("prepared %d times: %v", prepared, err)
	}
	if err := restrictions.Remember(t.Context(), keystore.HostDoc, []byte(`{}`)); err != nil || prepared != 1 {
		t.Errorf("prepared %d times: %v", prepared, err)
	}
	info, err := os.Stat(filepath.Join(dir, keynotes.RestrictionsFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

func TestRestrictionsAreRememberedByDocument(t *testing.T) {
	dir := t.TempDir()
	_, r := keynotes.Open(keynotes.Config{Dir: dir})
	for doc, data := range map[keystore.Doc]string{"host": `{"a":1}`, "hello": `{"b":2}`, "../x": `{"c":3}`} {
		if err := r.Remember(t.Context(), doc, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Remember(t.Context(), "hello", nil); err != nil {
		t.Fatal(err)
	}
	_, again := keynotes.Open(keynotes.Config{Dir: dir})
	for doc, want := range map[keystore.Doc]string{"host": `{"a":1}`, "hello": "", "../x": `{"c":3}`} {
		got, err := again.Recall(t.Context(), doc)
		if err != nil || string(got) != want {
			t.Errorf("%s: %s %v", doc, got, err)
		}
	}
}

func TestAFileThatCannotBeUnderstoodIsReportedAndLeftAlone(t *testing.T) {
	dir := t.TempDir()
	uses, restrictions := keynotes.Open(keynotes.Config{Dir: dir})
	for _, name := range []string{keynotes.UsesFile, keynotes.RestrictionsFile} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("{torn"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, addErr := uses.Add(t.Context(), []keyring.Use{partner(1, noon)})
	_, loadErr := uses.Load(t.Context())
	_, recallErr := restrictions.Recall(t.Context(), "host")
	for _, err := range []error{addErr, loadErr, recallErr, restrictions.Remember(t.Context(), "host", []byte("{}"))} {
		if problem.KindOf(err) != problem.Undecryptable || problem.NextOf(err) == "" {
			t.Errorf("got %v", err)
		}
	}
	for _, name := range []string{keynotes.UsesFile, keynotes.RestrictionsFile} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != "{torn" {
			t.Errorf("%s now holds %q: %v", name, text, err)
		}
	}
}
