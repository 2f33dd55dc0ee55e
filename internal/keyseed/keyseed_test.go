package keyseed_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keyseed"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/problem"
)

var here = keyseed.Place{Path: "keys"}

func TestEveryFaultIsToldWithItsPath(t *testing.T) {
	faults := keyseed.Check([]keyseed.Entry{
		{Name: "a"},
		{Name: "b", Value: "secret-of-b", Generate: true},
		{Name: "_Master", Generate: true},
		{Kind: "master", Name: "m", Generate: true},
		{Kind: "ship", Name: "c", Generate: true},
		{Kind: "function", Name: "d", Generate: true},
		{Kind: "system", Function: "f", Name: "e", Generate: true},
		{Name: "..", Generate: true},
		{Name: "f", ValueEnv: "X", Expires: "soon", CIDRs: []string{"10.0.0.0/8", "10.0.0.0/99"}, Methods: []string{"GET", "G T"}, Rate: "10", Quota: "5/year", RotateEvery: "9x", Overlap: "1y"},
		{Name: "g", Value: "secret", RotateEvery: "90d"},
		{Name: "h", Value: "@Microsoft.KeyVault(SecretUri=nothing)"},
		{Name: "i", Generate: true},
		{Name: "I", Generate: true},
		{Name: "j", Generate: true, NotBefore: "2030-01-02", Expires: "2030-01-01"},
		{Kind: "master", Generate: true, CIDRs: []string{"none"}, Functions: []string{"x y"}},
		{Function: "host", Name: "k", Generate: true},
		{Name: strings.Repeat("n", 200), Generate: true},
		{Name: "l", ValueEnv: "A=B"},
		{App: "a b", Name: "m", Generate: true},
		{Name: "default.until-20300131T120000Z", Generate: true},
		{Name: "n", Generate: true, Functions: []string{"x y"}},
	}, here)
	text := strings.Join(faults, "\n")
	for _, part := range []string{
		"keys[0]: must have one of value, valueEnv, valueFile, generate: true", "keys[1]: must have one of", "keys[2].name: _master is reserved",
		"keys[3].name: the master key has no other name", `keys[4].kind: "ship" is none of`, "keys[5].function: must name the function",
		"keys[6].function: a system key is of no function", "keys[7].name: ",
		`keys[8].expires: "soon"`, "keys[8].cidrs[1]: ", `keys[8].rate: "10"`, "keys[8].quota: use a number", `keys[8].rotateEvery: "9x"`,
		`keys[8].overlap: "1y"`, "keys[9].rotateEvery: a value that is declared", "keys[10].value: is no reference",
		"keys[12]: is the same key as keys[11]", "keys[13].notBefore: does not lie before expires", "keys[15].function: must name",
		"keys[16].name: ", "keys[17].valueEnv: is no name", "keys[18].app: is no name", "keys[19].name: ends like", "keys[20].functions[0]: ",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in:\n%s", part, text)
		}
	}
	if strings.Contains(text, "secret") {
		t.Errorf("a value is told:\n%s", text)
	}
}

func TestGoodEntriesHaveNoFaults(t *testing.T) {
	list := []keyseed.Entry{
		{Kind: "master", ValueEnv: "MASTER", Note: "kept in the vault"},
		{Name: "default", Generate: true},
		{Name: "partner", Value: "partner-secret", Expires: "2001-01-31", Note: "none", CIDRs: []string{"none"}, Methods: []string{"get", "POST"}, Quota: "1000/day", Rate: "10/1m"},
		{Name: "default", Function: "hello", Value: "@Microsoft.KeyVault(VaultName=v;SecretName=s)"},
		{Kind: "System", Name: "eventgrid_extension", ValueFile: "/x"},
		{Name: "rotated", Generate: true, RotateEvery: "90d", Overlap: "36h", CIDRs: []string{}},
		{App: "other", Name: "default", Generate: true},
	}
	if faults := keyseed.Check(list, here); len(faults) > 0 {
		t.Error(faults)
	}
	if faults := keyseed.Check(list, keyseed.Place{Path: "keys", Apps: true}); len(faults) != 6 {
		t.Errorf("entries without an app: %q", faults)
	}
	if s := fmt.Sprintf("%v %+v %#v %s", list, list, list, list[2]); strings.Contains(s, "partner-secret") {
		t.Error("a value is printed")
	}
}

func sources(files map[string]string) keyseed.Sources {
	return keyseed.Sources{
		Env: func(name string) string { return map[string]string{"PARTNER": "from environment"}[name] },
		File: func(path string) ([]byte, error) {
			text, ok := files[path]
			if !ok {
				return nil, errors.New("no such file")
			}
			return []byte(text), nil
		},
		Reference: func(_ context.Context, text string) (string, error) {
			if strings.Contains(text, "denied") {
				return "", problem.New(problem.Denied, "the vault says no").WithNext("ask for it")
			}
			return "from the vault", nil
		},
	}
}

