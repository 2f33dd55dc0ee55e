// Package storetest owns the tests that need several key stores at once, or a store
// and the keyring on it: that all stores do the same, that no fault changes or loses
// a key in use, and what reading an app's keys costs. It has no code but tests.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/blob"
	"github.com/latchkey/latchkey/internal/keystore/controlplane"
	"github.com/latchkey/latchkey/internal/keystore/files"
	"github.com/latchkey/latchkey/internal/keystore/keyvault"
	"github.com/latchkey/latchkey/internal/keystore/kubernetes"
	keymemory "github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/testkit/localblob"
	"github.com/latchkey/latchkey/internal/testkit/localcluster"
	"github.com/latchkey/latchkey/internal/testkit/localvault"
)

// wire carries requests to a place. Tests break it, slow it down and count.
type wire struct {
	next     http.RoundTripper
	requests atomic.Int64
	mu       sync.Mutex
	before   func(*http.Request) (*http.Response, error) // nil, nil lets a request pass
	after    func(*http.Request, *http.Response) error
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.requests.Add(1)
	w.mu.Lock()
	before, after := w.before, w.after
	w.mu.Unlock()
	if before != nil {
		if resp, err := before(r); resp != nil || err != nil {
			return resp, err
		}
	}
	resp, err := w.next.RoundTrip(r)
	if err == nil && after != nil {
		if err = after(r, resp); err != nil {
			_ = resp.Body.Close()
			return nil, err
		}
	}
	return resp, err
}

// harm breaks requests and answers from now on; nil repairs.
func (w *wire) harm(before func(*http.Request) (*http.Response, error), after func(*http.Request, *http.Response) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before, w.after = before, after
}

// refusal is an answer that the place did not give.
func refusal(r *http.Request, status int, code string, header ...string) *http.Response {
	body := `{"kind":"Status","status":"Failure","reason":"` + code + `","code":` + fmt.Sprint(status) + `,"error":{"code":"` + code + `","message":"no"}}`
	resp := &http.Response{
		StatusCode: status, Status: fmt.Sprint(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}, "X-Ms-Error-Code": {code}},
		Body:   io.NopCloser(strings.NewReader(body)), Request: r,
	}
	for i := 0; i+1 < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

// torn is a body that ends in the middle.
type torn struct{ io.ReadCloser }

func (b torn) Read(p []byte) (int, error) {
	n, _ := b.ReadCloser.Read(p[:min(len(p), 10)])
	return n, io.ErrUnexpectedEOF
}

// token is a credential whose token is a name.
type token string

func (p token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(p), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// place is where one app's keys can be kept.
type place struct {
	name   string
	wire   *wire // nil for a place that is not reached by requests
	open   func(t testing.TB) keystore.Store
	second func(t testing.TB) keystore.Store // a handle with no wire between; nil: open
	revoke func(writing, all bool)           // takes permissions away; nil: see harm
}

// direct gives a handle that no fault hits.
func (p *place) direct(t testing.TB) keystore.Store {
	if p.second != nil {
		return p.second(t)
	}
	return p.open(t)
}

func must[S keystore.Store](t testing.TB) func(s S, err error) keystore.Store {
	return func(s S, err error) keystore.Store {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func inMemory(testing.TB) *place {
	s := keymemory.New()
	return &place{name: "memory", open: func(testing.TB) keystore.Store { return s }}
}

func inFiles(t testing.TB) *place {
	dir := t.TempDir()
	return &place{name: "files", open: func(t testing.TB) keystore.Store {
		return files.New(files.Config{Dir: dir})
	}}
}

func inControlPlane(t testing.TB) *place {
	s := memory.New(clock.Real{})
	t.Cleanup(func() { _ = s.Close() })
	return onState(s)
}

func onState(s state.Store) *place {
	return &place{name: "controlplane", open: func(testing.TB) keystore.Store { return controlplane.New(s, "orders") }}
}

const poll = 20 * time.Millisecond

func inBlobs(t testing.TB) *place {
	return inAccount("blob", localblob.Start(t, false).ConnectionString())
}

// inAccount is a container of its own in a storage account.
func inAccount(name, connection string) *place {
	w := &wire{next: http.DefaultTransport}
	cfg := blob.Config{ConnectionString: connection, App: "orders", Poll: poll, Retry: time.Millisecond}
	return &place{
		name: name, wire: w,
		open: func(t testing.TB) keystore.Store {
			cfg := cfg
			cfg.Transport = w
			return must[*blob.Store](t)(blob.Open(t.Context(), cfg))
		},
		second: func(t testing.TB) keystore.Store { return must[*blob.Store](t)(blob.Open(t.Context(), cfg)) },
	}
}

func inVault(t testing.TB) *place {
	v := localvault.Start(t, localvault.Config{})
	v.Allow("app", localvault.All...)
	v.Allow("second", localvault.All...)
	w := &wire{next: v.Transport}
	open := func(t testing.TB, who token, tr http.RoundTripper) keystore.Store {
		return must[*keyvault.Store](t)(keyvault.Open(t.Context(), keyvault.Config{
			URI: v.URI, Credential: who, App: "orders", Poll: poll, Retry: time.Millisecond, Transport: tr,
		}))
	}
	return &place{
		name: "keyvault", wire: w,
		open:   func(t testing.TB) keystore.Store { return open(t, "app", w) },
		second: func(t testing.TB) keystore.Store { return open(t, "second", v.Transport) },
		revoke: func(writing, all bool) {
			switch {
			case all:
				v.Allow("app")
			case writing:
				v.Allow("app", "get", "list")
			default:
				v.Allow("app", localvault.All...)
			}
		},
	}
}

func inSecret(t testing.TB) *place    { return inCluster(t, kubernetes.Secret) }
func inConfigMap(t testing.TB) *place { return inCluster(t, kubernetes.ConfigMap) }

func inCluster(t testing.TB, kind kubernetes.Kind) *place {
	s := localcluster.Start(t)
	w := &wire{next: s.Client().Transport}
	open := func(t testing.TB, token string, tr http.RoundTripper) keystore.Store {
		return must[*kubernetes.Store](t)(kubernetes.Open(t.Context(), kubernetes.Config{
			Kind: kind, Name: "func-keys", Transport: tr, Poll: poll, Retry: time.Millisecond,
			Access: kubernetes.Access{Server: s.URL, Namespace: localcluster.Namespace, Token: token, CA: s.CA()},
		}))
	}
	return &place{
		name: "kubernetes " + string(kind), wire: w,
		open:   func(t testing.TB) keystore.Store { return open(t, localcluster.Token, w) },
		second: func(t testing.TB) keystore.Store { return open(t, localcluster.AdminToken, s.Client().Transport) },
		revoke: func(writing, all bool) {
			switch {
			case all:
				s.Deny("get", "watch", "create", "patch", "delete")
			case writing:
				s.Deny("create", "patch", "delete")
			default:
				s.Deny()
			}
		},
	}
}

var errRoute = errors.New("no route to host")
