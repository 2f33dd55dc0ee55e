package kubernetes_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/flat"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/kubernetes"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/localcluster"
)

// wire is a transport that can be told to fail.
type wire struct {
	real http.RoundTripper
	mu   sync.Mutex
	hook func(*http.Request) (*http.Response, error) // nil, nil lets a request pass
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	hook := w.hook
	w.mu.Unlock()
	if hook != nil {
		if resp, err := hook(r); resp != nil || err != nil {
			return resp, err
		}
	}
	return w.real.RoundTrip(r)
}

func (w *wire) set(hook func(*http.Request) (*http.Response, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hook = hook
}

// target is an object on an API server.
type target struct {
	admin
	kind   kubernetes.Kind
	name   string
	access kubernetes.Access
	wire   *wire
}

// place is an object on a fake API server.
type place struct {
	*target
	*localcluster.Server
}

func newPlace(t *testing.T, kind kubernetes.Kind) *place {
	s := localcluster.Start(t)
	return &place{Server: s, target: &target{
		admin: admin{t: t, client: s.Client(), address: s.URL + "/api/v1/namespaces/apps/"},
		kind:  kind, name: "func-keys", wire: &wire{real: s.Client().Transport},
		access: kubernetes.Access{Server: s.URL, Namespace: localcluster.Namespace, Token: localcluster.Token, CA: s.CA()},
	}}
}

func (p *target) key() string { return string(p.kind) + "/" + p.name }

func (p *target) config() kubernetes.Config {
	return kubernetes.Config{Kind: p.kind, Name: p.name, Access: p.access, Transport: p.wire, Retry: time.Millisecond}
}

func open(t *testing.T, cfg kubernetes.Config) *kubernetes.Store {
	t.Helper()
	s, err := kubernetes.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p *target) open() *kubernetes.Store { return open(p.t, p.config()) }

// outside writes a document as a stock host does.
func (p *target) outside(t *testing.T, doc keystore.Doc, d keystore.Document) {
	next, err := flat.Entries(p.data(p.key())).With(doc, d)
	if err != nil {
		t.Fatal(err)
	}
	p.set(p.key(), next)
}

// annotation changes the notes of the object.
func (p *target) annotation(change func(notes map[string]json.RawMessage)) {
	p.t.Helper()
	notes := map[string]json.RawMessage{}
	meta, _ := p.object(p.key())["metadata"].(map[string]any)
	all, _ := meta["annotations"].(map[string]any)
	if text, ok := all[kubernetes.Annotation].(string); ok {
		if err := json.Unmarshal([]byte(text), &notes); err != nil {
			p.t.Fatal(err)
		}
	}
	change(notes)
	text, err := json.Marshal(notes)
	if err != nil {
		p.t.Fatal(err)
	}
	p.annotate(string(text))
}

func (p *target) annotate(text string) {
	p.merge(p.key(), map[string]any{"metadata": map[string]any{"annotations": map[string]any{kubernetes.Annotation: text}}})
}

func (p *target) harness() keystoretest.Harness {
	harm := func(with string) func(*testing.T, keystore.Doc) {
		return func(_ *testing.T, doc keystore.Doc) {
			p.annotation(func(notes map[string]json.RawMessage) { notes[string(doc)] = json.RawMessage(with) })
		}
	}
	return keystoretest.Harness{
		Store:  p.open(),
		Second: func(*testing.T) keystore.Store { return p.open() },
		ReadOnly: func(t *testing.T) keystore.Store {
			cfg := p.config()
			cfg.ReadOnly = true
			return open(t, cfg)
		},
		Outside:  p.outside,
		Corrupt:  harm(`"x"`),
		Truncate: harm(`[]`),
		Raw: func(_ *testing.T, doc keystore.Doc) []byte {
			o := p.object(p.key())
			text, _ := json.Marshal([]any{o["data"], o["metadata"].(map[string]any)["annotations"]})
			return text
		},
		Break: func(*testing.T) func() {
			p.wire.set(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") })
			return func() { p.wire.set(nil) }
		},
	}
}

// onBoth runs a test with a Secret and with a ConfigMap.
func onBoth(t *testing.T, run func(t *testing.T, kind kubernetes.Kind)) {
	for _, kind := range []kubernetes.Kind{kubernetes.Secret, kubernetes.ConfigMap} {
		t.Run(string(kind), func(t *testing.T) { run(t, kind) })
	}
}

func TestConformance(t *testing.T) {
	onBoth(t, func(t *testing.T, kind kubernetes.Kind) {
		keystoretest.Run(t, keystoretest.Config{
			New:    func(t *testing.T) keystoretest.Harness { return newPlace(t, kind).harness() },
			Except: map[string]string{"what dead writers leave is ignored and swept": "a request is carried out as a whole or not at all"},
		})
	})
}

// narrow is the reference store with the rule of this one about key names.
type narrow struct{ keystore.Store }

func (n narrow) Update(ctx context.Context, doc keystore.Doc, change keystore.Change) (keystore.Document, keystore.Revision, error) {
	return n.Store.Update(ctx, doc, func(old keystore.Document, exists bool) (keystore.Document, error) {
		d, err := change(old, exists)
		if err == nil {
			_, err = flat.Entries{}.With(doc, d)
		}
		return d, err
	})
}

func TestAgreesWithTheReference(t *testing.T) {
	keystoretest.CrossTest(t, narrow{memory.New()}, newPlace(t, kubernetes.Secret).open(), newPlace(t, kubernetes.ConfigMap).open())
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func try(t *testing.T, s keystore.Store, doc keystore.Doc, d keystore.Document) error {
	t.Helper()
	_, _, err := s.Update(t.Context(), doc, func(keystore.Document, bool) (keystore.Document, error) { return d, nil })
	return err
}

func addKey(name, value string) keystore.Change {
	return func(old keystore.Document, _ bool) (keystore.Document, error) {
		old.Keys.Keys = append(old.Keys.Keys, accesskey.Key{Name: name, Value: value})
		return old, nil
	}
}

func TestTheLayoutIsTheStockHosts(t *testing.T) {
	onBoth(t, func(t *testing.T, kind kubernetes.Kind) {
		p := newPlace(t, kind)
		p.set(p.key(), map[string]string{
			"host.master": "m", "host.function.default": "h", "host.systemKey.default": "s", "functions.hello.default": "f", "notes": "n",
		})
		s := p.open()
		if d, _, err := s.Load(t.Context(), keystore.HostDoc); err != nil || d.Keys.Master.Value != "m" || d.Keys.System[0].Value != "s" {
			t.Errorf("%d keys, %v", len(d.Keys.Keys), err)
		}
		must(t, try(t, s, "other", keystoretest.Function("1")))
		want := map[string]string{
			"host.master": "m", "host.function.default": "h", "host.systemKey.default": "s", "functions.hello.default": "f", "notes": "n",
			"functions.other.default": "function-1", "functions.other.Second": "second-1",
		}
		if diff := cmp.Diff(want, p.data(p.key())); diff != "" {
			t.Error(diff)
		}
		if meta := p.object(p.key())["metadata"].(map[string]any); meta["annotations"] != nil {
			t.Errorf("plain keys were given an annotation: %v", meta["annotations"])
		}
	})
}

func TestKeysRemovedByUsAndByOthersStayRemoved(t *testing.T) {
	p := newPlace(t, kubernetes.Secret)
	s := p.open()
	must(t, try(t, s, "fn", keystoretest.Function("1")), try(t, s, "fn2", keystoretest.Function("2")))
	must(t, try(t, s, "fn", keystore.Document{}))
	d, rev, err := s.Load(t.Context(), "fn")
	if err != nil || len(d.Keys.Keys) != 0 || rev == "" {
		t.Errorf("emptied document: %d keys, %q, %v", len(d.Keys.Keys), rev, err)
	}
	data := p.data(p.key())
	delete(data, "functions.fn2.Second")
	p.set(p.key(), data)
	must(t, try(t, s, "third", keystoretest.Function("3")))
	if d, _, err := s.Load(t.Context(), "fn2"); err != nil || len(d.Keys.Keys) != 1 {
		t.Errorf("%d keys, %v", len(d.Keys.Keys), err)
	}
}

func TestMetadataSurvivesAStockHostsWrite(t *testing.T) {
	p := newPlace(t, kubernetes.Secret)
	s := p.open()
	d := keystoretest.Function("1")
	d.Keys.Keys[0].Extra = map[string][]byte{accesskey.MetaMember: []byte(`{"disabled":true}`)}
	must(t, try(t, s, "fn", d))
	data := p.data(p.key())
	data["functions.fn.new"] = "by the stock host"
	p.set(p.key(), data)
	d.Keys.Keys = append(d.Keys.Keys, accesskey.Key{Name: "new", Value: "by the stock host"})
	got, _, err := s.Load(t.Context(), "fn")
	if diff := cmp.Diff(d, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestADamagedAnnotationOpensNothing(t *testing.T) {
	p := newPlace(t, kubernetes.Secret)
	s := p.open()
	must(t, try(t, s, "fn", keystoretest.Function("1")))
	p.annotate(`{"fn":`)
	if d, _, err := s.Load(t.Context(), "fn"); !errors.Is(err, keystore.ErrUndecryptable) || d.Keys.Keys != nil || problem.NextOf(err) == "" {
		t.Errorf("load: %v, %v", d, err)
	}
	if err := try(t, s, "fn", keystoretest.Function("2")); !errors.Is(err, keystore.ErrUndecryptable) {
		t.Errorf("update: %v", err)
	}
	if err := s.Delete(t.Context(), "fn"); !errors.Is(err, keystore.ErrUndecryptable) {
		t.Errorf("delete: %v", err)
	}
	p.merge(p.key(), map[string]any{"data": map[string]any{"functions.bin.default": "/w=="}, "metadata": map[string]any{"annotations": nil}})
	if _, _, err := s.Load(t.Context(), "bin"); !errors.Is(err, keystore.ErrUndecryptable) {
		t.Errorf("load of a value that is no text: %v", err)
	}
	if err := try(t, s, "fn", keystoretest.Function("2")); err != nil || p.data(p.key())["functions.bin.default"] != "\xff" {
		t.Errorf("update beside a value that is no text: %v", err)
	}
}

func TestRefusalsSayWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		name, deny string
		do         func(t *testing.T, s keystore.Store) error
		kind       problem.Kind
		next       string
	}{
		{"read", "get", func(t *testing.T, s keystore.Store) error { _, _, err := s.Load(t.Context(), "fn"); return err }, problem.Denied, `verb "get"`},
		{"list", "get", func(t *testing.T, s keystore.Store) error { _, err := s.List(t.Context()); return err }, problem.Denied, `resourceNames "func-keys"`},
		{"change", "patch", func(t *testing.T, s keystore.Store) error { return try(t, s, "fn", keystoretest.Function("2")) }, keystore.ErrReadOnly, `verb "patch" on resource "secrets"`},
		{"delete", "patch", func(t *testing.T, s keystore.Store) error { return s.Delete(t.Context(), "fn") }, keystore.ErrReadOnly, `verb "patch"`},
	} {
		p := newPlace(t, kubernetes.Secret)
		s := p.open()
		must(t, try(t, s, "fn", keystoretest.Function("1")))
		p.Deny(c.deny)
		err := c.do(t, s)
		if problem.KindOf(err) != c.kind || !strings.Contains(problem.NextOf(err), c.next) {
			t.Errorf("%s: %v; %s", c.name, err, problem.NextOf(err))
		}
		if strings.Contains(fmt.Sprint(err), "function-1") {
			t.Errorf("%s: the error quotes a value: %v", c.name, err)
		}
	}
	p := newPlace(t, kubernetes.Secret)
	p.Deny("create")
	if err := try(t, p.open(), "fn", keystoretest.Function("1")); !errors.Is(err, keystore.ErrReadOnly) || !strings.Contains(problem.NextOf(err), `verb "create"`) {
		t.Errorf("create: %v", err)
	}
	p.Deny()
	cfg := p.config()
	cfg.Access.Namespace = "elsewhere"
	if err := try(t, open(t, cfg), "fn", keystoretest.Function("1")); !errors.Is(err, keystore.ErrUnavailable) || problem.NextOf(err) != "make the namespace" {
		t.Errorf("no namespace: %v; %s", err, problem.NextOf(err))
	}
}

func TestAnImmutableObjectIsReadOnly(t *testing.T) {
	p := newPlace(t, kubernetes.Secret)
	s := p.open()
	must(t, try(t, s, "fn", keystoretest.Function("1")))
	p.merge(p.key(), map[string]any{"immutable": true})
	for what, err := range map[string]error{"update": try(t, s, "fn", keystoretest.Function("2")), "new": try(t, s, "x", keystoretest.Function("2")), "delete": s.Delete(t.Context(), "fn")} {
		if !errors.Is(err, keystore.ErrReadOnly) || problem.NextOf(err) == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Made immutable between our read and our write.
	p = newPlace(t, kubernetes.Secret)
	s = p.open()
	must(t, try(t, s, "fn", keystoretest.Function("1")))
	_, _, err := s.Update(t.Context(), "fn", func(keystore.Document, bool) (keystore.Document, error) {
		p.merge(p.key(), map[string]any{"immutable": true})
		return keystoretest.Function("2"), nil
	})
	if !errors.Is(err, keystore.ErrReadOnly) {
		t.Errorf("update: %v", err)
	}
}

func TestWhatAnObjectCannotHoldIsRefused(t *testing.T) {
	p := newPlace(t, kubernetes.ConfigMap)
	s := p.open()
	long := keystoretest.Function("1")
	long.Keys.Keys[0].Extra = map[string][]byte{"x": []byte(`"` + strings.Repeat("x", 256<<10) + `"`)}
	binary := keystoretest.Function("1")
	binary.Keys.Keys[0].Value = "\xff"
	large := keystoretest.Function(strings.Repeat("x", 1<<20))
	odd := keystoretest.Function("1")
	odd.Keys.Keys[0].Name = "with space"
	for what, d := range map[string]keystore.Document{"metadata": long, "no text": binary, "size": large, "name": odd} {
		if err := try(t, s, "fn", d); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := p.Requests("create"); n != 0 {
		t.Errorf("%d requests to write it", n)
	}
}

func TestTokensAreReadAgain(t *testing.T) {
	p := newPlace(t, kubernetes.Secret)
	file := filepath.Join(t.TempDir(), "token")
	must(t, os.WriteFile(file, []byte("token-1\n"), 0o600))
	cfg := p.config()
	cfg.Transport = nil // the store's own, which trusts the fake's authority
	cfg.Access.Token, cfg.Access.TokenFile = "", file
	s := open(t, cfg)
	must(t, try(t, s, "fn", keystoretest.Function("1")))
	p.Accept("token-2")
	if _, _, err := s.Load(t.Context(), "fn"); !errors.Is(err, problem.Denied) || strings.Contains(err.Error(), "token-1") {
		t.Errorf("load with the old token: %v", err)
	}
	must(t, os.WriteFile(file, []byte("token-2"), 0o600))
	_, _, err := s.Load(t.Context(), "fn")
	must(t, err)
	must(t, os.Remove(file))
	if _, _, err := s.Load(t.Context(), "fn"); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("load without a token file: %v", err)
	}
}

func TestOnlyTheRightServerIsAsked(t *testing.T) {
	p := newPlace(t, kubernetes.Secret)
	cfg := p.config()
	cfg.Transport, cfg.Access.CA = nil, nil
	if err := try(t, open(t, cfg), "fn", keystoretest.Function("1")); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("a server of an unknown authority: %v", err)
	}
	if n := p.Requests("get"); n != 0 {
		t.Errorf("it got %d requests", n)
	}
}