func TestValuesAreFoundWhereTheyAreDeclaredToBe(t *testing.T) {
	list := []keyseed.Entry{
		{Name: "a", ValueEnv: "PARTNER"}, {Name: "b", ValueFile: "/b"}, {Name: "c", Value: "@Microsoft.KeyVault(VaultName=v;SecretName=s)"},
		{Name: "d", Generate: true}, {Name: "e", Value: "literal"},
		{Name: "f", ValueEnv: "MISSING"}, {Name: "g", ValueFile: "/g"}, {Name: "h", Value: "@Microsoft.KeyVault(VaultName=denied;SecretName=s)"},
		{Name: "i", ValueFile: "/empty"}, {Name: "j", ValueFile: "/lines"},
	}
	keys, faults := keyseed.Resolve(t.Context(), list, here, sources(map[string]string{"/b": "from a file\r\n", "/empty": "\n", "/lines": "a\nb"}))
	var got []string
	for _, k := range keys {
		got = append(got, k.Name+"="+k.Value)
	}
	if diff := cmp.Diff([]string{"a=from environment", "b=from a file", "c=from the vault", "d=", "e=literal"}, got); diff != "" {
		t.Error(diff)
	}
	var told []string
	for _, f := range faults {
		told = append(told, fmt.Sprint(problem.KindOf(f), " ", f))
	}
	for i, part := range []string{"keys[5]: valueEnv: the variable MISSING is not set", "keys[6]: valueFile: ", "keys[7]: value: the reference is not resolved: the vault says no", "keys[8]: valueFile: ", "keys[9]: valueFile: "} {
		if i >= len(told) || !strings.Contains(told[i], part) {
			t.Errorf("%q is missing in %q", part, told)
		}
	}
	none := sources(nil)
	none.Reference = nil
	if _, faults := keyseed.Resolve(t.Context(), list[2:3], here, none); len(faults) != 1 || problem.NextOf(faults[0]) == "" {
		t.Errorf("a reference that nobody reads: %v", faults)
	}
}

