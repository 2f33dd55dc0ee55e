package secrets_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/vault"
	"github.com/latchkey/latchkey/internal/vault/secrets"
)

func ptr[T any](v T) *T { return &v }

func TestSecretHasWhatWasSet(t *testing.T) {
	e := newEnv(t)
	exp := time.Unix(1900000000, 0).UTC()
	b, err := e.Set(e.ctx, one, "My-Secret", "hush", secrets.Attributes{
		ContentType: ptr("text/plain"), Tags: map[string]string{"a": "1"}, Expires: &exp, NotBefore: ptr(time.Unix(0, 0)),
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	want := secrets.Bundle{Value: "hush", Properties: secrets.Properties{
		Name: "My-Secret", Version: b.Version, ContentType: "text/plain", Enabled: true, Tags: map[string]string{"a": "1"},
		NotBefore: time.Unix(0, 0).UTC(), Expires: exp, Created: now, Updated: now, RecoveryLevel: "Recoverable+Purgeable", RecoverableDays: 90,
	}}
	if diff := cmp.Diff(want, b); diff != "" || len(b.Version) != 32 {
		t.Error(diff, b.Version)
	}
	before := e.state.gets.Load()
	got, err := e.Get(e.ctx, one, "my-secret", "")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if n := e.state.gets.Load() - before; n != 1 {
		t.Errorf("reading the latest version took %d readings of the state", n)
	}
}

func TestNewVersionIsTheLatest(t *testing.T) {
	e := newEnv(t)
	first := e.set(one, "n", "1")
	e.clock.Advance(-time.Hour) // a clock that goes back
	second := e.set(one, "N", "2")
	if e.value(one, "n", "") != "2" || e.value(one, "n", first.Version) != "1" || e.value(one, "n", strings.ToUpper(second.Version)) != "2" {
		t.Error("wrong values")
	}
	if second.PreviousVersion != first.Version || second.Created.Before(first.Created) || second.Name != "n" {
		t.Errorf("got %+v", second)
	}
	if got := e.versions(one, "n"); len(got) != 2 {
		t.Error(got)
	}
	for _, version := range []string{strings.Repeat("0", 32), "x", "../" + first.Version} {
		_, err := e.Get(e.ctx, one, "n", version)
		wants(t, err, problem.NotFound, vault.SecretNotFound)
		_, err = e.Update(e.ctx, one, "n", version, secrets.Attributes{})
		wants(t, err, problem.NotFound, vault.SecretNotFound)
	}
}

func TestMissingSecretIsNamed(t *testing.T) {
	e := newEnv(t)
	_, err := e.Get(e.ctx, one, "n", "abc")
	wants(t, err, problem.NotFound, vault.SecretNotFound)
	var p *problem.Error
	if want := "A secret with (name/id) n/abc was not found in this key vault. If you recently deleted this secret you may be able to recover it " +
		"using the correct recovery command. For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182"; !errors.As(err, &p) || p.Message != want {
		t.Errorf("got %v", err)
	}
	_, err = e.Update(e.ctx, one, "n", "", secrets.Attributes{})
	wants(t, err, problem.NotFound, vault.SecretNotFound)
	_, err = e.Delete(e.ctx, one, "n")
	wants(t, err, problem.NotFound, vault.SecretNotFound)
	_, _, err = e.Versions(e.ctx, one, "n", secrets.Page{})
	wants(t, err, problem.NotFound, vault.SecretNotFound)
	_, err = e.Backup(e.ctx, one, "n")
	wants(t, err, problem.NotFound, vault.SecretNotFound)
	_, err = e.GetDeleted(e.ctx, one, "n")
	wants(t, err, problem.NotFound, vault.SecretNotFound)
	_, err = e.Recover(e.ctx, one, "n")
	wants(t, err, problem.NotFound, vault.SecretNotFound)
	wants(t, e.Purge(e.ctx, one, "n"), problem.NotFound, vault.SecretNotFound)
}

func TestUpdateChangesOneVersion(t *testing.T) {
	e := newEnv(t)
	first, second := e.set(one, "n", "1"), e.set(one, "n", "2")
	e.clock.Advance(time.Minute)
	p, err := e.Update(e.ctx, one, "n", first.Version, secrets.Attributes{Enabled: ptr(false), ContentType: ptr("x"), Tags: map[string]string{"a": "b"}, Expires: ptr(time.Unix(5, 0))})
	if err != nil || p.Enabled || p.ContentType != "x" || p.Tags["a"] != "b" || p.Expires.Unix() != 5 || !p.Updated.After(p.Created) || p.Version != first.Version {
		t.Fatalf("got %+v, %v", p, err)
	}
	_, err = e.Get(e.ctx, one, "n", first.Version)
	wants(t, err, problem.Denied, vault.SecretDisabled)
	if e.value(one, "n", "") != "2" {
		t.Error("the latest changed")
	}
	p, err = e.Update(e.ctx, one, "n", first.Version, secrets.Attributes{Enabled: ptr(true), Tags: map[string]string{}, Expires: &time.Time{}})
	if err != nil || !p.Enabled || p.ContentType != "x" || len(p.Tags) > 0 || !p.Expires.IsZero() {
		t.Fatalf("got %+v, %v", p, err)
	}
	if p, err = e.Update(e.ctx, one, "n", "", secrets.Attributes{Enabled: ptr(false)}); err != nil || p.Version != second.Version {
		t.Fatal(p, err)
	}
	_, err = e.Get(e.ctx, one, "n", "")
	wants(t, err, problem.Denied, vault.SecretDisabled)
	if list, _, err := e.List(e.ctx, one, secrets.Page{}); err != nil || len(list) != 1 || list[0].Enabled {
		t.Error(list, err)
	}
}

func TestLimitsNameTheField(t *testing.T) {
	e := newEnv(t)
	tags := func(n int, name, value string) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint(i, name)] = value
		}
		return m
	}
	tests := []struct {
		name, value string
		a           secrets.Attributes
		field       string // "" for none
	}{
		{"n", strings.Repeat("x", 25600), secrets.Attributes{}, ""},
		{"n", strings.Repeat("x", 25601), secrets.Attributes{}, "value"},
		{"n", "\xff", secrets.Attributes{}, "value"},
		{"n", strings.Repeat("\x00", 25600), secrets.Attributes{ContentType: ptr(strings.Repeat("ä", 255)), Tags: tags(15, strings.Repeat("ä", 254), strings.Repeat("ß", 256))}, ""},
		{"n", "", secrets.Attributes{ContentType: ptr(strings.Repeat("x", 256))}, "contentType"},
		{"n", "", secrets.Attributes{Tags: tags(16, "", "")}, "tags"},
		{"n", "", secrets.Attributes{Tags: tags(1, strings.Repeat("x", 256), "")}, "tags"},
		{"n", "", secrets.Attributes{Tags: tags(1, "", strings.Repeat("x", 257))}, "tags"},
		{"a/b", "", secrets.Attributes{}, "a/b"},
		{strings.Repeat("n", 127), "", secrets.Attributes{}, ""},
		{strings.Repeat("n", 128), "", secrets.Attributes{}, "nnn"},
	}
	for _, tt := range tests {
		b, err := e.Set(e.ctx, one, tt.name, tt.value, tt.a)
		if tt.field == "" {
			if err != nil || e.value(one, tt.name, "") != tt.value || b.Value != tt.value {
				t.Error(tt.name, err)
			}
			continue
		}
		wants(t, err, problem.Invalid, vault.BadParameter)
		if !strings.Contains(err.Error(), tt.field) {
			t.Errorf("%v does not name %s", err, tt.field)
		}
	}
}

