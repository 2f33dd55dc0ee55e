package keystoretest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
)

func basicChecks() []check {
	return []check{
		{"absent documents are not found and not made", nil, absent},
		{"update creates and replaces", nil, createReplace},
		{"revisions tell states apart", nil, revisions},
		{"a failing change writes nothing", nil, failingChange},
		{"a document that breaks a rule is refused", nil, ruleBreaker},
		{"what callers hold is theirs", nil, noSharing},
		{"unknown members survive", nil, extras},
		{"managed keys survive", nil, managed},
		{"list is sorted", nil, listSorted},
		{"loading all agrees with loading each", nil, loadsAll},
		{"delete removes", nil, deletes},
		{"delete of a state removes no other", nil, deletesState},
		{"documents do not touch each other", nil, independent},
		{"unsafe names are refused", nil, unsafeNames},
		{"an ended context stops everything", nil, endedContext},
		{"a context that ends during a change stops the write", nil, contextEndsInChange},
		{"the store's name says where and no secret", nil, namesItself},
	}
}

func absent(t *testing.T, ctx context.Context, h Harness) {
	for _, doc := range []keystore.Doc{keystore.HostDoc, "fn"} {
		d, rev, err := h.Store.Load(ctx, doc)
		if !errors.Is(err, keystore.ErrNotFound) || rev != "" {
			t.Errorf("load %q: %v, revision %q, %v", doc, d, rev, err)
		}
		if err := h.Store.Delete(ctx, doc); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("delete %q: %v", doc, err)
		}
	}
	wantList(t, ctx, h.Store)
}

