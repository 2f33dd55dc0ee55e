package storetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/blob"
	"github.com/latchkey/latchkey/internal/keystore/files"
	"github.com/latchkey/latchkey/internal/keystore/keyvault"
	"github.com/latchkey/latchkey/internal/testkit/localblob"
	"github.com/latchkey/latchkey/internal/testkit/localvault"
)

// follower is a keyring that serves an app and is asked nothing that would make it
// read its store.
func follower(t *testing.T, s keystore.Store) *keyring.Ring {
	t.Helper()
	r, err := keyring.New(keyring.Config{Store: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	if err := errors.Join(r.Start(t.Context()), r.Ensure(t.Context(), []string{"Hello"})); err != nil {
		t.Fatal(err)
	}
	return r
}

// comes waits until a key works at r, or no longer does, by itself.
func comes(t *testing.T, r *keyring.Ring, what, key string, works bool, each func()) {
	t.Helper()
	for end := time.Now().Add(time.Minute); (r.Match(key, r.Function("hello")).Reason == keyring.Matched) != works; {
		if time.Now().After(end) {
			t.Fatalf("%s is not noticed; health %+v", what, r.Health())
		}
		each()
		select {
		case <-t.Context().Done():
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// TestWhatOthersChangeIsInForceWithoutARestart: in each store, by another client of
// it, for the host's keys and a function's.
func TestWhatOthersChangeIsInForceWithoutARestart(t *testing.T) {
	for _, make := range []func(testing.TB) *place{inMemory, inFiles, inControlPlane, inBlobs, inVault, inSecret, inConfigMap} {
		p := make(t)
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			here, there := follower(t, p.open(t)), follower(t, p.direct(t))
			for _, sec := range []keyring.Section{keyring.HostKeys(), keyring.FunctionKeys("Hello"), keyring.SystemKeys(), keyring.MasterKey()} {
				passes(t, here, there, sec)
			}
			if h := here.Health(); h.State != keyring.OK {
				t.Errorf("health: %+v", h)
			}
		})
	}
}

// passes makes, replaces and removes a key at one ring and sees it at another.
func passes(t *testing.T, here, there *keyring.Ring, sec keyring.Section) {
	t.Helper()
	what, name := sec.Kind.String()+" key ", "partner"
	if sec == keyring.MasterKey() {
		name = "_master"
	}
	first, _, err := there.Renew(t.Context(), sec, name)
	if err != nil {
		t.Fatal(err)
	}
	comes(t, here, "a new "+what, first.Value, true, func() {})
	second, _, err := there.Renew(t.Context(), sec, name)
	if err != nil {
		t.Fatal(err)
	}
	comes(t, here, "another value of "+what, second.Value, true, func() {})
	comes(t, here, "the end of a value of "+what, first.Value, false, func() {})
	if sec == keyring.MasterKey() {
		return
	}
	if err := there.Delete(t.Context(), sec, name); err != nil {
		t.Fatal(err)
	}
	comes(t, here, "the end of "+what, second.Value, false, func() {})
}

// TestAnEditedFileIsInForce: by an editor that writes in place, and by one that puts
// a new file there.
func TestAnEditedFileIsInForce(t *testing.T) {
	dir := t.TempDir()
	r := follower(t, files.New(files.Config{Dir: dir}))
	const text = `{"keys":[{"name":"default","value":"VALUE","encrypted":false}]}`
	path := filepath.Join(dir, "hello.json")
	if err := os.WriteFile(path, []byte(strings.Replace(text, "VALUE", "written-in-place", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	comes(t, r, "an edited file", "written-in-place", true, func() {})
	beside := filepath.Join(dir, ".hello.swp")
	err := os.WriteFile(beside, []byte(strings.Replace(text, "VALUE", "put-there", 1)), 0o600)
	if err == nil {
		err = os.Rename(beside, path)
	}
	if err != nil {
		t.Fatal(err)
	}
	comes(t, r, "a replaced file", "put-there", true, func() {})
	comes(t, r, "the end of what was there", "written-in-place", false, func() {})
}

// TestAPollComesWithinItsInterval by the clock of the store, which is 15 seconds
// where nobody says otherwise.
func TestAPollComesWithinItsInterval(t *testing.T) {
	c := clock.NewManual(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	account, vault := localblob.Start(t, false), localvault.Start(t, localvault.Config{})
	vault.Allow("app", localvault.All...)
	openBlob := func(c clock.Clock) keystore.Store {
		return must[*blob.Store](t)(blob.Open(t.Context(), blob.Config{ConnectionString: account.ConnectionString(), App: "orders", Clock: c}))
	}
	openVault := func(c clock.Clock) keystore.Store {
		return must[*keyvault.Store](t)(keyvault.Open(t.Context(), keyvault.Config{
			URI: vault.URI, Credential: token("app"), App: "orders", Transport: vault.Transport, Clock: c,
		}))
	}
	for name, open := range map[string]func(clock.Clock) keystore.Store{"blob": openBlob, "keyvault": openVault} {
		here, there := follower(t, open(c)), open(clock.Real{})
		other, err := keyring.New(keyring.Config{Store: there})
		if err != nil {
			t.Fatal(err)
		}
		k, _, err := other.Set(t.Context(), keyring.HostKeys(), "partner", "put-by-another-client")
		if err != nil {
			t.Fatal(err)
		}
		before := c.Now()
		comes(t, here, name, k.Value, true, func() { advance(t.Context(), c, before) })
		other.Close()
		here.Close()
	}
}

// advance moves a clock that somebody waits for, but not past the interval.
func advance(ctx context.Context, c *clock.Manual, from time.Time) {
	const most = 15 * time.Second
	if c.Now().Sub(from) < most && c.AwaitTimers(ctx, 1) == nil {
		c.Advance(time.Second)
	}
}
