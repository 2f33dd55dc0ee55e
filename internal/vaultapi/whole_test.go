package vaultapi

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/vault"
	"github.com/latchkey/latchkey/internal/vault/secrets"
)

const (
	officer     = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7" // Key Vault Secrets Officer
	secretsUser = "4633458b-17de-408a-b874-0445c86b69e6" // Key Vault Secrets User
	alice       = "aaaaaaaa-0000-0000-0000-000000000001"
	bob         = "bbbbbbbb-0000-0000-0000-000000000002"
)

// whole is a vault with roles, with everything that the platform puts behind it.
type whole struct {
	t         testing.TB
	clock     *clock.Manual
	vault     resource.ID
	roles     *rbac.Roles
	authority *token.Authority
	cfg       Config
}

func newWhole(t testing.TB) *whole {
	t.Helper()
	w := &whole{t: t, clock: clock.NewManual(time.Unix(1_700_000_000, 0))}
	store, log := memory.New(w.clock), slog.New(slog.DiscardHandler)
	inv := &inventory.Inventory{Store: store, Clock: w.clock}
	w.roles = rbac.New(inv, w.clock, log)
	vaults := vault.New(vault.Config{Inventory: inv, Log: log, Roles: w.roles})
	var err error
	w.authority, err = token.New(token.Config{Store: store, Clock: w.clock, Log: log, TenantID: tenant,
		Active: func(_ context.Context, objectID string, _ int64) (string, error) { return objectID, nil }})
	if err != nil {
		t.Fatal(err)
	}
	w.run(w.roles.Run, vaults.Run, w.authority.Run)
	t.Cleanup(func() { _ = store.Close() })
	if err := w.roles.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.create(inv, vaults)
	w.cfg = Config{
		Vaults: vaults, Secrets: secrets.New(secrets.Config{State: store, Clock: w.clock, Sealer: thin{}}), Clock: w.clock,
		Name: func(host string) (string, bool) {
			return strings.CutSuffix(strings.Split(host, ":")[0], ".vault.localhost")
		},
		LoginURL: func(string) string { return "https://localhost:7443/" + tenant }, Authenticate: w.authenticate,
	}
	return w
}

// run runs things until the test ends.
func (w *whole) run(list ...func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	for _, f := range list {
		go func() { f(ctx); done <- struct{}{} }()
	}
	w.t.Cleanup(func() {
		cancel()
		for range list {
			<-done
		}
	})
}

// create makes the vault kv1 in a group.
func (w *whole) create(inv *inventory.Inventory, vaults *vault.Vaults) {
	w.t.Helper()
	group := resource.Group("s", "g")
	if _, _, err := inv.Write(w.t.Context(), group, "", func(r inventory.Resource, _ bool) (inventory.Resource, error) { return r, nil }); err != nil {
		w.t.Fatal(err)
	}
	var err error
	if w.vault, err = resource.Parse(vaultID); err != nil {
		w.t.Fatal(err)
	}
	spec, err := vault.ParseSpec([]byte(`{"location":"westeurope","properties":{"tenantId":"` + tenant + `","sku":{"family":"A","name":"standard"},"enableRbacAuthorization":true}}`))
	if err != nil {
		w.t.Fatal(err)
	}
	if _, _, err := vaults.Put(w.t.Context(), w.vault, "", spec); err != nil {
		w.t.Fatal(err)
	}
	eventually(w.t, func() bool { _, err := vaults.ByName("kv1"); return err == nil })
}

// eventually waits until something holds.
func eventually(t testing.TB, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
}

func (w *whole) authenticate(ctx context.Context, r *http.Request, resource string) (vault.Caller, error) {
	raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return vault.Caller{}, problem.New(problem.Unauthenticated, "there is no bearer token")
	}
	v, err := w.authority.Verify(ctx, raw, token.Expect{Audiences: []string{resource, "https://vault.azure.net"}})
	return vault.Caller{ObjectID: v.ObjectID, AppID: v.AppID, TenantID: v.TenantID, Issuer: token.IssuerV1(v.TenantID)}, err
}

