package secrets_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/vault"
	"github.com/latchkey/latchkey/internal/vault/secrets"
)

type env struct {
	*testing.T
	*secrets.Store
	ctx    context.Context
	clock  *clock.Manual
	memory *memory.Store
	state  *watched
	config secrets.Config
}

var (
	one = vault.Vault{Name: "one", UID: "uid-1", RetentionDays: 90}
	two = vault.Vault{Name: "two", UID: "uid-2", RetentionDays: 7}
)

func newEnv(t *testing.T) *env {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	c := clock.NewManual(time.Date(2030, 1, 1, 0, 0, 0, 250_000_000, time.UTC))
	mem := memory.New(c)
	e := &env{T: t, ctx: ctx, clock: c, memory: mem, state: &watched{Store: mem}}
	e.config = secrets.Config{State: e.state, Clock: c, Sealer: newBox(t)}
	e.Store = secrets.New(e.config)
	return e
}

func (e *env) set(v vault.Vault, name, value string) secrets.Bundle {
	e.Helper()
	b, err := e.Set(e.ctx, v, name, value, secrets.Attributes{})
	if err != nil {
		e.Fatal(err)
	}
	return b
}

func (e *env) delete(v vault.Vault, name string) secrets.Deleted {
	e.Helper()
	d, err := e.Delete(e.ctx, v, name)
	if err != nil {
		e.Fatal(err)
	}
	return d
}

func (e *env) value(v vault.Vault, name, version string) string {
	e.Helper()
	b, err := e.Get(e.ctx, v, name, version)
	if err != nil {
		e.Fatal(err)
	}
	return b.Value
}

func (e *env) lacks(v vault.Vault, name string) {
	e.Helper()
	_, err := e.Get(e.ctx, v, name, "")
	wants(e, err, problem.NotFound, vault.SecretNotFound)
}

func (e *env) versions(v vault.Vault, name string) map[string]secrets.Properties {
	e.Helper()
	out := map[string]secrets.Properties{}
	for p := (secrets.Page{Limit: 3}); ; {
		list, next, err := e.Versions(e.ctx, v, name, p)
		if err != nil {
			e.Fatal(err)
		}
		for _, x := range list {
			if _, twice := out[x.Version]; twice {
				e.Fatal("version given twice")
			}
			out[x.Version] = x
		}
		if p.After = next; next == "" {
			return out
		}
	}
}

func (e *env) names(v vault.Vault) []string {
	e.Helper()
	names := []string{}
	for p := (secrets.Page{Limit: 2}); ; {
		list, next, err := e.List(e.ctx, v, p)
		if err != nil {
			e.Fatal(err)
		}
		for _, x := range list {
			names = append(names, x.Name)
		}
		if p.After = next; next == "" {
			return names
		}
	}
}

func (e *env) deletedNames(v vault.Vault) []string {
	e.Helper()
	names := []string{}
	for p := (secrets.Page{Limit: 2}); ; {
		list, next, err := e.Deleted(e.ctx, v, p)
		if err != nil {
			e.Fatal(err)
		}
		for _, x := range list {
			names = append(names, x.Name)
		}
		if p.After = next; next == "" {
			return names
		}
	}
}

// documents gives everything in the state.
func (e *env) documents() []state.Key {
	e.Helper()
	l, err := e.memory.List(e.ctx, "/", state.Page{KeysOnly: true})
	if err != nil {
		e.Fatal(err)
	}
	keys := []state.Key{}
	for _, d := range l.Documents {
		keys = append(keys, d.Key)
	}
	return keys
}

func wants(t testing.TB, err error, kind problem.Kind, code vault.Code) {
	t.Helper()
	var got vault.Code
	errors.As(err, &got)
	if !errors.Is(err, kind) || got != code {
		t.Fatalf("got %v (code %q), want %v with code %q", err, got, kind, code)
	}
}

// watched is a store that counts readings, bounds writes, and fails on demand.
type watched struct {
	state.Store
	gets atomic.Int64
	left atomic.Int64 // writes that go well before all fail; 0 for no failures
}

func (w *watched) Get(ctx context.Context, key state.Key) (state.Document, error) {
	w.gets.Add(1)
	return w.Store.Get(ctx, key)
}

func (w *watched) Write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	if n := w.left.Load(); n == 1 {
		return 0, problem.New(state.ErrUnavailable, "the store is away")
	} else if n > 1 {
		w.left.Add(-1)
	}
	return w.Store.Write(ctx, ops...)
}

// box is a sealer with a key of its own.
type box struct{ cipher.AEAD }

func newBox(t testing.TB) box {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	return box{aead}
}

func (b box) Seal(plain, place string) (string, error) {
	return base64.RawURLEncoding.EncodeToString(b.AEAD.Seal(nil, nil, []byte(plain), []byte(place))), nil
}

func (b box) Open(sealed, place string) (string, bool, error) {
	text, err := base64.RawURLEncoding.DecodeString(sealed)
	if err == nil {
		text, err = b.AEAD.Open(nil, nil, text, []byte(place))
	}
	if err != nil {
		return "", false, problem.Wrap(problem.Undecryptable, "it does not open", err)
	}
	return string(text), false, nil
}

func (box) Seals() bool   { return true }
func (box) KeyID() string { return "test" }

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