func TestListsArePagedInOrder(t *testing.T) {
	e := newEnv(t)
	for i := range 7 {
		e.set(one, fmt.Sprint("N", i), "v")
		e.set(two, fmt.Sprint("other", i), "v")
	}
	if diff := cmp.Diff([]string{"N0", "N1", "N2", "N3", "N4", "N5", "N6"}, e.names(one)); diff != "" {
		t.Error(diff)
	}
	list, next, err := e.List(e.ctx, one, secrets.Page{Limit: 3})
	if err != nil || len(list) != 3 || next != "n2" {
		t.Fatal(list, next, err)
	}
	e.delete(one, "n2")
	list, next, err = e.List(e.ctx, one, secrets.Page{After: next, Limit: 4})
	if err != nil || len(list) != 4 || next != "" || list[0].Name != "N3" {
		t.Error(list, next, err)
	}
	_, _, err = e.List(e.ctx, one, secrets.Page{After: "../x"})
	wants(t, err, problem.Invalid, vault.BadParameter)
	for i := range 10 {
		e.set(one, "n0", fmt.Sprint(i))
		if got := e.versions(one, "n0"); len(got) != i+2 {
			t.Fatal(i, len(got))
		}
	}
	_, _, err = e.Versions(e.ctx, one, "n0", secrets.Page{After: "zz"})
	wants(t, err, problem.Invalid, vault.BadParameter)
}