// grant gives somebody a role at the vault, or a secret of it, and waits until it
// counts.
func (w *whole) grant(who, role string, scope resource.ID) rbac.Assignment {
	w.t.Helper()
	name := "cccccccc-0000-0000-0000-" + who[24:]
	a, _, err := w.roles.Assign(w.t.Context(), rbac.Assign{Scope: scope, Name: name, Principal: who, Role: role, PrincipalType: "ServicePrincipal"})
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

// token gives a token as a credential does.
func (w *whole) token(who, audience string) string {
	made, err := w.authority.Mint(context.Background(), token.Claims{Audience: audience, ObjectID: who, AppID: who, Proof: token.ProofSecret}, time.Hour)
	if err != nil {
		panic(err)
	}
	return made.Raw
}

// principal is a credential.
type principal struct {
	w   *whole
	who string
}

func (p principal) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: p.w.token(p.who, strings.TrimSuffix(o.Scopes[0], "/.default")), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func (w *whole) client(t *testing.T, who string) *azsecrets.Client {
	return sdk(t, principal{w, who}, func(resource string) http.Handler {
		cfg := w.cfg
		cfg.Resource = func(string) string { return resource }
		h, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return h
	})
}

// thin is a sealer that is enough to tell a backup from what was not sealed.
type thin struct{}

func (thin) Seal(plain, place string) (string, error) {
	return "T" + base64.RawURLEncoding.EncodeToString([]byte(place+"|"+plain)), nil
}

func (thin) Open(sealed, place string) (string, bool, error) {
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(sealed, "T"))
	plain, ok := strings.CutPrefix(string(text), place+"|")
	if err != nil || !ok {
		return "", false, problem.New(problem.Undecryptable, "it was not sealed here")
	}
	return plain, false, nil
}
func (thin) Seals() bool   { return true }
func (thin) KeyID() string { return "thin" }

// codes gives what a client sees of an error.
func codes(err error) string {
	var re *azcore.ResponseError
	if !errors.As(err, &re) {
		return fmt.Sprint(err)
	}
	return fmt.Sprintf("%d %s", re.StatusCode, re.ErrorCode)
}

