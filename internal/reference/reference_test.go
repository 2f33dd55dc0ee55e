package reference_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
	"github.com/latchkey/latchkey/internal/state"
)

var outage = &reference.Failure{Status: reference.OtherReasons, HTTPStatus: 500, InnerCode: "InternalServerError", Message: "the vault answered 500"}

func TestACopyGetsSecretsForReferences(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/db", "hunter2")
	w.vault.put("shop-kv/db/0123", reference.Secret{Value: "old", Version: "0123"})
	w.create("orders", map[string]string{
		"PLAIN": "x", "DB": ref("shop-kv", "db"), "GONE": ref("shop-kv", "gone"), "BAD": "@Microsoft.KeyVault(Vault=shop-kv)",
		"PINNED": "@Microsoft.KeyVault(SecretUri=https://shop-kv.vault.azure.net/secrets/db/0123)",
	})
	if _, err := w.apps.SetConnections(t.Context(), id("orders"), "me", map[string]app.Connection{"Main": {Value: ref("shop-kv", "db"), Type: "SQLAzure"}}, state.Any); err != nil {
		t.Fatal(err)
	}
	r := w.node()
	got := w.values(r, "orders")
	want := reference.Values{
		Settings: map[string]string{
			"PLAIN": "x", "DB": "hunter2", "GONE": ref("shop-kv", "gone"), "BAD": "@Microsoft.KeyVault(Vault=shop-kv)", "PINNED": "old",
		},
		Connections: map[string]app.Connection{"Main": {Value: "hunter2", Type: "SQLAzure"}},
		Unresolved: []reference.Problem{
			{Section: app.AppSettings, Setting: "BAD", Status: reference.InvalidSyntax, Why: `unknown part "Vault" at position 21`},
			{Section: app.AppSettings, Setting: "GONE", Status: reference.SecretNotFound, Why: "there is no such secret"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := w.vault.called("shop-kv/db"); n != 1 {
		t.Errorf("a secret that two settings name was fetched %d times", n)
	}
	q := w.vault.queries[0]
	if q.App.String() != id("orders").String() || q.Identity.ObjectID != "principal-of-orders" {
		t.Errorf("%+v", q)
	}
	pinned := w.report(r, "orders", "PINNED")
	if pinned.Status != reference.Resolved || pinned.Version != "0123" || pinned.Ref.Host != "shop-kv.vault.azure.net" || pinned.Details != "Reference has been successfully resolved." {
		t.Errorf("%+v", pinned)
	}
}

func TestEveryStatus(t *testing.T) {
	denied := &reference.Failure{Status: reference.AccessDenied, HTTPStatus: 403, InnerCode: "ForbiddenByPolicy", Message: "no get permission"}
	for name, tt := range map[string]struct {
		fault  error
		secret reference.Secret
		who    func(app.Snapshot) (identity.Assigned, error)
		want   reference.Status
		inner  string
		why    string
	}{
		"resolved":        {secret: reference.Secret{Value: "x", Version: "1"}, want: reference.Resolved},
		"odd":             {secret: reference.Secret{Value: "x", Version: "\xff", Expires: time.Unix(1<<40, 0)}, want: reference.Resolved},
		"empty":           {secret: reference.Secret{Version: "1"}, want: reference.OtherReasons, inner: "SecretEmpty", why: "empty"},
		"zero byte":       {secret: reference.Secret{Value: "a\x00b", Version: "1"}, want: reference.OtherReasons, inner: "SecretNotText", why: "zero byte"},
		"no text":         {secret: reference.Secret{Value: "\xff", Version: "1"}, want: reference.OtherReasons, inner: "SecretNotText", why: "no text"},
		"too large":       {secret: reference.Secret{Value: strings.Repeat("x", 600<<10), Version: "1"}, want: reference.OtherReasons, inner: "ValuesTooLarge", why: "512 KiB"},
		"denied":          {fault: denied, want: reference.AccessDenied, inner: "ForbiddenByPolicy", why: "no get permission"},
		"denied by kind":  {fault: problem.New(problem.Denied, "no").WithNext("grant it"), want: reference.AccessDenied, why: "no; grant it"},
		"no token":        {fault: problem.New(problem.Unauthenticated, "refused"), want: reference.UnauthorizedClient, why: "refused"},
		"not found":       {fault: problem.New(problem.NotFound, "none"), want: reference.SecretNotFound, why: "none"},
		"no version":      {fault: &reference.Failure{Status: reference.SecretVersionNotFound, Message: "none"}, want: reference.SecretVersionNotFound},
		"no vault":        {fault: &reference.Failure{Status: reference.VaultNotFound, Message: "no such host"}, want: reference.VaultNotFound},
		"outage":          {fault: outage, want: reference.OtherReasons, inner: "InternalServerError"},
		"unreachable":     {fault: problem.New(problem.Unavailable, "cut"), want: reference.OtherReasons, why: "cut"},
		"disabled":        {fault: &reference.Failure{Status: reference.OtherReasons, HTTPStatus: 403, InnerCode: "SecretDisabled"}, want: reference.OtherReasons, inner: "SecretDisabled"},
		"timeout":         {fault: context.DeadlineExceeded, want: reference.FetchTimedOut, why: "in time"},
		"timeout by kind": {fault: problem.New(problem.Timeout, "slow"), want: reference.FetchTimedOut},
		"nonsense":        {fault: &reference.Failure{Status: reference.Resolved, Message: "?"}, want: reference.OtherReasons},
		"no identity": {who: func(app.Snapshot) (identity.Assigned, error) {
			return identity.Assigned{}, problem.New(problem.NotFound, "the app has no identity")
		}, want: reference.MSINotEnabled, why: "the app has no identity"},
		"dangling": {who: func(app.Snapshot) (identity.Assigned, error) {
			return identity.Assigned{ResourceID: "/x"}, nil
		}, want: reference.MSINotEnabled, why: "/x is assigned but exists no longer"},
		"directory away": {who: func(app.Snapshot) (identity.Assigned, error) {
			return identity.Assigned{}, problem.New(problem.Unavailable, "cut")
		}, want: reference.OtherReasons, why: "cut"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.identity(tt.who)
			w.vault.put("shop-kv/s", tt.secret)
			w.vault.fault("shop-kv/s", tt.fault)
			w.vault.set("shop-kv/other", "fine")
			w.create("orders", map[string]string{"S": ref("shop-kv", "s"), "T": ref("shop-kv", "other")})
			r := w.node()
			v := w.values(r, "orders")
			rep := w.report(r, "orders", "S")
			if rep.Status != tt.want || rep.InnerCode != tt.inner || !strings.Contains(rep.Why, tt.why) || rep.Details == "" || !rep.LastAttempt.Equal(w.clock.Now()) {
				t.Errorf("%+v", rep)
			}
			if tt.who == nil && v.Settings["T"] != "fine" {
				t.Errorf("the other reference gives %q", v.Settings["T"])
			}
			if tt.want != reference.Resolved && v.Settings["S"] != ref("shop-kv", "s") {
				t.Errorf("it gives %q", v.Settings["S"])
			}
			again := w.snapshot("orders")
			revision := w.revision(again.UID)
			if err := r.Refresh(t.Context(), again.App); err != nil || w.revision(again.UID) != revision {
				t.Errorf("it was stored again and nothing changed: %v", err)
			}
			if n := r.Stats().Fetches[tt.want]; n == 0 && tt.inner != "ValuesTooLarge" {
				t.Errorf("%+v", r.Stats())
			}
		})
	}
}

func TestASilentVaultEndsInATimeout(t *testing.T) {
	w := newWorld(t)
	defer w.vault.hold()()
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	for name, limit := range map[string]func(*reference.Config){
		"of a fetch": func(c *reference.Config) { c.Timeout = time.Millisecond },
		"of opening": func(c *reference.Config) { c.Opening = time.Millisecond },
	} {
		if _, err := w.apps.Restart(t.Context(), id("orders"), "me"); err != nil {
			t.Fatal(err)
		}
		v := w.values(w.node(limit), "orders")
		if len(v.Unresolved) != 1 || v.Unresolved[0].Status != reference.FetchTimedOut || v.Settings["S"] != ref("shop-kv", "s") {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestFailuresAreToldAndRefused(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "x")
	w.create("orders", map[string]string{"S": ref("shop-kv", "s"), "T": ref("shop-kv", "t")})
	refuse := w.node(func(c *reference.Config) { c.Refuse = true })
	_, err := refuse.Values(t.Context(), w.snapshot("orders"))
	if !errors.Is(err, problem.Unavailable) || !strings.Contains(err.Error(), `T: SecretNotFound: there is no such secret`) {
		t.Error(err)
	}
	w.vault.set("shop-kv/t", "y")
	if err := refuse.Refresh(t.Context(), w.snapshot("orders").App); err != nil {
		t.Fatal(err)
	}
	w.vault.fault("shop-kv", outage)
	if err := refuse.Refresh(t.Context(), w.snapshot("orders").App); err != nil {
		t.Fatal(err)
	}
	v := w.values(refuse, "orders")
	if v.Settings["T"] != "y" || len(v.Unresolved) != 2 || !v.Unresolved[1].Stale {
		t.Errorf("%+v", v)
	}
	if text := v.Unresolved[1].String(); text != `appsettings "T": OtherReasons (the vault answered 500); the last good value is used` {
		t.Error(text)
	}
}

func TestCopiesThatOpenTogetherFetchOnce(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "x")
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	r, a := w.node(), w.snapshot("orders")
	release := w.vault.hold()
	got := make(chan string)
	for range 10 {
		go func() {
			v, err := r.Values(context.Background(), a)
			got <- fmt.Sprint(v.Settings["S"], err)
		}()
	}
	w.await("somebody fetches", func() bool { return w.vault.going() == 1 })
	release()
	for range 10 {
		if text := <-got; text != "x<nil>" {
			t.Error(text)
		}
	}
	if n := w.vault.total(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	w.values(w.node(), "orders") // on another node, later
	if n := w.vault.total(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// TestAStartOrRestartPicksUpARotatedSecret is what people miss on the platform.
func TestAStartOrRestartPicksUpARotatedSecret(t *testing.T) {
	w := newWorld(t)
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	r := w.node()
	for value, change := range map[string]func(){
		"started": func() { w.setState("orders", app.Stopped); w.setState("orders", app.Running) },
		"restarted": func() {
			if _, err := w.apps.Restart(t.Context(), id("orders"), "me"); err != nil {
				t.Fatal(err)
			}
		},
		"set": func() {
			w.set("orders", map[string]string{"S": ref("shop-kv", "s"), "OTHER": fmt.Sprint(w.snapshot("orders").Generation)})
		},
	} {
		w.vault.set("shop-kv/s", value)
		change()
		if v := w.values(r, "orders"); v.Settings["S"] != value {
			t.Errorf("%s gives %q", value, v.Settings["S"])
		}
	}
	if n := w.touched(); n != 0 {
		t.Errorf("copies that have the newest value were made to start %d times", n)
	}
}

func TestReportReadsWithoutFetching(t *testing.T) {
	w := newWorld(t)
	w.create("orders", map[string]string{"S": ref("shop-kv", "s"), "BAD": "@Microsoft.KeyVault()"})
	r := w.node()
	rep := w.report(r, "orders", "S")
	if rep.Status != reference.Initialized || rep.Details != "" || rep.Identity.Type != "SystemAssigned" {
		t.Errorf("%+v", rep)
	}
	if rep := w.report(r, "orders", "BAD"); rep.Status != reference.InvalidSyntax || !strings.Contains(rep.Why, "position 21") {
		t.Errorf("%+v", rep)
	}
	if n := w.vault.total(); n != 0 {
		t.Errorf("%d fetches", n)
	}
	w.create("plain", map[string]string{"A": "b"})
	all, err := r.All(t.Context())
	if err != nil || len(all) != 1 || all[0].App.Name != "orders" || all[0].Failing != 2 || all[0].Valueless != 2 {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestADamagedDocumentIsReplaced also checks that copies are brought up to date,
// since nobody knows what they have.
func TestADamagedDocumentIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "x")
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	key := reference.Documents + state.Key(w.snapshot("orders").UID)
	if _, err := w.store.Write(t.Context(), state.Put(key, []byte("{"), state.Any)); err != nil {
		t.Fatal(err)
	}
	r := w.node()
	if rep := w.report(r, "orders", "S"); rep.Status != reference.Initialized || rep.Why == "" {
		t.Errorf("%+v", rep)
	}
	if v := w.values(r, "orders"); v.Settings["S"] != "x" {
		t.Errorf("%+v", v)
	}
	if rep := w.report(r, "orders", "S"); rep.Status != reference.Resolved {
		t.Errorf("%+v", rep)
	}
	if w.touched() != 1 {
		t.Errorf("touched %d times", w.touched())
	}
}

func TestWhatIsKnownGoesWithTheApp(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "x")
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	r, a := w.node(), w.snapshot("orders")
	release := w.vault.hold()
	ended := make(chan error)
	go func() {
		_, err := r.Values(context.Background(), a)
		ended <- err
	}()
	w.await("it is being fetched", func() bool { return w.vault.going() == 1 })
	if err := w.apps.Delete(t.Context(), id("orders"), "me"); err != nil {
		t.Fatal(err)
	}
	if err := r.Forget(t.Context(), a.UID); err != nil {
		t.Fatal(err)
	}
	release()
	if err := <-ended; !errors.Is(err, problem.NotFound) {
		t.Error(err)
	}
	list, err := w.store.List(t.Context(), reference.Documents, state.Page{})
	if err != nil || len(list.Documents) != 0 {
		t.Errorf("%+v, %v", list.Documents, err)
	}
}

func TestADocumentWithoutReferencesGoes(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "x")
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	r := w.running()
	w.awaitStatus(r, "orders", "S", reference.Resolved)
	w.set("orders", map[string]string{"S": "plain"})
	w.await("the document is gone", func() bool {
		list, err := w.store.List(t.Context(), reference.Documents, state.Page{})
		return err == nil && len(list.Documents) == 0
	})
}

// TestATextThatChangesGivesUpTheOldValue has a setting that refers to another
// secret, which cannot be read: the value of the former is nobody's business then.
func TestATextThatChangesGivesUpTheOldValue(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "x")
	w.create("orders", map[string]string{"S": ref("shop-kv", "s")})
	r := w.node()
	w.values(r, "orders")
	w.set("orders", map[string]string{"s": ref("shop-kv", "s")}) // the same setting
	w.vault.fault("shop-kv", outage)
	if v := w.values(r, "orders"); v.Settings["s"] != "x" {
		t.Errorf("%+v", v)
	}
	w.set("orders", map[string]string{"S": ref("shop-kv", "other")})
	if v := w.values(r, "orders"); v.Settings["S"] != ref("shop-kv", "other") {
		t.Errorf("%+v", v)
	}
}

// sealed is a store that cannot open the documents of references.
type sealed struct{ state.Store }

func (s sealed) Get(ctx context.Context, key state.Key) (state.Document, error) {
	if strings.HasPrefix(string(key), string(reference.Documents)) {
		return state.Document{}, problem.New(problem.Undecryptable, "the key is not there")
	}
	return s.Store.Get(ctx, key)
}

// TestADocumentThatCannotBeOpenedIsKept until all references have values again:
// the key may come back.
func TestADocumentThatCannotBeOpenedIsKept(t *testing.T) {
	w := newWorld(t)
	w.vault.set("shop-kv/s", "x")
	w.create("orders", map[string]string{"S": ref("shop-kv", "s"), "T": ref("shop-kv", "t")})
	w.values(w.node(), "orders")
	key := reference.Documents + state.Key(w.snapshot("orders").UID)
	before, err := w.store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	r := w.node(func(c *reference.Config) { c.Store = sealed{w.store} })
	if v := w.values(r, "orders"); v.Settings["S"] != "x" {
		t.Errorf("%+v", v)
	}
	if after, err := w.store.Get(t.Context(), key); err != nil || after.Revision != before.Revision {
		t.Errorf("it was replaced: %v", err)
	}
	if list, err := r.Report(t.Context(), w.snapshot("orders").App, app.AppSettings); err != nil || list[0].Status != reference.Initialized || list[0].Why == "" {
		t.Errorf("%+v, %v", list, err)
	}
	w.vault.set("shop-kv/t", "y")
	if v := w.values(r, "orders"); v.Settings["T"] != "y" {
		t.Errorf("%+v", v)
	}
	if after, err := w.store.Get(t.Context(), key); err != nil || after.Revision == before.Revision {
		t.Errorf("it was not replaced: %v", err)
	}
}
