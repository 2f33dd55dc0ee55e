package platform

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/controlplane"
	keycred "github.com/latchkey/latchkey/internal/keystore/credential"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal/dataprotection"
	"github.com/latchkey/latchkey/internal/server/hosted"
	"github.com/latchkey/latchkey/internal/server/stores"
)

// openKeys opens the store of an app's keys: the control plane, unless the app's
// settings name a service. "files", the place that the platform has for apps, is
// the control plane too.
func (n *Node) openKeys(ctx context.Context, a app.App, s hosted.Settings) (keystore.Store, error) {
	before := controlplane.New(n.store, keyPlace(a))
	store, err := n.openKeysOf(ctx, a, s, before)
	if err != nil || store == keystore.Store(before) {
		return store, err
	}
	return guard(store, before, a.Name), nil
}

// openKeysOf is openKeys for who looks after the keys of before by itself.
func (n *Node) openKeysOf(ctx context.Context, a app.App, s hosted.Settings, before *controlplane.Store) (keystore.Store, error) {
	own := func() (keystore.Store, error) { return before, nil }
	cfg := stores.Config{
		Setting: s.Get, Default: own, Files: own, Credential: n.credentialOf(a, "key store"), Transport: keyTransport{n, n.outbound()},
		Clock: n.outside(), Log: n.log.With("app", a.Name),
	}
	sealer, err := dataprotection.FromEnviron(s.Environ())
	if sealer != nil {
		cfg.Sealer = sealer
	}
	if kind, bad := stores.ParseKind(s.Get(stores.TypeSetting)); err != nil && bad == nil && kind == stores.Blob {
		return nil, err
	}
	return stores.Open(ctx, cfg)
}

// keySettings gives the settings that choose the store of an app that does not run;
// nil if they leave it to the platform. References are resolved as for a start.
func (n *Node) keySettings(ctx context.Context, a app.App) (hosted.Settings, error) {
	whole, err := n.apps.Snapshot(ctx, a.ID)
	if err != nil {
		return nil, err
	}
	if whole.UID != a.UID {
		return nil, problem.New(problem.NotFound, "app "+a.Name+" was deleted and made anew")
	}
	if s := hosted.Settings(whole.Settings); s.Get(stores.TypeSetting) == "" {
		return ringSettings(s), nil
	}
	return n.withValues(ctx, whole)
}

// withValues gives the settings of an app as for a start.
func (n *Node) withValues(ctx context.Context, whole app.Snapshot) (hosted.Settings, error) {
	values, err := n.references.Values(ctx, whole)
	if err != nil {
		return nil, err
	}
	whole.Settings, whole.Connections = values.Settings, values.Connections
	return n.effective(whole, nil), nil
}

// choiceOf stands for settings; it tells nothing about them.
func choiceOf(s hosted.Settings) string {
	if s == nil {
		return ""
	}
	text, _ := json.Marshal(s) // of strings
	return fmt.Sprintf("%x", sha256.Sum256(text))
}

// credentialOf gets tokens for the key store or the bindings of an app: those of the
// app's own identities, as its code would get them, never of the node's.
func (n *Node) credentialOf(a app.App, purpose string) func(keycred.Request) (keycred.Token, error) {
	return func(r keycred.Request) (keycred.Token, error) {
		if r.Kind == keycred.AppRegistration {
			return keycred.New(r)
		}
		assigned := n.identitiesOf(a)
		return keycred.FromFunc(func(ctx context.Context, resource string) (string, time.Time, error) {
			list, err := assigned(ctx)
			if err != nil {
				return "", time.Time{}, err
			}
			who, err := identityFor(a, purpose, list, r)
			if err != nil {
				return "", time.Time{}, err
			}
			t, err := n.tokens.Get(ctx, who, resource)
			return t.Raw, t.Expires, err
		}), nil
	}
}

// identityFor picks the identity that settings name, the app's own if they name none.
func identityFor(a app.App, purpose string, list []identity.Assigned, r keycred.Request) (identity.Assigned, error) {
	at := slices.IndexFunc(list, func(i identity.Assigned) bool {
		switch {
		case i.Dangling():
			return false
		case r.ClientID != "":
			return strings.EqualFold(i.AppID, r.ClientID)
		case r.ResourceID != "":
			return strings.EqualFold(i.ResourceID, r.ResourceID)
		}
		return i.System
	})
	if at >= 0 {
		return list[at], nil
	}
	if named := r.ClientID + r.ResourceID; named != "" {
		return identity.Assigned{}, problem.New(problem.Denied, "the identity "+named+" of the "+purpose+" is not assigned to app "+a.Name).
			WithNext("latchkey identity assign " + a.Name + " --identity RESOURCE-ID")
	}
	return identity.Assigned{}, problem.New(problem.Denied, "app "+a.Name+" has no identity of its own for its "+purpose).
		WithNext("latchkey identity assign " + a.Name)
}

// keyTransport sends requests of key stores: to a vault of this installation without
// a network, to all others by out.
type keyTransport struct {
	n   *Node
	out http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t keyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if kind, _ := t.n.names.kindOf(r.URL.Host); kind != hostVault {
		return t.out.RoundTrip(r)
	}
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
	}
	in := r.Clone(r.Context())
	in.Host, in.RequestURI, in.RemoteAddr = r.URL.Host, r.URL.RequestURI(), "127.0.0.1:0"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	answer := &relayed{header: http.Header{}}
	t.n.handler.ServeHTTP(answer, in)
	if answer.cut {
		return nil, problem.New(problem.TooLarge, fmt.Sprintf("the vault's answer is over %d bytes", maxRelayed))
	}
	return answer.response(r), nil
}