func createReplace(t *testing.T, ctx context.Context, h Harness) {
	for _, doc := range []keystore.Doc{keystore.HostDoc, "fn"} {
		first, second := Function("1"), Function("2")
		if doc.IsHost() {
			first, second = Host("1"), Host("2")
		}
		exists := []bool{}
		for _, d := range []keystore.Document{first, second} {
			got, rev, err := h.Store.Update(ctx, doc, func(old keystore.Document, is bool) (keystore.Document, error) {
				exists = append(exists, is)
				if is {
					if diff := cmp.Diff(first, old.Clone()); diff != "" {
						t.Errorf("change of %q was given (-want +got):\n%s", doc, diff)
					}
				} else if diff := cmp.Diff(keystore.Document{}, old.Clone()); diff != "" {
					t.Errorf("change of absent %q was given:\n%s", doc, diff)
				}
				return d, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(d, got.Clone()); diff != "" {
				t.Errorf("update returns (-want +got):\n%s", diff)
			}
			wantLoaded(t, ctx, h.Store, doc, d)
			if _, now := mustLoad(t, ctx, h.Store, doc); now != rev {
				t.Errorf("update said revision %q, load says %q", rev, now)
			}
		}
		if len(exists) != 2 || exists[0] || !exists[1] {
			t.Errorf("changes of %q were told exists=%v", doc, exists)
		}
	}
}

func revisions(t *testing.T, ctx context.Context, h Harness) {
	r1 := mustUpdate(t, ctx, h.Store, "fn", put(Function("1")))
	r2 := mustUpdate(t, ctx, h.Store, "fn", put(Function("2")))
	if r1 == "" || r2 == "" || r1 == r2 {
		t.Errorf("revisions %q and %q", r1, r2)
	}
	if _, again := mustLoad(t, ctx, h.Store, "fn"); again != r2 {
		t.Errorf("revision changed from %q to %q without a write", r2, again)
	}
}

func failingChange(t *testing.T, ctx context.Context, h Harness) {
	oops := errors.New("oops")
	fail := func(keystore.Document, bool) (keystore.Document, error) { return Function("x"), oops }
	if _, _, err := h.Store.Update(ctx, "fn", fail); !errors.Is(err, oops) {
		t.Errorf("update: %v", err)
	}
	wantList(t, ctx, h.Store)
	rev := mustUpdate(t, ctx, h.Store, "fn", put(Function("1")))
	if _, _, err := h.Store.Update(ctx, "fn", fail); !errors.Is(err, oops) {
		t.Errorf("update: %v", err)
	}
	denied := func(keystore.Document, bool) (keystore.Document, error) {
		return keystore.Document{}, keystore.ErrConflict
	}
	if _, _, err := h.Store.Update(ctx, "fn", denied); !errors.Is(err, keystore.ErrConflict) {
		t.Errorf("a change's kind is lost: %v", err)
	}
	if _, now := mustLoad(t, ctx, h.Store, "fn"); now != rev {
		t.Error("a failing change wrote")
	}
}

func ruleBreaker(t *testing.T, ctx context.Context, h Harness) {
	noMaster, twice := Host("1"), Function("1")
	noMaster.Keys.Master = accesskey.Key{}
	twice.Keys.Keys[1].Name = "DEFAULT"
	for doc, d := range map[keystore.Doc]keystore.Document{keystore.HostDoc: noMaster, "twice": twice, "fn": Host("1"), "empty": {
		Keys: accesskey.Set{Keys: []accesskey.Key{{Name: "a"}}}}} {
		if _, _, err := h.Store.Update(ctx, doc, put(d)); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("update %q: %v", doc, err)
		}
	}
	wantList(t, ctx, h.Store)
}

func noSharing(t *testing.T, ctx context.Context, h Harness) {
	given := Function("1")
	got, _, err := h.Store.Update(ctx, "fn", put(given))
	if err != nil {
		t.Fatal(err)
	}
	given.Keys.Keys[0].Value, got.Keys.Keys[1].Value = "changed", "changed"
	loaded, _ := mustLoad(t, ctx, h.Store, "fn")
	loaded.Keys.Keys[0].Value = "changed"
	_, _, err = h.Store.Update(ctx, "fn", func(old keystore.Document, _ bool) (keystore.Document, error) {
		old.Keys.Keys[0].Value = "changed"
		return old, errors.New("no")
	})
	if err == nil {
		t.Error("no error")
	}
	wantLoaded(t, ctx, h.Store, "fn", Function("1"))
}

func extras(t *testing.T, ctx context.Context, h Harness) {
	d := Host("1")
	d.Extra = map[string][]byte{"future": []byte(`{"a":[1,2.50,"é"]}`)}
	d.Keys.Master.Extra = map[string][]byte{"note": []byte(`"m"`)}
	d.Keys.Keys[0].Extra = map[string][]byte{"expires": []byte(`"2030-01-01T00:00:00Z"`), "on": []byte(`false`)}
	d.Keys.System[0].Extra = map[string][]byte{"x": []byte(`null`)}
	mustUpdate(t, ctx, h.Store, keystore.HostDoc, put(d))
	if !h.Store.Capabilities().Metadata {
		wantLoaded(t, ctx, h.Store, keystore.HostDoc, Host("1"))
		return
	}
	wantLoaded(t, ctx, h.Store, keystore.HostDoc, d)
	mustUpdate(t, ctx, h.Store, keystore.HostDoc, add("another", "v"))
	d.Keys.Keys = append(d.Keys.Keys, accesskey.Key{Name: "another", Value: "v"})
	wantLoaded(t, ctx, h.Store, keystore.HostDoc, d)
}

// managed stores what a rotation makes: a key with metadata, a former value under
// a name that says when it ends, and a verifier in place of a value. Names and
// values must survive anywhere, metadata where the store says so.
func managed(t *testing.T, ctx context.Context, h Harness) {
	until := time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)
	nets, err := accesskey.ParseNetworks([]string{"10.0.0.0/8", "2001:db8::/32"})
	if err != nil {
		t.Fatal(err)
	}
	meta := accesskey.Meta{
		Note: "für <partner> & co \U0001f511", Owner: "ops@example.com", Created: until.AddDate(-1, 0, 0), NotBefore: until.AddDate(0, -1, 0),
		Expires: until, Disabled: true, Methods: []string{"GET"}, Functions: []string{"hello"}, CIDRs: nets,
		Rate: accesskey.Rate{N: 5, Per: time.Minute, Burst: 2}, Quota: accesskey.Quota{N: 9, Per: accesskey.Month},
		RotateEvery: 720 * time.Hour, Overlap: time.Hour, Unknown: map[string][]byte{"later": []byte(`{"a":1}`)},
	}
	verifier := accesskey.NewVerifier(accesskey.Salt{1, 2}, "a value").String()
	d := Host("1")
	d.Keys.Master = d.Keys.Master.WithMeta(accesskey.Meta{Former: []accesskey.Former{{Verifier: verifier, Since: until, Expires: until.Add(time.Hour)}}})
	d.Keys.Keys = []accesskey.Key{
		accesskey.Key{Name: "default", Value: "new value"}.WithMeta(meta),
		accesskey.Key{Name: accesskey.RetiredName("default", until), Value: "old value"}.WithMeta(accesskey.Meta{Retires: "default", Expires: until}),
		{Name: "hashed", Value: verifier},
	}
	mustUpdate(t, ctx, h.Store, keystore.HostDoc, put(d))
	mustUpdate(t, ctx, h.Store, keystore.HostDoc, add("plain", "v"))
	d.Keys.Keys = append(d.Keys.Keys, accesskey.Key{Name: "plain", Value: "v"})
	if !h.Store.Capabilities().Metadata {
		d.Keys.Master.Extra = nil
		for i := range d.Keys.Keys {
			d.Keys.Keys[i].Extra = nil
		}
	}
	wantLoaded(t, ctx, h.Store, keystore.HostDoc, d)
	got, _ := mustLoad(t, ctx, h.Store, keystore.HostDoc)
	for _, k := range got.Keys.Keys {
		m, err := k.Meta()
		switch _, _, retired := accesskey.ParseRetiredName(k.Name); {
		case err != nil:
			t.Errorf("%s: %v", k.Name, err)
		case retired && !m.Expires.Equal(until):
			t.Errorf("a former value is known to end at %v", m.Expires)
		case k.Name == "hashed" && !accesskey.IsVerifier(k.Value):
			t.Error("the verifier cannot be read")
		}
	}
}