func TestDeletedSecretCanBeRecovered(t *testing.T) {
	e := newEnv(t)
	first := e.set(two, "N", "1")
	e.set(two, "n", "2")
	d := e.delete(two, "n")
	if now := e.clock.Now().Truncate(time.Second); !d.DeletedAt.Equal(now) || !d.PurgeAt.Equal(now.AddDate(0, 0, 7)) || d.RecoveryLevel != "CustomizedRecoverable+Purgeable" || d.Name != "N" {
		t.Errorf("got %+v", d)
	}
	e.lacks(two, "n")
	_, err := e.Get(e.ctx, two, "n", first.Version)
	wants(t, err, problem.NotFound, vault.SecretNotFound)
	_, err = e.Set(e.ctx, two, "n", "3", secrets.Attributes{})
	wants(t, err, problem.Conflict, vault.SecretDeleted)
	if names, deleted := e.names(two), e.deletedNames(two); len(names) != 0 || !slices.Equal(deleted, []string{"N"}) {
		t.Error(names, deleted)
	}
	if got, err := e.GetDeleted(e.ctx, two, "n"); err != nil || cmp.Diff(d, got) != "" {
		t.Error(cmp.Diff(d, got), err)
	}
	if p, err := e.Recover(e.ctx, two, "n"); err != nil || p.Name != "N" {
		t.Fatal(p, err)
	}
	if e.value(two, "n", "") != "2" || e.value(two, "n", first.Version) != "1" || len(e.deletedNames(two)) != 0 {
		t.Error("it is not what it was")
	}
	e.clock.Advance(8 * 24 * time.Hour)
	if err := e.PurgeExpired(e.ctx); err != nil || e.value(two, "n", "") != "2" {
		t.Error(err)
	}
}

func TestPurgedNameStartsAnew(t *testing.T) {
	e := newEnv(t)
	var old []string
	for i := range 250 {
		old = append(old, e.set(one, "n", fmt.Sprint(i)).Version)
	}
	e.delete(one, "n")
	if err := e.Purge(e.ctx, one, "n"); err != nil {
		t.Fatal(err)
	}
	if left := e.documents(); len(left) != 0 {
		t.Fatal(left)
	}
	b := e.set(one, "n", "new")
	if b.PreviousVersion != "" || len(e.versions(one, "n")) != 1 {
		t.Error(b)
	}
	_, err := e.Get(e.ctx, one, "n", old[0])
	wants(t, err, problem.NotFound, vault.SecretNotFound)
}

func TestProtectedVaultDoesNotPurge(t *testing.T) {
	e := newEnv(t)
	v := two
	v.PurgeProtected = true
	e.set(v, "n", "1")
	e.delete(v, "n")
	wants(t, e.Purge(e.ctx, v, "n"), problem.Denied, vault.PurgeProtected)
	if _, err := e.Recover(e.ctx, v, "n"); err != nil {
		t.Error(err)
	}
}