func newRing(t *testing.T) (*keyring.Ring, *memory.Store) {
	t.Helper()
	store := memory.New()
	ring, err := keyring.New(keyring.Config{Store: store, Clock: clock.NewManual(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ring.Close)
	return ring, store
}

func TestApplyingTwiceChangesNothing(t *testing.T) {
	ring, store := newRing(t)
	list := []keyseed.Entry{
		{Kind: "master", Value: "declared master"},
		{Name: "partner", Value: "declared partner", Owner: "billing", CIDRs: []string{"10.0.0.0/8"}, Expires: "2030-01-31", Rate: "10/1m", Quota: "5/day", Methods: []string{"get"}, Functions: []string{"hello"}},
		{Name: "made", Generate: true, RotateEvery: "90d"},
		{Function: "hello", Name: "default", Value: "declared function"},
		{Kind: "system", Name: "eventgrid_extension", Generate: true},
		{Name: "late", Generate: true, Expires: "2001-01-01"},
	}
	keys, faults := keyseed.Resolve(t.Context(), list, here, sources(nil))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	apply := func() (list []string) {
		for _, r := range keyseed.Apply(t.Context(), ring, keys) {
			list = append(list, r.Key.Label+" "+r.Outcome.String())
			if (r.Outcome == keyring.Failed) != (r.Err != nil) {
				t.Errorf("%+v", r)
			}
		}
		return list
	}
	first := apply()
	_, host, _ := store.Load(t.Context(), keystore.HostDoc)
	_, function, _ := store.Load(t.Context(), "hello")
	want := []string{
		"the master key updated", `host key "partner" created`, `host key "made" created`, `key "default" of function hello updated`,
		`system key "eventgrid_extension" created`, `host key "late" failed`,
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Error(diff)
	}
	for i := range want[:5] {
		want[i] = want[i][:strings.LastIndexByte(want[i], ' ')] + " unchanged"
	}
	if diff := cmp.Diff(want, apply()); diff != "" {
		t.Error(diff)
	}
	_, host2, _ := store.Load(t.Context(), keystore.HostDoc)
	_, function2, _ := store.Load(t.Context(), "hello")
	if host != host2 || function != function2 {
		t.Errorf("revisions %v %v, then %v %v", host, function, host2, function2)
	}
}

func TestWhatIsNotDeclaredStays(t *testing.T) {
	ring, _ := newRing(t)
	ctx := t.Context()
	if _, _, err := ring.Set(ctx, keyring.HostKeys(), "other", "other value"); err != nil {
		t.Fatal(err)
	}
	note := func(m *accesskey.Meta) error { m.Note, m.Owner = "by hand", "by hand"; return nil }
	if _, err := ring.SetMeta(ctx, keyring.HostKeys(), "default", note); err != nil {
		t.Fatal(err)
	}
	keys, _ := keyseed.Resolve(ctx, []keyseed.Entry{{Name: "default", Generate: true, Note: "declared", Owner: ""}}, here, sources(nil))
	before, _ := ring.Get(ctx, keyring.HostKeys(), "default")
	if r := keyseed.Apply(ctx, ring, keys); r[0].Outcome != keyring.Updated || r[0].Replaced {
		t.Errorf("%+v", r)
	}
	after, _ := ring.Get(ctx, keyring.HostKeys(), "default")
	m, _ := after.Meta()
	if after.Value != before.Value || m.Note != "declared" || m.Owner != "by hand" {
		t.Errorf("%+v", m)
	}
	if k, err := ring.Get(ctx, keyring.HostKeys(), "other"); err != nil || k.Value != "other value" {
		t.Error(k, err)
	}
	keys, _ = keyseed.Resolve(ctx, []keyseed.Entry{{Name: "default", Generate: true, Note: "none"}}, here, sources(nil))
	keyseed.Apply(ctx, ring, keys)
	after, _ = ring.Get(ctx, keyring.HostKeys(), "default")
	if m, _ := after.Meta(); m.Note != "" || m.Owner != "by hand" {
		t.Errorf("%+v", m)
	}
}

func TestFilesOfTheFunctionsHost(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []string
		bad  bool
	}{
		"host document": {
			`{"masterKey":{"name":"master","value":"m","encrypted":false},"functionKeys":[{"name":"default","value":"d","encrypted":false}],"systemKeys":[{"name":"x_extension","value":"s"}],"hostName":"h","instanceId":null,"source":"runtime","decryptionKeyId":""}`,
			[]string{"master//=m", "host//default=d", "system//x_extension=s"}, false,
		},
		"oldest document": {`{"masterKey":"m","functionKey":"d"}`, []string{"master//=m", "host//default=d"}, false},
		"start-up context": {
			`{"secrets":{"host":{"master":"m","function":{"b":"2","a":"1"},"system":{"s":"3"}},"function":[{"name":"fn","secrets":{"k":"4"}}]}}`,
			[]string{"master//=m", "host//a=1", "host//b=2", "system//s=3", "function/fn/k=4"}, false,
		},
		"context without its envelope": {`{"host":{"master":"m"},"function":[]}`, []string{"master//=m"}, false},
		"sealed":                       {`{"masterKey":{"name":"master","value":"CfDJ8AAAsecret","encrypted":true},"functionKeys":[]}`, nil, true},
		"wrong types":                  {`{"masterKey":7,"functionKeys":[]}`, nil, true},
		"wrong types within":           {`{"masterKey":"secret","functionKeys":{"default":"secret"}}`, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			list, is, err := keyseed.ParseStock([]byte(c.text))
			if !is || (err != nil) != c.bad {
				t.Fatal(is, err)
			}
			if c.bad {
				if problem.KindOf(err) != problem.Invalid || strings.Contains(err.Error(), "secret") {
					t.Error(err)
				}
				return
			}
			var got []string
			for _, e := range list {
				got = append(got, e.Kind+"/"+e.Function+"/"+e.Name+"="+e.Value)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if faults := keyseed.Check(list, here); len(faults) > 0 {
				t.Error(faults)
			}
		})
	}
	for _, text := range []string{"keys: []", `{"keys":[]}`, "[]", "", "null"} {
		if _, is, err := keyseed.ParseStock([]byte(text)); is || err != nil {
			t.Errorf("%q is taken for a file of the functions host: %v", text, err)
		}
	}
}

func FuzzParseStock(f *testing.F) {
	f.Add([]byte(`{"masterKey":{"value":"m"},"functionKeys":[{"name":"a","value":"b"}],"secrets":{"host":{}},"function":[{}]}`))
	f.Add([]byte(`{"secrets":null,"host":{"function":{"":""}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, is, err := keyseed.ParseStock(text)
		if !is && (err != nil || list != nil) {
			t.Error(list, err)
		}
		if err == nil && len(keyseed.Check(list, here)) == 0 {
			if keys, faults := keyseed.Resolve(t.Context(), list, here, sources(nil)); len(keys)+len(faults) != len(list) {
				t.Error("entries were lost")
			}
		}
	})
}

// TestAReferenceIsNeverTheKey: who knows where the secret is must not know the key.
func TestAReferenceIsNeverTheKey(t *testing.T) {
	const cut, whole = "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/s", "@microsoft.keyvault(VaultName=v;SecretName=s)"
	for _, value := range []string{cut, " " + whole, "@Microsoft.AppConfiguration(Endpoint=x;Key=y)"} {
		if faults := keyseed.Check([]keyseed.Entry{{Name: "a", Value: value}}, here); len(faults) != 1 || !strings.Contains(faults[0], "keys[0].value") {
			t.Errorf("%s: %q", value, faults)
		}
	}
	from := keyseed.Sources{
		Env:       func(string) string { return whole },
		File:      func(string) ([]byte, error) { return []byte(cut + "\n"), nil },
		Reference: func(context.Context, string) (string, error) { return whole, nil },
	}
	list := []keyseed.Entry{{Name: "a", ValueEnv: "E"}, {Name: "b", ValueFile: "f"}, {Name: "c", Value: whole}}
	keys, faults := keyseed.Resolve(t.Context(), list, here, from)
	if len(keys) != 0 || len(faults) != len(list) {
		t.Errorf("%v %v", keys, faults)
	}
}