func listSorted(t *testing.T, ctx context.Context, h Harness) {
	for _, doc := range []keystore.Doc{"zeta", "a-b", "alpha", "a_b"} {
		mustUpdate(t, ctx, h.Store, doc, put(Function(string(doc))))
	}
	mustUpdate(t, ctx, h.Store, keystore.HostDoc, put(Host("1")))
	wantList(t, ctx, h.Store, "a-b", "a_b", "alpha", "host", "zeta")
}

func loadsAll(t *testing.T, ctx context.Context, h Harness) {
	all, ok := h.Store.(keystore.AllLoader)
	if !ok {
		return // it is an optional power
	}
	if got, err := all.LoadAll(ctx); err != nil || len(got) != 0 {
		t.Errorf("with no document: %v, %v", got, err)
	}
	mustUpdate(t, ctx, h.Store, keystore.HostDoc, put(Host("1")))
	for _, doc := range []keystore.Doc{"a", "b-c", "d_e"} {
		mustUpdate(t, ctx, h.Store, doc, put(Function(string(doc))))
	}
	got, err := all.LoadAll(ctx)
	if err != nil || len(got) != 4 {
		t.Fatalf("%d documents, %v", len(got), err)
	}
	for doc, l := range got {
		d, rev := mustLoad(t, ctx, h.Store, doc)
		if diff := cmp.Diff(d, l.Document); diff != "" || rev != l.Revision || l.Err != nil {
			t.Errorf("%s, %v, revisions %q and %q: load (-) and load all (+) differ:\n%s", doc, l.Err, rev, l.Revision, diff)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := all.LoadAll(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

func deletes(t *testing.T, ctx context.Context, h Harness) {
	mustUpdate(t, ctx, h.Store, "fn", put(Function("1")))
	mustUpdate(t, ctx, h.Store, "fn2", put(Function("2")))
	if err := h.Store.Delete(ctx, "fn"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Store.Load(ctx, "fn"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("load after delete: %v", err)
	}
	wantList(t, ctx, h.Store, "fn2")
	mustUpdate(t, ctx, h.Store, "fn", func(old keystore.Document, exists bool) (keystore.Document, error) {
		if exists {
			t.Errorf("deleted document came back: %v", old)
		}
		return Function("3"), nil
	})
	wantLoaded(t, ctx, h.Store, "fn", Function("3"))
}

func deletesState(t *testing.T, ctx context.Context, h Harness) {
	first := mustUpdate(t, ctx, h.Store, "fn", put(Function("1")))
	second := mustUpdate(t, ctx, h.Store, "fn", put(Function("2")))
	mustUpdate(t, ctx, h.Store, "fn2", put(Function("3")))
	if err := keystore.DeleteAt(ctx, h.Store, "fn", first); !errors.Is(err, keystore.ErrConflict) {
		t.Errorf("delete of a former state: %v", err)
	}
	wantLoaded(t, ctx, h.Store, "fn", Function("2"))
	if err := keystore.DeleteAt(ctx, h.Store, "fn", second); err != nil {
		t.Errorf("delete of the state: %v", err)
	}
	wantList(t, ctx, h.Store, "fn2")
	err := keystore.DeleteAt(ctx, h.Store, "fn", second)
	if !errors.Is(err, keystore.ErrNotFound) && !errors.Is(err, keystore.ErrConflict) {
		t.Errorf("delete of what is gone: %v", err)
	}
}

// Names that begin alike or look like keys of one another's flat names are
// where stores without real documents go wrong.
func independent(t *testing.T, ctx context.Context, h Harness) {
	docs := []keystore.Doc{"foo", "foobar", "foo-bar", "foo_bar", "hosts", "foo--default"}
	mustUpdate(t, ctx, h.Store, keystore.HostDoc, put(Host("1")))
	for _, doc := range docs {
		mustUpdate(t, ctx, h.Store, doc, put(Function(string(doc))))
	}
	mustUpdate(t, ctx, h.Store, "foo", put(Function("changed")))
	if err := h.Store.Delete(ctx, "hosts"); err != nil {
		t.Error(err)
	}
	for _, doc := range docs[1:4] {
		wantLoaded(t, ctx, h.Store, doc, Function(string(doc)))
	}
	wantLoaded(t, ctx, h.Store, "foo", Function("changed"))
	wantLoaded(t, ctx, h.Store, keystore.HostDoc, Host("1"))
}

func unsafeNames(t *testing.T, ctx context.Context, h Harness) {
	for _, doc := range []keystore.Doc{
		"", ".", "..", "../host", "/etc/passwd", "a/b", `a\b`, "a.b", ".hidden", "a\x00b", "a b", "Upper",
		"host.snapshot.2024-01-01 00.00.00.000000", "-rf", "é", "a\n", "%2e%2e", keystore.Doc(strings.Repeat("a", 129)),
	} {
		if _, _, err := h.Store.Load(ctx, doc); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("load %q: %v", doc, err)
		}
		ran := false
		_, _, err := h.Store.Update(ctx, doc, func(keystore.Document, bool) (keystore.Document, error) {
			ran = true
			return Function("1"), nil
		})
		if !errors.Is(err, keystore.ErrInvalid) || ran {
			t.Errorf("update %q: change ran %v, %v", doc, ran, err)
		}
		if err := h.Store.Delete(ctx, doc); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("delete %q: %v", doc, err)
		}
	}
	wantList(t, ctx, h.Store)
}

func endedContext(t *testing.T, ctx context.Context, h Harness) {
	rev := mustUpdate(t, ctx, h.Store, "fn", put(Function("1")))
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, _, load := h.Store.Load(ended, "fn")
	_, _, update := h.Store.Update(ended, "fn", put(Function("2")))
	_, list := h.Store.List(ended)
	for name, err := range map[string]error{"load": load, "update": update, "list": list, "delete": h.Store.Delete(ended, "fn")} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, now := mustLoad(t, ctx, h.Store, "fn"); now != rev {
		t.Error("written under an ended context")
	}
}

func contextEndsInChange(t *testing.T, ctx context.Context, h Harness) {
	inner, cancel := context.WithCancel(ctx)
	_, _, err := h.Store.Update(inner, "fn", func(keystore.Document, bool) (keystore.Document, error) {
		cancel()
		return Function("1"), nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("update: %v", err)
	}
	wantList(t, ctx, h.Store)
}

func namesItself(t *testing.T, ctx context.Context, h Harness) {
	mustUpdate(t, ctx, h.Store, keystore.HostDoc, put(Host("tag")))
	if s := h.Store.String(); s == "" || strings.Contains(s, "tag") {
		t.Errorf("the store calls itself %q", s)
	}
	if c := h.Store.Capabilities(); c.ReadOnly {
		t.Errorf("capabilities %+v of a store that was just written", c)
	}
}