func TestTimePurges(t *testing.T) {
	e := newEnv(t)
	for i := range 150 {
		e.set(two, fmt.Sprint("n", i), "1")
		e.delete(two, fmt.Sprint("n", i))
	}
	e.set(one, "n", "1")
	e.delete(one, "n")
	e.clock.Advance(7*24*time.Hour - time.Second)
	if err := e.PurgeExpired(e.ctx); err != nil || len(e.deletedNames(two)) != 150 {
		t.Fatal(err)
	}
	e.clock.Advance(time.Second)
	if got := e.deletedNames(two); len(got) != 0 {
		t.Error(got)
	}
	_, err := e.Recover(e.ctx, two, "n1")
	wants(t, err, problem.NotFound, vault.SecretNotFound)
	e.set(two, "n7", "new") // without waiting for anybody to purge
	e.clock.Advance(time.Second)
	if err := e.PurgeExpired(e.ctx); err != nil {
		t.Fatal(err)
	}
	if got := e.names(two); !slices.Equal(got, []string{"n7"}) || !slices.Equal(e.deletedNames(one), []string{"n"}) {
		t.Error(got)
	}
	if left := e.documents(); len(left) != 3 { // one head, one deleted, its time
		t.Error(left)
	}
}

func TestDeletionCanTakeAWhile(t *testing.T) {
	e := newEnv(t)
	e.config.DeletionDelay = 10 * time.Second
	e.Store = secrets.New(e.config)
	e.set(one, "n", "1")
	e.delete(one, "n")
	e.lacks(one, "n")
	_, err := e.GetDeleted(e.ctx, one, "n")
	wants(t, err, problem.NotFound, vault.SecretNotFound)
	_, err = e.Set(e.ctx, one, "n", "2", secrets.Attributes{})
	wants(t, err, problem.Conflict, vault.SecretBeingDeleted)
	_, err = e.Recover(e.ctx, one, "n")
	wants(t, err, problem.Conflict, vault.SecretBeingDeleted)
	if got := e.deletedNames(one); len(got) != 0 {
		t.Error(got)
	}
	e.clock.Advance(10 * time.Second)
	if _, err := e.GetDeleted(e.ctx, one, "n"); err != nil {
		t.Error(err)
	}
	_, err = e.Set(e.ctx, one, "n", "2", secrets.Attributes{})
	wants(t, err, problem.Conflict, vault.SecretDeleted)
}

func TestVaultsDoNotSeeEachOther(t *testing.T) {
	e := newEnv(t)
	a := e.set(one, "n", "1")
	e.lacks(two, "n")
	b := e.set(two, "n", "2")
	for _, x := range []struct {
		v       vault.Vault
		version string
	}{{one, b.Version}, {two, a.Version}} {
		_, err := e.Get(e.ctx, x.v, "n", x.version)
		wants(t, err, problem.NotFound, vault.SecretNotFound)
	}
	e.delete(one, "n")
	if e.value(two, "n", "") != "2" {
		t.Error("wrong value")
	}
	if err := e.Drop(e.ctx, one.UID); err != nil || e.value(two, "n", "") != "2" {
		t.Error(err)
	}
}

func TestClosedVaultTakesNoWrites(t *testing.T) {
	e := newEnv(t)
	e.set(one, "n", "1")
	e.set(one, "d", "1")
	e.delete(one, "d")
	blob, err := e.Backup(e.ctx, one, "n")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.memory.Write(e.ctx, state.Put(one.Open().Key, []byte("{}"), state.Any)); err != nil {
		t.Fatal(err)
	}
	before := e.documents()
	calls := map[string]func() error{
		"set":     func() error { _, err := e.Set(e.ctx, one, "n", "2", secrets.Attributes{}); return err },
		"set new": func() error { _, err := e.Set(e.ctx, one, "m", "2", secrets.Attributes{}); return err },
		"update":  func() error { _, err := e.Update(e.ctx, one, "n", "", secrets.Attributes{}); return err },
		"delete":  func() error { _, err := e.Delete(e.ctx, one, "n"); return err },
		"recover": func() error { _, err := e.Recover(e.ctx, one, "d"); return err },
		"purge":   func() error { return e.Purge(e.ctx, one, "d") },
	}
	for name, call := range calls {
		t.Log(name)
		wants(t, call(), problem.NotFound, vault.VaultNotFound)
	}
	other := one
	other.Name = "one"
	_, err = e.Restore(e.ctx, other, blob)
	if err == nil {
		t.Error("restored into a closed vault")
	}
	if diff := cmp.Diff(before, e.documents()); diff != "" {
		t.Error(diff)
	}
}

