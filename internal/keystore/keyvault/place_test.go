package keyvault_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/keyvault"
	"github.com/latchkey/latchkey/internal/testkit/localvault"
)

// person is a credential whose token is a name.
type person string

func (p person) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(p), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// place is a vault, and a client that is not the store's.
type place struct {
	t      *testing.T
	vault  *localvault.Vault
	client *azsecrets.Client
	wire   *wire
}

func newPlace(t *testing.T, cfg localvault.Config) *place {
	t.Helper()
	v := localvault.Start(t, cfg)
	v.Allow("app", localvault.All...)
	v.Allow("stock", "get", "list", "set", "delete")
	c, err := azsecrets.NewClient(v.URI, person("stock"), &azsecrets.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: &http.Client{Transport: v.Transport}, Retry: policy.RetryOptions{MaxRetries: -1},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return &place{t: t, vault: v, client: c, wire: &wire{next: v.Transport}}
}

func (p *place) config() keyvault.Config {
	return keyvault.Config{
		URI: p.vault.URI, Credential: person("app"), App: "orders",
		Poll: 20 * time.Millisecond, Retry: time.Millisecond, Transport: p.wire,
	}
}

func (p *place) open(change ...func(*keyvault.Config)) *keyvault.Store {
	p.t.Helper()
	cfg := p.config()
	for _, c := range change {
		c(&cfg)
	}
	s, err := keyvault.Open(p.t.Context(), cfg)
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

// set writes a secret as somebody else does.
func (p *place) set(name, value string, tags ...string) {
	p.t.Helper()
	params := azsecrets.SetSecretParameters{Value: &value}
	for i := 0; i+1 < len(tags); i += 2 {
		if params.Tags == nil {
			params.Tags = map[string]*string{}
		}
		params.Tags[tags[i]] = &tags[i+1]
	}
	if _, err := p.client.SetSecret(p.t.Context(), name, params, nil); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) delete(name string) {
	p.t.Helper()
	if _, err := p.client.DeleteSecret(p.t.Context(), name, nil); err != nil {
		p.t.Fatal(err)
	}
}

// label changes tags, or switches a secret off and on.
func (p *place) label(name string, params azsecrets.UpdateSecretPropertiesParameters) {
	p.t.Helper()
	if _, err := p.client.UpdateSecretProperties(p.t.Context(), name, "", params, nil); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) enable(name string, on bool) {
	p.t.Helper()
	p.label(name, azsecrets.UpdateSecretPropertiesParameters{SecretAttributes: &azsecrets.SecretAttributes{Enabled: &on}})
}

func (p *place) get(name string) azsecrets.Secret {
	p.t.Helper()
	got, err := p.client.GetSecret(p.t.Context(), name, "", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return got.Secret
}

// names gives the secrets that are keys or belong to documents.
func (p *place) names() []string {
	p.t.Helper()
	names := []string{}
	for pager := p.client.NewListSecretPropertiesPager(nil); pager.More(); {
		page, err := pager.NextPage(p.t.Context())
		if err != nil {
			p.t.Fatal(err)
		}
		for _, s := range page.Value {
			if name := s.ID.Name(); !strings.Contains(name, "latchkey--writer--") {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// docPart is the beginning of the names of a document's secrets as the stock host
// writes them.
func docPart(doc keystore.Doc) string {
	if doc.IsHost() {
		return "host--"
	}
	return "function--" + escape(string(doc)) + "--"
}

// escape is the documented escaping, written anew.
func escape(s string) string {
	out := ""
	for _, r := range s {
		if strings.ContainsRune("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", r) {
			out += string(r)
		} else {
			out += fmt.Sprintf("-%03d", r)
		}
	}
	return out
}

// layout is what the stock host has of a document.
func layout(doc keystore.Doc, d keystore.Document) map[string]string {
	out := map[string]string{}
	if doc.IsHost() {
		out["host--masterKey--master"] = d.Keys.Master.Value
		for _, k := range d.Keys.Keys {
			out["host--functionKey--"+escape(k.Name)] = k.Value
		}
		for _, k := range d.Keys.System {
			out["host--systemKey--"+escape(k.Name)] = k.Value
		}
		return out
	}
	for _, k := range d.Keys.Keys {
		out[docPart(doc)+escape(k.Name)] = k.Value
	}
	return out
}

// stock writes a document as the stock host is documented to: it deletes what is
// not in the new set and then sets all of it. between is called between the two.
func (p *place) stock(doc keystore.Doc, d keystore.Document, between ...func()) {
	p.t.Helper()
	want := layout(doc, d)
	for _, name := range p.names() {
		if _, wanted := want[name]; strings.HasPrefix(name, docPart(doc)) && !wanted {
			p.delete(name)
		}
	}
	for _, f := range between {
		f()
	}
	for name, value := range want {
		p.set(name, value)
	}
}

// raw gives all that the vault has of a document.
func (p *place) raw(doc keystore.Doc) []byte {
	p.t.Helper()
	var out []any
	for _, name := range p.names() {
		if strings.HasPrefix(name, docPart(doc)) {
			got := p.get(name)
			out = append(out, name, got.ID.Version(), *got.Value, got.Tags)
		}
	}
	text, err := json.Marshal(out)
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

// wire carries requests and breaks them as told.
type wire struct {
	next     http.RoundTripper
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
	resp, err := w.next.RoundTrip(r)
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

// answer makes the vault's answer to a request it did not hear.
func answer(r *http.Request, status int, code string, header ...string) *http.Response {
	resp := &http.Response{
		StatusCode: status, Status: fmt.Sprint(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Request: r,
		Body: io.NopCloser(bytes.NewReader(fmt.Appendf(nil, `{"error":{"code":%q,"message":"no"}}`, code))),
	}
	for i := 0; i+1 < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

func (p *place) harness() keystoretest.Harness {
	firstOf := func(doc keystore.Doc) string {
		if doc.IsHost() {
			return "host--masterKey--master"
		}
		return docPart(doc) + "default"
	}
	tag := func(doc keystore.Doc, tags map[string]string) {
		for name, value := range tags {
			p.label(firstOf(doc), azsecrets.UpdateSecretPropertiesParameters{Tags: map[string]*string{name: &value}})
		}
	}
	return keystoretest.Harness{
		Store:    p.open(),
		Second:   func(*testing.T) keystore.Store { return p.open() },
		ReadOnly: func(*testing.T) keystore.Store { return p.open(func(c *keyvault.Config) { c.ReadOnly = true }) },
		Outside: func(_ *testing.T, doc keystore.Doc, d keystore.Document) {
			p.stock(doc, d)
		},
		Corrupt:  func(_ *testing.T, doc keystore.Doc) { tag(doc, map[string]string{"latchkey-order": "first"}) },
		Truncate: func(_ *testing.T, doc keystore.Doc) { tag(doc, map[string]string{"latchkey": `{"expires":"20`}) },
		Raw:      func(_ *testing.T, doc keystore.Doc) []byte { return p.raw(doc) },
		Break: func(*testing.T) func() {
			p.wire.set(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") })
			return func() { p.wire.set(nil) }
		},
	}
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

// addKey is the change that appends a key.
func addKey(name, value string) keystore.Change {
	return func(old keystore.Document, _ bool) (keystore.Document, error) {
		old.Keys.Keys = append(old.Keys.Keys, accesskey.Key{Name: name, Value: value})
		return old, nil
	}
}

// values gives the keys of a document by name.
func values(d keystore.Document) map[string]string {
	out := map[string]string{}
	if d.Keys.Master.Value != "" {
		out["(master)"] = d.Keys.Master.Value
	}
	for _, k := range append(d.Keys.Keys, d.Keys.System...) {
		out[k.Name] = k.Value
	}
	return out
}

func want(t *testing.T, s keystore.Store, doc keystore.Doc, d keystore.Document) {
	t.Helper()
	got, _, err := s.Load(t.Context(), doc)
	if err != nil || fmt.Sprint(values(got)) != fmt.Sprint(values(d)) {
		t.Errorf("%s is %v, want %v: %v", doc, values(got), values(d), err)
	}
}
