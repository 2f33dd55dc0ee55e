package flat_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/flat"
)

func TestEntryNamesSayWhichKeyTheyHold(t *testing.T) {
	for entry, want := range map[string]*flat.Name{
		"host.master":                    {Doc: "host", Kind: accesskey.Master, Key: "master"},
		"host.function.default":          {Doc: "host", Kind: accesskey.Host, Key: "default"},
		"Host.Function.Default":          {Doc: "host", Kind: accesskey.Host, Key: "Default"},
		"host.systemKey.eventgrid_ext":   {Doc: "host", Kind: accesskey.System, Key: "eventgrid_ext"},
		"functions.httptrigger1.default": {Doc: "httptrigger1", Kind: accesskey.Function, Key: "default"},
		"Functions.HttpTrigger1.A.b":     {Doc: "httptrigger1", Kind: accesskey.Function, Key: "A.b"},
		"functions.foo.bar.baz":          {Doc: "foo", Kind: accesskey.Function, Key: "bar.baz"},
		"Host.Master":                    nil,
		"host.master2":                   nil,
		"host.systemkey.x":               nil,
		"host.function.":                 nil,
		"host.systemKey.":                nil,
		"functions.foo":                  nil,
		"functions.foo.":                 nil,
		"functions..default":             nil,
		"functions.host.default":         nil,
		"functions.a b.default":          nil,
		"..data":                         nil,
		"":                               nil,
	} {
		got, ok := flat.ParseName(entry)
		if ok != (want != nil) || ok && got != *want {
			t.Errorf("%q is %+v, %v", entry, got, ok)
		}
	}
}

func TestEntriesMakeDocuments(t *testing.T) {
	e := flat.Entries{
		"host.master": "m", "host.function.b": "2", "host.function.a": "1", "host.systemKey.x": "s", "host.function.none": "",
		"functions.foo.Default": "upper", "functions.foo.default": "lower", "Functions.FOO.default": "odd",
		"functions.foobar.default": "bar", "functions.empty.default": "", "notes": "n",
	}
	host, ok := e.Document(keystore.HostDoc)
	want := keystore.Document{Keys: accesskey.Set{
		Master: accesskey.Key{Name: "master", Value: "m"}, System: []accesskey.Key{{Name: "x", Value: "s"}},
		Keys: []accesskey.Key{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}},
	}}
	if diff := cmp.Diff(want, host); !ok || diff != "" {
		t.Errorf("%v %s", ok, diff)
	}
	foo, ok := e.Document("foo")
	if !ok || len(foo.Keys.Keys) != 1 || foo.Keys.Keys[0].Value != "upper" {
		t.Errorf("foo is %v", foo.Keys.Keys)
	}
	if _, ok := e.Document("empty"); ok {
		t.Error("a document of empty values exists")
	}
	if got := fmt.Sprint(e.Docs()); got != "[foo foobar host]" {
		t.Errorf("documents %s", got)
	}
	odd := flat.Entries{"Functions.FOO.default": "odd", "functions.foo.default": "lower"}
	if d, _ := odd.Document("foo"); d.Keys.Keys[0].Value != "lower" {
		t.Errorf("the odd spelling wins: %v", d.Keys.Keys)
	}
}

func TestRevisionsChangeWithTheirDocumentOnly(t *testing.T) {
	e := flat.Entries{"functions.foo.a": "1", "functions.foobar.a": "1"}
	rev := e.Revision("foo")
	for entry, changes := range map[string]bool{
		"functions.foo.b": true, "functions.foo.a": true, "functions.foobar.a": false, "functions.foobar.b": false, "host.master": false,
	} {
		c := maps.Clone(e)
		c[entry] = "2"
		if got := c.Revision("foo"); got == "" || (got != rev) != changes {
			t.Errorf("%s: revision %q after %q", entry, got, rev)
		}
	}
	if rev := e.Revision("absent"); rev != "" {
		t.Errorf("an absent document has revision %q", rev)
	}
}

func TestWritingLeavesTheRestAndNoDeletedKey(t *testing.T) {
	e := flat.Entries{
		"host.master": "m", "functions.foo.default": "1", "Functions.Foo.old": "2", "functions.foobar.default": "3", "notes": "n",
	}
	before := maps.Clone(e)
	got, err := e.With("foo", keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{{Name: "New.1", Value: "v"}}}})
	if err != nil {
		t.Fatal(err)
	}
	want := flat.Entries{"host.master": "m", "functions.foo.New.1": "v", "functions.foobar.default": "3", "notes": "n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, e); diff != "" {
		t.Errorf("the old entries changed: %s", diff)
	}
	if diff := cmp.Diff(flat.Entries{"host.master": "m", "functions.foobar.default": "3", "notes": "n"}, e.Without("foo")); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"with space", "é", "a/b", strings.Repeat("a", 250)} {
		if _, err := e.With("foo", keystore.Document{Keys: accesskey.Set{Keys: []accesskey.Key{{Name: name, Value: "v"}}}}); !errors.Is(err, keystore.ErrInvalid) {
			t.Errorf("key name %q: %v", name, err)
		}
	}
}

// Names and documents survive the way there and back.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"host.master", "host.function.a", "functions.a.b.c", "FUNCTIONS.İ.x", "host.systemKey."} {
		f.Add(seed, "v")
	}
	f.Fuzz(func(t *testing.T, entry, value string) {
		n, ok := flat.ParseName(entry)
		if !ok {
			return
		}
		if again, ok := flat.ParseName(n.String()); !ok || again != n {
			t.Errorf("%q is %+v, written %q, which is %+v, %v", entry, n, n.String(), again, ok)
		}
		if keystore.CheckDoc(n.Doc) != nil || n.Key == "" {
			t.Errorf("%q is %+v", entry, n)
		}
		if _, exists := (flat.Entries{entry: value}).Document(n.Doc); exists != (value != "") {
			t.Errorf("%q=%q exists: %v", entry, value, exists)
		}
	})
}