func TestDropRemovesEverything(t *testing.T) {
	e := newEnv(t)
	for i := range 130 {
		name := fmt.Sprint("n", i)
		e.set(one, name, "1")
		e.set(one, name, "2")
		if i%2 == 0 {
			e.delete(one, name)
		}
	}
	e.state.left.Store(3)
	wants(t, e.Drop(e.ctx, one.UID), problem.Unavailable, "")
	e.state.left.Store(0)
	if err := e.Drop(e.ctx, one.UID); err != nil {
		t.Fatal(err)
	}
	if left := e.documents(); len(left) != 0 {
		t.Error(left)
	}
}

func TestSetsAtTheSameTimeAreAllKept(t *testing.T) {
	e := newEnv(t)
	nodes := []*secrets.Store{e.Store, secrets.New(e.config), secrets.New(e.config)}
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := map[string]string{}
	for w := range 6 {
		wg.Go(func() {
			for i := range 20 {
				value := fmt.Sprint(w, "-", i)
				b, err := nodes[w%3].Set(e.ctx, one, "n", value, secrets.Attributes{})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				made[b.Version] = value
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	all := e.versions(one, "n")
	if len(made) != 120 || len(all) != 120 {
		t.Fatal(len(made), len(all))
	}
	latest, err := e.Get(e.ctx, one, "n", "")
	if err != nil {
		t.Fatal(err)
	}
	at, count := latest.Version, 0
	for ; at != ""; count++ { // every version is before or after every other
		if e.value(one, "n", at) != made[at] {
			t.Fatal("wrong value")
		}
		at = all[at].PreviousVersion
	}
	if count != 120 {
		t.Error(count)
	}
}

// TestNothingIsHalfDone takes the state away at every write of every step.
func TestNothingIsHalfDone(t *testing.T) {
	steps := map[string]func(e *env) error{
		"set new": func(e *env) error { _, err := e.Set(e.ctx, one, "new", "2", secrets.Attributes{}); return err },
		"set":     func(e *env) error { _, err := e.Set(e.ctx, one, "n", "2", secrets.Attributes{}); return err },
		"update": func(e *env) error {
			_, err := e.Update(e.ctx, one, "n", "", secrets.Attributes{Enabled: ptr(true)})
			return err
		},
		"delete":  func(e *env) error { _, err := e.Delete(e.ctx, one, "n"); return err },
		"recover": func(e *env) error { _, err := e.Recover(e.ctx, one, "d"); return err },
		"purge":   func(e *env) error { return e.Purge(e.ctx, one, "d") },
	}
	for name, step := range steps {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			e.set(one, "n", "1")
			e.set(one, "d", "1")
			e.delete(one, "d")
			before := e.documents()
			e.state.left.Store(1)
			wants(t, step(e), problem.Unavailable, "")
			e.state.left.Store(0)
			if diff := cmp.Diff(before, e.documents()); diff != "" {
				t.Error(diff)
			}
			if err := step(e); err != nil {
				t.Error(err)
			}
		})
	}
	e := newEnv(t)
	e.memory.SetUnavailable(true)
	_, err := e.Get(e.ctx, one, "n", "")
	wants(t, err, problem.Unavailable, "")
	_, _, err = e.List(e.ctx, one, secrets.Page{})
	wants(t, err, problem.Unavailable, "")
	wants(t, e.PurgeExpired(e.ctx), problem.Unavailable, "")
}

func TestInterruptedPurgeIsFinished(t *testing.T) {
	e := newEnv(t)
	for i := range 120 {
		e.set(one, "n", fmt.Sprint(i))
	}
	e.delete(one, "n")
	e.state.left.Store(2) // the name goes, the versions stay
	if err := e.Purge(e.ctx, one, "n"); err != nil {
		t.Fatal(err)
	}
	e.state.left.Store(0)
	if e.lacks(one, "n"); len(e.documents()) < 100 {
		t.Fatal("nothing was left behind")
	}
	if err := e.PurgeExpired(e.ctx); err != nil || len(e.documents()) != 0 {
		t.Error(err, e.documents())
	}
}
