package accesskey

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/azfkey"
)

func hostSet() Set {
	return Set{
		Master: Key{Name: MasterStoredName, Value: "m", Extra: map[string][]byte{"note": []byte(`"keep"`)}},
		Keys: []Key{
			{Name: "default", Value: "h1", Extra: map[string][]byte{"owner": []byte(`"ops"`)}},
			{Name: "other", Value: "h2"},
			{Name: "Default", Value: "h3"},
		},
		System: []Key{{Name: "eventgrid_extension", Value: "s1"}},
	}
}

func TestFindIgnoresCaseAndTakesTheFirst(t *testing.T) {
	tests := []struct {
		kind Kind
		name string
		want string
	}{
		{Host, "DEFAULT", "h1"}, {Function, "default", "h1"}, {Host, "other", "h2"}, {Host, "eventgrid_extension", ""},
		{System, "EventGrid_Extension", "s1"}, {System, "default", ""},
		{Master, MasterName, "m"}, {Master, "", "m"}, {None, "default", ""}, {Kind(77), "default", ""},
	}
	for _, test := range tests {
		got, ok := hostSet().Find(test.kind, test.name)
		if got.Value != test.want || ok != (test.want != "") {
			t.Errorf("Find(%s, %s) = %q, %v", test.kind, test.name, got.Value, ok)
		}
	}
	if k, ok := (Set{}).Find(Master, MasterName); ok || k.Name != "" {
		t.Error("an empty set has a master key")
	}
}

