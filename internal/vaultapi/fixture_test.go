package vaultapi

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/vault"
	"github.com/latchkey/latchkey/internal/vault/secrets"
)

const (
	host    = "kv1.vault.localhost:7443"
	tenant  = "11111111-2222-3333-4444-555555555555"
	version = "0123456789abcdef0123456789abcdef"
	vaultID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/kv1"
)

// env is a service on fakes. Its fields may be changed before a request.
type env struct {
	t       *testing.T
	cfg     Config
	clock   *clock.Manual
	vaults  *fakeVaults
	secrets *fakeSecrets

	mu     sync.Mutex
	events []Event
	audits []Event
	handle http.Handler
}

func newEnv(t *testing.T, change ...func(*Config)) *env {
	t.Helper()
	e := &env{t: t, clock: clock.NewManual(time.Unix(1_700_000_000, 0)), secrets: &fakeSecrets{}}
	id, err := resource.Parse(vaultID)
	if err != nil {
		t.Fatal(err)
	}
	e.vaults = &fakeVaults{vault: vault.Vault{ID: id, Name: "kv1", UID: "u1", Location: "westeurope", TenantID: tenant, RetentionDays: 90}}
	e.cfg = Config{
		Vaults: e.vaults, Secrets: e.secrets, Clock: e.clock, Authenticate: authenticate,
		Name: func(host string) (string, bool) {
			return strings.CutSuffix(strings.Split(host, ":")[0], ".vault.localhost")
		},
		Resource: func(string) string { return "https://vault.localhost:7443" },
		LoginURL: func(string) string { return "https://localhost:7443/" + tenant },
		OnEvent:  func(ev Event) { e.mu.Lock(); defer e.mu.Unlock(); e.events = append(e.events, ev) },
		Audit: func(_ context.Context, ev Event) error {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.audits = append(e.audits, ev)
			return nil
		},
	}
	for _, c := range change {
		c(&e.cfg)
	}
	if e.handle, err = New(e.cfg); err != nil {
		t.Fatal(err)
	}
	return e
}

// authenticate takes "ok", and says of other tokens what their names say.
func authenticate(_ context.Context, r *http.Request, _ string) (vault.Caller, error) {
	switch raw := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); raw {
	case "ok":
		return vault.Caller{ObjectID: "oid", AppID: "app", TenantID: tenant}, nil
	case "audience":
		return vault.Caller{}, &token.Refused{Reason: token.WrongAudience, Detail: `it is for "https://graph"`}
	case "issuer":
		return vault.Caller{}, &token.Refused{Reason: token.WrongIssuer, Detail: "its issuer or tenant is another one"}
	case "expired":
		return vault.Caller{}, &token.Refused{Reason: token.Expired, Detail: "it expired at 2023"}
	case "forged":
		return vault.Caller{}, &token.Refused{Reason: token.BadSignature, Detail: "its signature is wrong"}
	case "down":
		return vault.Caller{}, problem.New(problem.Unavailable, "the state cannot be reached")
	}
	return vault.Caller{}, problem.New(problem.Unauthenticated, "the Authorization header has no bearer token")
}

// do sends a request with a good token to the vault kv1.
func (e *env) do(method, target, body string) *httptest.ResponseRecorder {
	return e.send(method, target, body, "Bearer ok")
}

func (e *env) send(method, target, body, authorization string) *httptest.ResponseRecorder {
	e.t.Helper()
	r := httptest.NewRequest(method, "https://"+host+target, strings.NewReader(body))
	r.RemoteAddr = "203.0.113.7:50000"
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	e.handle.ServeHTTP(w, r)
	return w
}

// last gives the event of the request before.
func (e *env) last() Event {
	e.t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.events) == 0 {
		e.t.Fatal("no event")
	}
	return e.events[len(e.events)-1]
}

type fakeVaults struct {
	vault vault.Vault
	err   error // of Check
	grant vault.Grant
	asked []string // operation and secret, of Check
	from  []netip.Addr
	gone  bool
}

func (f *fakeVaults) ByName(name string) (vault.Vault, error) {
	if f.gone || !strings.EqualFold(name, f.vault.Name) {
		return vault.Vault{}, problem.Wrap(problem.NotFound, "no such vault", vault.VaultNotFound)
	}
	return f.vault, nil
}

