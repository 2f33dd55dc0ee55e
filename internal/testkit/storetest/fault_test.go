package storetest

import (
	"errors"
	"net"
	"net/http"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/test/azurite"
)

// A fault is what befalls a place while a ring uses it.
type fault struct {
	before func(*http.Request) (*http.Response, error)
	after  func(*http.Request, *http.Response) error
	revoke bool // permissions, by the place itself where it can
}

func answering(status int, code string, header ...string) fault {
	return fault{before: func(r *http.Request) (*http.Response, error) { return refusal(r, status, code, header...), nil }}
}

func failing(err error) fault {
	return fault{before: func(*http.Request) (*http.Response, error) { return nil, err }}
}

var faults = map[string]fault{
	"no answer": {before: func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}},
	"throttled":          answering(429, "TooManyRequests", "Retry-After", "3600"),
	"errors 500":         answering(500, "InternalError"),
	"errors 503":         answering(503, "ServerBusy"),
	"torn answers":       {after: func(_ *http.Request, resp *http.Response) error { resp.Body = torn{resp.Body}; return nil }},
	"reset":              failing(&net.OpError{Op: "read", Err: syscall.ECONNRESET}),
	"no name":            failing(&net.DNSError{Err: "no such host", Name: "orders.example", IsNotFound: true}),
	"no route":           failing(errRoute),
	"signature refused":  answering(403, "AuthenticationFailed"), // expired, or by a clock that is wrong
	"place gone":         answering(404, "ResourceNotFound"),
	"permission revoked": {revoke: true},
}

func (p *place) hit(f fault) (repair func()) {
	if f.revoke && p.revoke != nil {
		p.revoke(true, true)
		return func() { p.revoke(false, false) }
	}
	if f.revoke {
		f = answering(403, "AuthorizationPermissionMismatch")
	}
	p.wire.harm(f.before, f.after)
	return func() { p.wire.harm(nil, nil) }
}

// used is a ring on a place with the keys of the host and one function in use.
type used struct {
	*keyring.Ring
	direct keystore.Store
	model  map[keystore.Doc]keystore.Document
}

func use(t *testing.T, p *place) *used {
	t.Helper()
	u := &used{direct: p.direct(t), model: map[keystore.Doc]keystore.Document{
		keystore.HostDoc: keystoretest.Host("1"), "fn": keystoretest.Function("2"),
	}}
	for doc, d := range u.model {
		_, _, err := u.direct.Update(t.Context(), doc, func(keystore.Document, bool) (keystore.Document, error) { return d, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := keyring.New(keyring.Config{Store: p.open(t), Limits: keyring.Limits{
		LoadTimeout: time.Second, RetryFirst: 10 * time.Millisecond, RetryMost: 50 * time.Millisecond,
		RereadEvery: time.Millisecond, Burst: 1 << 20, PerSecond: 1 << 20,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	u.Ring = r
	if err := errors.Join(r.Start(t.Context()), r.Ensure(t.Context(), []string{"fn"})); err != nil {
		t.Fatal(err)
	}
	return u
}

// works fails the test unless all keys of the model, and no others, open what they
// are for.
func (u *used) works(t *testing.T, when string) {
	t.Helper()
	fn := u.Function("fn")
	for _, d := range u.model {
		for _, k := range append(append([]accesskey.Key{d.Keys.Master}, d.Keys.Keys...), d.Keys.System...) {
			if k.Value == "" {
				continue
			}
			if got := u.Authorize(t.Context(), keyring.Request{Key: k.Value, Function: fn}); got.Reason != keyring.Matched {
				t.Errorf("%s, key %s: %v", when, k.Name, got.Reason)
			}
		}
	}
	if got := u.Match("a value that no key has", fn); got.Reason == keyring.Matched {
		t.Errorf("%s, a wrong key: %+v", when, got)
	}
}

// unchanged fails the test unless the place holds what the model does.
func (u *used) unchanged(t *testing.T) {
	t.Helper()
	docs, err := u.direct.List(t.Context())
	if err != nil || len(docs) != len(u.model) {
		t.Errorf("the place has %v, %v", docs, err)
	}
	for doc, want := range u.model {
		if got, _, err := u.direct.Load(t.Context(), doc); err != nil || !reflect.DeepEqual(want.Keys, got.Clone().Keys) {
			t.Errorf("%s (-want +got), %v:\n%s", doc, err, cmp.Diff(want.Keys, got.Clone().Keys))
		}
	}
}

// healthy waits until the ring's health is as wanted, presenting wrong keys.
func (u *used) healthy(t *testing.T, want keyring.State) keyring.Health {
	t.Helper()
	for late := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		_ = u.Authorize(t.Context(), keyring.Request{Key: "a wrong key has the ring read the documents", Function: u.Function("fn")})
		h := u.Health()
		if h.State == want {
			return h
		}
		if time.Now().After(late) {
			t.Fatalf("health is %+v, want %v", h, want)
		}
	}
}

// TestNoFaultTakesKeysOutOfUse: whatever befalls the place, known keys work, the
// health says that they are the last good ones and why, nothing is written, and
// with the place the ring recovers by itself.
func TestNoFaultTakesKeysOutOfUse(t *testing.T) {
	for store, where := range map[string]func(testing.TB) *place{"blob": inBlobs, "keyvault": inVault, "kubernetes": inSecret} {
		for what, f := range faults {
			name := store + ", " + what
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				p := where(t)
				u := use(t, p)
				u.works(t, "before")
				repair := p.hit(f)
				defer repair()
				h := u.healthy(t, keyring.Degraded)
				if h.Reason == "" || h.Next == "" {
					t.Errorf("health %+v does not say why and what to do", h)
				}
				u.works(t, "during")
				if f.after == nil { // of an answer that is torn nobody knows whether the write was made
					if _, _, err := u.Renew(t.Context(), keyring.HostKeys(), "another"); err == nil {
						t.Error("a write succeeded")
					}
				}
				u.unchanged(t)
				repair()
				u.healthy(t, keyring.OK)
				u.works(t, "after")
				u.unchanged(t)
			})
		}
	}
}

func TestAKilledEmulatorTakesNoKeysOutOfUse(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts a process")
	}
	e := azurite.Start(t, azurite.Options{Dir: t.TempDir()})
	u := use(t, inAccount("Azurite", e.ConnectionString()))
	e.Stop()
	u.healthy(t, keyring.Degraded)
	u.works(t, "during")
	e.Restart()
	u.healthy(t, keyring.OK)
	u.works(t, "after")
	u.unchanged(t)
}