func TestLifeOfASecret(t *testing.T) {
	w := newWhole(t)
	w.grant(alice, officer, w.vault)
	eventually(t, func() bool { return w.may(alice) })
	c, ctx := w.client(t, alice), t.Context()
	set := func(value string) *azsecrets.SetSecretResponse {
		r, err := c.SetSecret(ctx, "Db-Password", azsecrets.SetSecretParameters{Value: &value}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return &r
	}
	expect := func(what, want string, err error) {
		t.Helper()
		if got := codes(err); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	first := set("one")
	w.clock.Advance(time.Second)
	set("two")
	if got, err := c.GetSecret(ctx, "db-password", "", nil); err != nil || *got.Value != "two" || got.ID.Name() != "Db-Password" {
		t.Errorf("latest: %+v %v", got, err)
	}
	if got, err := c.GetSecret(ctx, "DB-PASSWORD", first.ID.Version(), nil); err != nil || *got.Value != "one" {
		t.Errorf("first: %+v %v", got, err)
	}
	_, err := c.GetSecret(ctx, "other", "", nil)
	expect("missing", "404 SecretNotFound", err)
	_, err = c.GetSecret(ctx, "db-password", strings.Repeat("0", 32), nil)
	expect("missing version", "404 SecretNotFound", err)

	off := false
	if _, err = c.UpdateSecretProperties(ctx, "db-password", first.ID.Version(), azsecrets.UpdateSecretPropertiesParameters{SecretAttributes: &azsecrets.SecretAttributes{Enabled: &off}}, nil); err != nil {
		t.Fatal(err)
	}
	_, err = c.GetSecret(ctx, "db-password", first.ID.Version(), nil)
	expect("disabled", "403 Forbidden", err)

	backup, err := c.BackupSecret(ctx, "db-password", nil)
	expect("backup", "<nil>", err)
	_, err = c.DeleteSecret(ctx, "db-password", nil)
	expect("delete", "<nil>", err)
	value := "three"
	_, err = c.SetSecret(ctx, "db-password", azsecrets.SetSecretParameters{Value: &value}, nil)
	expect("set while deleted", "409 Conflict", err)
	_, err = c.GetDeletedSecret(ctx, "db-password", nil)
	expect("get deleted", "<nil>", err)
	_, err = c.RecoverDeletedSecret(ctx, "db-password", nil)
	expect("recover", "<nil>", err)
	_, err = c.DeleteSecret(ctx, "db-password", nil)
	expect("delete again", "<nil>", err)
	_, err = c.PurgeDeletedSecret(ctx, "db-password", nil)
	expect("purge", "<nil>", err)
	_, err = c.GetDeletedSecret(ctx, "db-password", nil)
	expect("get purged", "404 SecretNotFound", err)
	_, err = c.RestoreSecret(ctx, azsecrets.RestoreSecretParameters{SecretBackup: backup.Value}, nil)
	expect("restore", "<nil>", err)
	_, err = c.RestoreSecret(ctx, azsecrets.RestoreSecretParameters{SecretBackup: backup.Value}, nil)
	expect("restore again", "409 Conflict", err)
	_, err = c.RestoreSecret(ctx, azsecrets.RestoreSecretParameters{SecretBackup: []byte("made up")}, nil)
	expect("restore nonsense", "400 BadParameter", err)
	if got, err := c.GetSecret(ctx, "db-password", "", nil); err != nil || *got.Value != "two" {
		t.Errorf("restored: %+v %v", got, err)
	}
	long := strings.Repeat("x", secrets.MaxValue+1)
	_, err = c.SetSecret(ctx, "long", azsecrets.SetSecretParameters{Value: &long}, nil)
	expect("too long", "400 BadParameter", err)
}

// may says whether somebody may read secrets of the vault.
func (w *whole) may(who string) bool {
	v, err := w.cfg.Vaults.ByName("kv1")
	if err != nil {
		return false
	}
	_, err = w.cfg.Vaults.Check(w.t.Context(), v, vault.Caller{ObjectID: who}, vault.Get, "x")
	return err == nil
}

func TestListsOfManySecrets(t *testing.T) {
	w := newWhole(t)
	w.grant(alice, officer, w.vault)
	eventually(t, func() bool { return w.may(alice) })
	c, ctx, value := w.client(t, alice), t.Context(), "v"
	const many = 60
	for i := range many {
		name := fmt.Sprintf("Secret-%02d", i)
		if i%2 == 0 {
			name = "versioned"
		}
		if _, err := c.SetSecret(ctx, name, azsecrets.SetSecretParameters{Value: &value}, nil); err != nil {
			t.Fatal(err)
		}
	}
	seen, pages := map[string]bool{}, 0
	for pager := c.NewListSecretPropertiesPager(nil); pager.More(); pages++ {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Value {
			if p.ID.Version() != "" {
				t.Errorf("%s has a version", *p.ID)
			}
			seen[p.ID.Name()] = true
		}
	}
	if len(seen) != many/2+1 || pages != 2 {
		t.Errorf("%d secrets on %d pages", len(seen), pages)
	}
	clear(seen)
	for pager := c.NewListSecretPropertiesVersionsPager("versioned", nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Value {
			seen[p.ID.Version()] = true
		}
	}
	if len(seen) != many/2 {
		t.Errorf("%d versions", len(seen))
	}
}

func TestPermissionsCountAtOnce(t *testing.T) {
	w := newWhole(t)
	w.grant(alice, officer, w.vault)
	eventually(t, func() bool { return w.may(alice) })
	c, mine, value := w.client(t, alice), w.client(t, bob), "v"
	if _, err := c.SetSecret(t.Context(), "n", azsecrets.SetSecretParameters{Value: &value}, nil); err != nil {
		t.Fatal(err)
	}
	read := func() string { _, err := mine.GetSecret(t.Context(), "n", "", nil); return codes(err) }
	if got := read(); got != "403 Forbidden" {
		t.Errorf("without a role: %s", got)
	}
	a := w.grant(bob, secretsUser, w.vault.Child("", "secrets", "n"))
	eventually(t, func() bool { return read() == "<nil>" })
	_, err := mine.GetSecret(t.Context(), "other", "", nil)
	if codes(err) != "403 Forbidden" {
		t.Errorf("another secret: %v", err)
	}
	_, err = mine.SetSecret(t.Context(), "n", azsecrets.SetSecretParameters{Value: &value}, nil)
	if codes(err) != "403 Forbidden" {
		t.Errorf("write: %v", err)
	}
	if _, err := w.roles.Unassign(t.Context(), a.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return read() == "403 Forbidden" }) // with the token from before
}

// BenchmarkGetWhole reads a secret through TLS, token check, roles and the state
// in memory, clients on the same machine.
func BenchmarkGetWhole(b *testing.B) {
	w := newWhole(b)
	w.grant(alice, secretsUser, w.vault)
	eventually(b, func() bool { return w.may(alice) })
	v, err := w.cfg.Vaults.ByName("kv1")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := w.cfg.Secrets.Set(b.Context(), v, "n", strings.Repeat("x", 200), secrets.Attributes{}); err != nil {
		b.Fatal(err)
	}
	w.cfg.Resource = func(string) string { return "https://vault.localhost:7443" }
	h, err := New(w.cfg)
	if err != nil {
		b.Fatal(err)
	}
	auth := "Bearer " + w.token(alice, "https://vault.azure.net")
	b.Run("handler", func(b *testing.B) {
		r := httptest.NewRequest("GET", "https://"+host+"/secrets/n?api-version=7.4", nil)
		r.Header.Set("Authorization", auth)
		b.ReportAllocs()
		for b.Loop() {
			w := discard{h: http.Header{}}
			if h.ServeHTTP(&w, r); w.status != 200 {
				b.Fatal(w.status)
			}
		}
	})
	b.Run("tls", func(b *testing.B) {
		server := httptest.NewTLSServer(h)
		defer server.Close()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(server)}}
			defer client.CloseIdleConnections()
			for pb.Next() {
				if err := getOnce(client, server.URL, auth); err != nil {
					b.Error(err)
					return
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "gets/s")
	})
}