func (f *fakeVaults) Check(_ context.Context, _ vault.Vault, c vault.Caller, op vault.Operation, secret string) (vault.Grant, error) {
	f.asked = append(f.asked, strings.TrimSuffix(op.String()+" "+secret, " "))
	f.from = append(f.from, c.Address)
	return f.grant, f.err
}

// fakeSecrets notes calls and gives what it was told to.
type fakeSecrets struct {
	err   error
	calls []string
	attrs secrets.Attributes
	props secrets.Properties
	pages map[string]page // by marker
	value string
	panic bool
}

type page struct {
	names []string
	next  string
}

func (f *fakeSecrets) note(format string, args ...any) error {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	if f.panic {
		panic("with a value")
	}
	return f.err
}

func (f *fakeSecrets) properties(name string) secrets.Properties {
	p := f.props
	if p.Name == "" {
		p.Name = name
	}
	if p.Version == "" {
		p.Version = version
	}
	p.Enabled = true
	if p.Created.IsZero() {
		p.Created, p.Updated = time.Unix(1_700_000_000, 0), time.Unix(1_700_000_001, 0)
	}
	p.RecoveryLevel, p.RecoverableDays = "Recoverable+Purgeable", 90
	return p
}

func (f *fakeSecrets) Set(_ context.Context, v vault.Vault, name, value string, a secrets.Attributes) (secrets.Bundle, error) {
	f.attrs = a
	return secrets.Bundle{Properties: f.properties(name), Value: value}, f.note("set %s %s", name, value)
}

func (f *fakeSecrets) Get(_ context.Context, v vault.Vault, name, version string) (secrets.Bundle, error) {
	return secrets.Bundle{Properties: f.properties(name), Value: f.value}, f.note("get %s %s", name, version)
}

func (f *fakeSecrets) Update(_ context.Context, v vault.Vault, name, version string, a secrets.Attributes) (secrets.Properties, error) {
	f.attrs = a
	return f.properties(name), f.note("update %s %s", name, version)
}

func (f *fakeSecrets) list(p secrets.Page) (list []secrets.Properties, next string) {
	for _, name := range f.pages[p.After].names {
		list = append(list, f.properties(name))
	}
	return list, f.pages[p.After].next
}

func (f *fakeSecrets) List(_ context.Context, v vault.Vault, p secrets.Page) ([]secrets.Properties, string, error) {
	list, next := f.list(p)
	return list, next, f.note("list %q %d", p.After, p.Limit)
}

func (f *fakeSecrets) Versions(_ context.Context, v vault.Vault, name string, p secrets.Page) ([]secrets.Properties, string, error) {
	list, next := f.list(p)
	return list, next, f.note("versions %s %q %d", name, p.After, p.Limit)
}

func (f *fakeSecrets) gone(p secrets.Properties) secrets.Deleted {
	return secrets.Deleted{Properties: p, DeletedAt: time.Unix(1_700_000_000, 0), PurgeAt: time.Unix(1_707_776_000, 0)}
}

func (f *fakeSecrets) Delete(_ context.Context, v vault.Vault, name string) (secrets.Deleted, error) {
	return f.gone(f.properties(name)), f.note("delete %s", name)
}

func (f *fakeSecrets) GetDeleted(_ context.Context, v vault.Vault, name string) (secrets.Deleted, error) {
	return f.gone(f.properties(name)), f.note("getDeleted %s", name)
}

func (f *fakeSecrets) Deleted(_ context.Context, v vault.Vault, p secrets.Page) ([]secrets.Deleted, string, error) {
	list, next := f.list(p)
	var out []secrets.Deleted
	for _, p := range list {
		out = append(out, f.gone(p))
	}
	return out, next, f.note("deleted %q %d", p.After, p.Limit)
}

func (f *fakeSecrets) Recover(_ context.Context, v vault.Vault, name string) (secrets.Properties, error) {
	return f.properties(name), f.note("recover %s", name)
}

func (f *fakeSecrets) Purge(_ context.Context, v vault.Vault, name string) error {
	return f.note("purge %s", name)
}

func (f *fakeSecrets) Backup(_ context.Context, v vault.Vault, name string) (string, error) {
	return "YmxvYg", f.note("backup %s", name)
}

func (f *fakeSecrets) Restore(_ context.Context, v vault.Vault, blob string) (secrets.Properties, error) {
	return f.properties("restored"), f.note("restore %s", blob)
}

func (e *env) raw(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	e.handle.ServeHTTP(w, r)
	return w
}
