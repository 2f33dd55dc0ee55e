package blob_test

import (
	"bytes"
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

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/blob"
	"github.com/latchkey/latchkey/internal/keystore/codec"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/seal/dataprotection"
	"github.com/latchkey/latchkey/internal/testkit/localblob"
	"github.com/latchkey/latchkey/test/azurite"
)

// account is a storage account to test with.
type account struct {
	name             string
	connectionString string
}

// onBoth runs a test on the fake and on the emulator.
func onBoth(t *testing.T, test func(t *testing.T, a account)) {
	t.Run("fake", func(t *testing.T) { test(t, fakeAccount(localblob.Start(t, false))) })
	t.Run("Azurite", func(t *testing.T) {
		if testing.Short() {
			t.Skip("-short: starts a process")
		}
		test(t, account{"Azurite", azurite.Start(t, azurite.Options{}).ConnectionString()})
	})
}

func fakeAccount(f *localblob.Account) account {
	return account{"fake", f.ConnectionString()}
}

// place is one app's folder in a container that need not exist yet, and a client
// that is not the store's.
type place struct {
	t         *testing.T
	account   account
	container string
	client    *container.Client
	wire      *wire
	sealer    seal.Sealer
}

var containers atomic.Int64

func newPlace(t *testing.T, a account) *place {
	t.Helper()
	p := &place{t: t, account: a, container: fmt.Sprint("keys-", containers.Add(1)), wire: &wire{}}
	client, err := container.NewClientFromConnectionString(a.connectionString, p.container, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.client = client
	return p
}

const app = "orders"

func (p *place) config() blob.Config {
	return blob.Config{
		ConnectionString: p.account.connectionString, Container: p.container, App: app, Sealer: p.sealer,
		Poll: 20 * time.Millisecond, Retry: time.Millisecond, Transport: p.wire,
	}
}

func (p *place) open() *blob.Store { return open(p.t, p.config()) }

func open(t *testing.T, cfg blob.Config) *blob.Store {
	t.Helper()
	s, err := blob.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p *place) make() {
	p.t.Helper()
	if _, err := p.client.Create(p.t.Context(), nil); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) write(name string, data []byte) {
	p.t.Helper()
	_, err := p.client.NewBlockBlobClient(name).Upload(p.t.Context(), streaming.NopCloser(bytes.NewReader(data)), nil)
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) read(name string) []byte {
	p.t.Helper()
	got, err := p.client.NewBlobClient(name).DownloadStream(p.t.Context(), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = got.Body.Close() }()
	data, err := io.ReadAll(got.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return data
}

// names gives the blobs of the container.
func (p *place) names() string {
	p.t.Helper()
	var names []string
	for pager := p.client.NewListBlobsFlatPager(nil); pager.More(); {
		page, err := pager.NextPage(p.t.Context())
		if err != nil {
			p.t.Fatal(err)
		}
		for _, item := range page.Segment.BlobItems {
			names = append(names, *item.Name)
		}
	}
	return strings.Join(names, " ")
}

// signed gives the container's URL with a signature that is good for a time.
func (p *place) signed(rights sas.ContainerPermissions, valid time.Duration) string {
	p.t.Helper()
	start := time.Now().Add(-time.Hour)
	u, err := p.client.GetSASURL(rights, time.Now().Add(valid), &container.GetSASURLOptions{StartTime: &start})
	if err != nil {
		p.t.Fatal(err)
	}
	return u
}

var allRights = sas.ContainerPermissions{Read: true, Write: true, Create: true, Delete: true, List: true}

// wire carries requests and breaks them as told.
type wire struct {
	requests atomic.Int64
	mu       sync.Mutex
	fault    func(*http.Request) (*http.Response, error) // nil, nil lets a request through
	after    func(*http.Request, *http.Response) error   // what is done to answers
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.requests.Add(1)
	w.mu.Lock()
	fault, after := w.fault, w.after
	w.mu.Unlock()
	if fault != nil {
		if resp, err := fault(r); resp != nil || err != nil {
			return resp, err
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && after != nil {
		if err = after(r, resp); err != nil {
			_ = resp.Body.Close()
			return nil, err
		}
	}
	return resp, err
}

func (w *wire) set(fault func(*http.Request) (*http.Response, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = fault
}

func (w *wire) setAfter(after func(*http.Request, *http.Response) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.after = after
}

// answer makes the service's answer to a request it did not hear.
func answer(r *http.Request, status int, code string, header ...string) *http.Response {
	resp := &http.Response{
		StatusCode: status, Status: fmt.Sprint(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: io.NopCloser(strings.NewReader("")), Request: r,
	}
	if code != "" {
		resp.Header.Set("X-Ms-Error-Code", code)
	}
	for i := 0; i+1 < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

func dataProtection(t *testing.T) seal.Sealer {
	t.Helper()
	s, err := dataprotection.FromEnviron([]string{"AzureWebEncryptionKey=000102030405060708090a0b0c0d0e0f"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p *place) harness() keystoretest.Harness {
	name := func(doc keystore.Doc) string { return app + "/" + string(doc) + ".json" }
	encode := func(t *testing.T, s seal.Sealer, doc keystore.Doc, d keystore.Document) []byte {
		data, _, err := codec.New(codec.Config{Sealer: s}).Encode(doc, d)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	return keystoretest.Harness{
		Store:  p.open(),
		Second: func(*testing.T) keystore.Store { return p.open() },
		ReadOnly: func(*testing.T) keystore.Store {
			cfg := p.config()
			cfg.ReadOnly = true
			return open(p.t, cfg)
		},
		Outside: func(t *testing.T, doc keystore.Doc, d keystore.Document) {
			_, _ = p.client.Create(t.Context(), nil)
			p.write(name(doc), encode(t, nil, doc, d))
		},
		Corrupt: func(t *testing.T, doc keystore.Doc) {
			var d keystore.Document
			if d = keystoretest.Function("x"); doc.IsHost() {
				d = keystoretest.Host("x")
			}
			p.write(name(doc), encode(t, otherKey(t), doc, d))
		},
		Truncate: func(_ *testing.T, doc keystore.Doc) {
			data := p.read(name(doc))
			p.write(name(doc), data[:len(data)/2])
		},
		Raw: func(_ *testing.T, doc keystore.Doc) []byte { return p.read(name(doc)) },
		Break: func(*testing.T) func() {
			p.wire.set(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") })
			return func() { p.wire.set(nil) }
		},
	}
}

func otherKey(t *testing.T) seal.Sealer {
	t.Helper()
	s, err := dataprotection.FromEnviron([]string{"AzureWebEncryptionKey=ff0102030405060708090a0b0c0d0e0f"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s keystore.Store, doc keystore.Doc, d keystore.Document) {
	t.Helper()
	if err := try(t.Context(), s, doc, d); err != nil {
		t.Fatal(err)
	}
}

func try(ctx context.Context, s keystore.Store, doc keystore.Doc, d keystore.Document) error {
	_, _, err := s.Update(ctx, doc, func(keystore.Document, bool) (keystore.Document, error) { return d, nil })
	return err
}