func TestListGivesEachNameOnce(t *testing.T) {
	tests := map[Kind]string{Host: "default other", System: "eventgrid_extension", Master: "master", None: ""}
	for kind, want := range tests {
		var names []string
		for _, k := range hostSet().List(kind) {
			names = append(names, k.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("List(%s) = %s, want %s", kind, got, want)
		}
	}
}

func TestPutReplacesInPlace(t *testing.T) {
	got, created := hostSet().Put(Host, Key{Name: "DEFAULT", Value: "new"})
	want := hostSet()
	want.Keys = []Key{{Name: "DEFAULT", Value: "new", Extra: hostSet().Keys[0].Extra}, {Name: "other", Value: "h2"}}
	if created {
		t.Error("a replaced key is called created")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPutPrefersTheNewUnknownMembers(t *testing.T) {
	extra := map[string][]byte{"owner": []byte(`"dev"`)}
	got, _ := hostSet().Put(Host, Key{Name: "default", Value: "new", Extra: extra})
	if diff := cmp.Diff(extra, got.Keys[0].Extra); diff != "" {
		t.Error(diff)
	}
}

func TestPutAppendsWhatIsNew(t *testing.T) {
	for _, kind := range []Kind{Host, Function, System} {
		got, created := hostSet().Put(kind, Key{Name: "fresh", Value: "f"})
		keys := got.list(kind)
		if !created || keys[len(keys)-1].Value != "f" || len(keys) != len(hostSet().list(kind))+1 {
			t.Errorf("%s: %v, created %v", kind, got, created)
		}
	}
	if got, created := (Set{}).Put(System, Key{Name: "a", Value: "b"}); !created || len(got.System) != 1 {
		t.Errorf("into an empty set: %v", got)
	}
}

func TestPutChangesNothingForNoKind(t *testing.T) {
	for _, kind := range []Kind{None, Kind(77)} {
		got, created := hostSet().Put(kind, Key{Name: "fresh", Value: "f"})
		if diff := cmp.Diff(hostSet(), got); diff != "" || created {
			t.Error(kind, created, diff)
		}
	}
}

func TestSetMasterKeepsTheStoredName(t *testing.T) {
	got, created := hostSet().SetMaster(Key{Name: "_MASTER", Value: "m2"})
	want := hostSet()
	want.Master.Value = "m2"
	if diff := cmp.Diff(want, got); diff != "" || created {
		t.Error(created, diff)
	}
	same, _ := hostSet().Put(Master, Key{Value: "m2"})
	if diff := cmp.Diff(want, same); diff != "" {
		t.Error(diff)
	}
	if got, created := (Set{}).SetMaster(Key{Value: "m"}); !created || got.Master.Name != MasterStoredName {
		t.Errorf("first master key: %v, created %v", got, created)
	}
}

func TestRemoveTakesEveryKeyOfTheName(t *testing.T) {
	got, removed := hostSet().Remove(Host, "dEfault")
	want := hostSet()
	want.Keys = []Key{{Name: "other", Value: "h2"}}
	if diff := cmp.Diff(want, got); diff != "" || !removed {
		t.Error(removed, diff)
	}
	for _, miss := range []struct {
		kind Kind
		name string
	}{{Host, "missing"}, {System, "default"}, {Master, MasterName}, {None, "default"}} {
		got, removed := hostSet().Remove(miss.kind, miss.name)
		if diff := cmp.Diff(hostSet(), got); diff != "" || removed {
			t.Error(miss, removed, diff)
		}
	}
}

// TestChangesShareNothing spoils everything a result can reach and looks
// whether the set it was made from notices.
func TestChangesShareNothing(t *testing.T) {
	changes := map[string]func(Set) Set{
		"clone":      Set.Clone,
		"put":        func(s Set) Set { s, _ = s.Put(Host, Key{Name: "default", Value: "n"}); return s },
		"append":     func(s Set) Set { s, _ = s.Put(Host, Key{Name: "fresh", Value: "n"}); return s },
		"set master": func(s Set) Set { s, _ = s.SetMaster(Key{Value: "n"}); return s },
		"remove":     func(s Set) Set { s, _ = s.Remove(System, "eventgrid_extension"); return s },
		"find": func(s Set) Set {
			k, _ := s.Find(Host, "default")
			m, _ := s.Find(Master, "")
			return Set{Master: m, Keys: []Key{k}}
		},
		"list": func(s Set) Set { return Set{Keys: s.List(Host), System: s.List(System)} },
	}
	for name, change := range changes {
		before := hostSet()
		before.Keys = append(make([]Key, 0, 8), before.Keys...) // room that an append could write into
		after := change(before)
		spoil(after)
		if diff := cmp.Diff(hostSet(), before); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if spare := before.Keys[:4][3]; spare.Name != "" {
			t.Errorf("%s wrote behind the old set", name)
		}
	}
}

func spoil(s Set) {
	for _, keys := range [][]Key{{s.Master}, s.Keys, s.System} {
		for i := range keys {
			for _, raw := range keys[i].Extra {
				clear(raw)
			}
			clear(keys[i].Extra)
			keys[i] = Key{}
		}
	}
}

func TestPutSharesNothingWithTheKey(t *testing.T) {
	key := Key{Name: "a", Value: "v", Extra: map[string][]byte{"x": []byte("1")}}
	set, _ := (Set{}).Put(Host, key)
	key.Extra["x"][0] = '2'
	key.Extra["y"] = nil
	if diff := cmp.Diff(map[string][]byte{"x": []byte("1")}, set.Keys[0].Extra); diff != "" {
		t.Error(diff)
	}
}

func TestKeysPrintMasked(t *testing.T) {
	set := Set{Keys: []Key{{Name: "default", Value: "topsecretvalue"}}, Master: Key{Value: "topsecretvalue"}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{set, &set, set.Keys[0], &set.Keys[0], set.Keys} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, "secret") || strings.Contains(got, "736563") {
				t.Errorf("%s prints %s", verb, got)
			}
		}
	}
}

func TestSeedTellsKindsApart(t *testing.T) {
	tests := map[Kind]azfkey.Kind{
		Master: azfkey.Master, System: azfkey.System, Host: azfkey.Function, Function: azfkey.Function, None: 0, Kind(77): 0,
	}
	for kind, want := range tests {
		if got := kind.Seed(); got != want {
			t.Errorf("%s: seed %s, want %s", kind, got, want)
		}
	}
	text, err := azfkey.Generate(azfkey.System)
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[Kind]bool{System: true, Master: false, Host: false, None: false} {
		if kind.Identifiable(text) != want {
			t.Errorf("%s: Identifiable = %v", kind, !want)
		}
	}
}

func TestKindNamesGoBothWays(t *testing.T) {
	for _, kind := range []Kind{Master, Host, Function, System} {
		if got, ok := ParseKind(strings.ToUpper(kind.String())); got != kind || !ok {
			t.Errorf("ParseKind(%s) = %s, %v", kind, got, ok)
		}
	}
	for _, name := range []string{"", "none", "keys"} {
		if got, ok := ParseKind(name); ok || got != None {
			t.Errorf("ParseKind(%q) = %s", name, got)
		}
	}
	if Kind(77).String() != "none" {
		t.Error("an unknown kind has a name")
	}
}

// TestFoldedNamesAreEqualAsEqualFoldHasIt: lists and searches agree about which
// names are one.
func TestFoldedNamesAreEqualAsEqualFoldHasIt(t *testing.T) {
	names := []string{"default", "DEFAULT", "Straße", "STRASSE", "k", "K", "K", "s", "ſ", "S", "Σ", "σ", "ς", "İ", "i", "\xff", "�"}
	for _, a := range names {
		for _, b := range names {
			if same := folded(a) == folded(b); same != strings.EqualFold(a, b) && utf8.ValidString(a) && utf8.ValidString(b) {
				t.Errorf("%q and %q: %v", a, b, same)
			}
		}
	}
}
