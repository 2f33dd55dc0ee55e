package secrets_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/vault"
	"github.com/latchkey/latchkey/internal/vault/secrets"
)

func (e *env) backup(v vault.Vault, name string) string {
	e.Helper()
	blob, err := e.Backup(e.ctx, v, name)
	if err != nil {
		e.Fatal(err)
	}
	return blob
}

func TestBackupHasAllVersions(t *testing.T) {
	e := newEnv(t)
	for i := range 120 {
		e.clock.Advance(time.Second)
		e.set(one, "Name", fmt.Sprint("hush-", i, strings.Repeat("x", 20_000)))
	}
	first, err := e.Update(e.ctx, one, "name", "", secrets.Attributes{Enabled: ptr(false), Tags: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	was := e.versions(one, "name")
	blob := e.backup(one, "name")
	if strings.ContainsFunc(blob, func(r rune) bool {
		return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", r)
	}) || strings.Contains(blob, "hush") {
		t.Error("the backup is no base64url, or can be read")
	}
	_, err = e.Restore(e.ctx, one, blob)
	wants(t, err, problem.Conflict, vault.SecretExists)
	e.delete(one, "name")
	_, err = e.Restore(e.ctx, one, blob)
	wants(t, err, problem.Conflict, vault.SecretDeleted)
	if err := e.Purge(e.ctx, one, "name"); err != nil || len(e.documents()) != 0 {
		t.Fatal(err)
	}
	e.clock.Advance(time.Hour)
	p, err := e.Restore(e.ctx, one, blob+"==")
	if err != nil || cmp.Diff(first, p) != "" {
		t.Fatal(cmp.Diff(first, p), err)
	}
	if diff := cmp.Diff(was, e.versions(one, "name")); diff != "" {
		t.Error(diff)
	}
	for version := range was {
		if version != p.Version && !strings.HasPrefix(e.value(one, "NAME", version), "hush-") {
			t.Error("wrong value")
		}
	}
	if len(e.documents()) != 120 {
		t.Error(len(e.documents()))
	}
	if next := e.set(one, "name", "more"); next.PreviousVersion != p.Version {
		t.Error(next)
	}
}

func TestBackupIsOfThisInstallationOnly(t *testing.T) {
	e, other := newEnv(t), newEnv(t)
	e.set(one, "n", "1")
	blob := e.backup(one, "n")
	if p, err := e.Restore(e.ctx, two, blob); err != nil || p.RecoverableDays != 7 || e.value(two, "n", "") != "1" {
		t.Error(p, err)
	}
	_, err := other.Restore(other.ctx, one, blob)
	wants(t, err, problem.Invalid, vault.BadParameter)
	elsewhere, err := e.config.Sealer.Seal(`{"format":1}`, "/vaults/x")
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "x", "!", blob[:len(blob)-4], "A" + blob, elsewhere} {
		_, err := e.Restore(e.ctx, one, bad)
		wants(t, err, problem.Invalid, vault.BadParameter)
	}
}

func TestBackupOfTooManyVersionsIsRefused(t *testing.T) {
	e := newEnv(t)
	for range secrets.MaxBackup {
		e.set(one, "n", "1")
	}
	blob := e.backup(one, "n")
	if _, err := e.Restore(e.ctx, two, blob); err != nil || len(e.versions(two, "n")) != secrets.MaxBackup {
		t.Error(err)
	}
	e.set(one, "n", "1")
	_, err := e.Backup(e.ctx, one, "n")
	wants(t, err, problem.Invalid, vault.BadParameter)
}

func TestInterruptedRestoreLeavesNothing(t *testing.T) {
	e := newEnv(t)
	for i := range 250 {
		e.set(one, "n", fmt.Sprint(i))
	}
	blob := e.backup(one, "n")
	if err := e.Drop(e.ctx, one.UID); err != nil {
		t.Fatal(err)
	}
	for writes := range 5 { // a note, three times versions, the head
		e.state.left.Store(int64(writes) + 1)
		_, err := e.Restore(e.ctx, one, blob)
		e.state.left.Store(0)
		wants(t, err, problem.Unavailable, "")
		if e.lacks(one, "n"); len(e.names(one)) != 0 {
			t.Fatal("a half restored secret is seen")
		}
		if err := e.PurgeExpired(e.ctx); err != nil {
			t.Fatal(err)
		}
		if left := e.documents(); len(left) == 0 != (writes == 0) { // it could be going on still
			t.Fatal(writes, left)
		}
		e.clock.Advance(time.Hour)
		if err := e.PurgeExpired(e.ctx); err != nil || len(e.documents()) != 0 {
			t.Fatal(err, e.documents())
		}
	}
	if _, err := e.Restore(e.ctx, one, blob); err != nil || len(e.versions(one, "n")) != 250 {
		t.Error(err)
	}
}

// FuzzBackup opens what strangers send, and what this installation would have to
// have sealed.
func FuzzBackup(f *testing.F) {
	f.Add("", false)
	f.Add("QUJD", false)
	f.Add(`{"format":1,"name":"n","versions":[{"id":"00000000000000000000000000000000","value":"aHVzaA=="}]}`, true)
	f.Add(`{"format":1,"name":"n","versions":[{"id":"x"},null]}`, true)
	f.Fuzz(func(t *testing.T, blob string, seal bool) {
		e := newEnv(t)
		if seal {
			sealed, err := e.config.Sealer.Seal(blob, "vault-secret-backup")
			if err != nil {
				t.Fatal(err)
			}
			blob = encode(sealed)
		}
		p, err := e.Restore(e.ctx, one, blob)
		if err != nil {
			wants(t, err, problem.Invalid, vault.BadParameter)
			if len(e.documents()) != 0 {
				t.Fatal(e.documents())
			}
			return
		}
		if _, err := e.Get(e.ctx, one, p.Name, p.Version); err != nil && problem.KindOf(err) != problem.Denied {
			t.Fatal(err)
		}
		if len(e.versions(one, p.Name)) == 0 || e.backup(one, p.Name) == "" {
			t.Fatal("it is not there")
		}
	})
}
