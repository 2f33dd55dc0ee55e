package keyinfo_test

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyinfo"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
)

var now = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func TestOneWordSaysWhetherAKeyWorks(t *testing.T) {
	later, before := now.Add(time.Hour), now.Add(-time.Hour)
	for want, key := range map[keyinfo.State]accesskey.Key{
		keyinfo.Active:   {Name: "k"},
		keyinfo.Disabled: accesskey.Key{Name: "k"}.WithMeta(accesskey.Meta{Disabled: true, Expires: before}),
		keyinfo.Expired:  accesskey.Key{Name: "k"}.WithMeta(accesskey.Meta{Expires: now}),
		keyinfo.NotYet:   accesskey.Key{Name: "k"}.WithMeta(accesskey.Meta{NotBefore: later}),
		keyinfo.Retiring: {Name: accesskey.RetiredName("k", later)}, // by its name alone
		keyinfo.Retired:  {Name: accesskey.RetiredName("k", before)},
		keyinfo.Broken:   {Name: "k", Extra: map[string][]byte{accesskey.MetaMember: []byte(`{"v":9}`)}},
	} {
		if got := keyinfo.Of(keyring.HostKeys(), key, now); got.State != want {
			t.Errorf("%v: %s, want %s", key, got.State, want)
		}
		if plain := keyinfo.Plain(key); plain != (want == keyinfo.Active) {
			t.Errorf("%v: plain %v", key, plain)
		}
	}
	if keyinfo.Plain(accesskey.Key{Name: "k", Value: "…", HashOnly: true}) {
		t.Error("a key whose value is not kept is plain")
	}
}

func full() accesskey.Meta {
	return accesskey.Meta{
		Note: "n", Owner: "o", Created: now, NotBefore: now, Expires: now.Add(time.Hour), Disabled: true,
		Methods: []string{"GET"}, Functions: []string{"hello"}, CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Rate: accesskey.Rate{N: 10, Per: time.Minute, Burst: 5}, Quota: accesskey.Quota{N: 3, Per: accesskey.Month},
		RotateEvery: 48 * time.Hour, Overlap: time.Hour,
	}
}

func TestWhatIsShownIsReadBack(t *testing.T) {
	text, err := json.Marshal(keyinfo.Of(keyring.HostKeys(), accesskey.Key{Name: "k"}.WithMeta(full()), now))
	if err != nil {
		t.Fatal(err)
	}
	var info keyinfo.Info
	if err := json.Unmarshal(text, &info); err != nil {
		t.Fatal(err)
	}
	got, err := info.Key().Meta()
	if diff := cmp.Diff(full(), got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if keyinfo.Of(keyring.HostKeys(), (keyinfo.Info{Name: "k", Details: keyinfo.Details{State: keyinfo.Broken}}).Key(), now).State != keyinfo.Broken {
		t.Error("a key that does not work is shown as one that does")
	}
}

func TestAPatchHasWhatChangesOnly(t *testing.T) {
	old, next := full(), full()
	next.Note, next.CIDRs, next.Rate.Burst = "", nil, 6
	patch := keyinfo.Patch(old, next)
	text, _ := json.Marshal(patch)
	if want := `{"cidrs":null,"note":null,"rate":{"n":10,"per":"1m0s","burst":6}}`; string(text) != want {
		t.Errorf("%s, want %s", text, want)
	}
	change, any, err := keyinfo.ReadChange(patch)
	if err != nil || !any {
		t.Fatal(any, err)
	}
	change(&old)
	if diff := cmp.Diff(string(next.Format()), string(old.Format())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(keyinfo.Patch(next, next)) > 0 {
		t.Error("nothing changes, and the patch says otherwise")
	}
}

func TestUsesAreShownWithTheirKeyAndItsFormerValues(t *testing.T) {
	until := now.Add(time.Hour)
	retired := accesskey.RetiredName("K", until)
	use := func(name string, n int64) keyring.Use {
		return keyring.Use{Key: keyring.KeyRef{Kind: accesskey.Host, Name: name}, Count: n, Last: now, From: keyring.Private,
			Quota: keyring.Used{Start: now, Count: n}}
	}
	list := keyinfo.Join(keyring.HostKeys(), []accesskey.Key{{Name: "K"}, {Name: retired}, {Name: "idle"}},
		[]keyring.Use{use("k", 7), use(retired, 2)}, now)
	if k := list[0]; k.Uses == nil || k.Count != 7 || k.From != "private" || len(k.Retiring) != 1 || k.Retiring[0].Count != 2 || *k.Retiring[0].Last != now {
		t.Errorf("%+v", k)
	}
	if diff := cmp.Diff(use("K", 7), list[0].UseOf()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if list[2].Uses != nil {
		t.Errorf("a key nobody used: %+v", list[2])
	}
	former := accesskey.Former{Verifier: accesskey.NewVerifier(accesskey.NewSalt(), "v").String(), Expires: until}
	master := accesskey.Key{Name: accesskey.MasterName}.WithMeta(accesskey.Meta{Former: []accesskey.Former{former}})
	u := use(accesskey.RetiredName(accesskey.MasterName, until), 3)
	got := keyinfo.Join(keyring.MasterKey(), []accesskey.Key{master}, []keyring.Use{u}, now)[0]
	if len(got.Retiring) != 1 || got.Retiring[0].Count != 3 {
		t.Errorf("former master key: %+v", got)
	}
	listed := accesskey.Key{Name: accesskey.RetiredName(accesskey.MasterName, until)}.WithMeta(accesskey.Meta{Retires: accesskey.MasterName, Expires: until})
	got = keyinfo.Join(keyring.MasterKey(), []accesskey.Key{master, listed}, []keyring.Use{u}, now)[0]
	if len(got.Retiring) != 1 || got.Retiring[0].Count != 3 {
		t.Errorf("former master key that is listed, too: %+v", got.Retiring)
	}
	if text, _ := json.Marshal(got); strings.Contains(string(text), "lkh1") {
		t.Errorf("a verifier is shown: %s", text)
	}
}

// ring has keys but does not count.
type ring []accesskey.Key

func (r ring) Tagged(context.Context, keyring.Section) ([]accesskey.Key, []string, error) {
	return r, make([]string, len(r)), nil
}
func (ring) Usage(context.Context, keyring.Section) ([]keyring.Use, error) {
	return nil, problem.New(problem.Unsupported, "not counted")
}

func TestKeysAreFoundWhateverTheirCase(t *testing.T) {
	r := ring{{Name: "a"}, {Name: "B"}}
	if info, err := keyinfo.Find(t.Context(), r, keyring.HostKeys(), "b", now); err != nil || info.Name != "B" {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := keyinfo.Find(t.Context(), r, keyring.HostKeys(), "c", now); problem.KindOf(err) != problem.NotFound {
		t.Errorf("a key that is not there: %v", err)
	}
}

func FuzzReadChange(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"note":null,"expires":"2030-01-31T12:00:00Z"}`, `{"rate":{"n":1,"per":"1d"},"quota":{"n":1,"per":"day"}}`,
		`{"cidrs":["10.0.0.1"],"methods":["get"]}`, `{"overlap":"1d12h","disabled":true,"state":"x"}`, `{"rotateEvery":"99999999999d"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var members map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &members) != nil {
			return
		}
		change, _, err := keyinfo.ReadChange(members)
		if err != nil {
			if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), ": ") {
				t.Errorf("%s: %v", text, err)
			}
			return
		}
		var m accesskey.Meta
		change(&m)
		if m.Validate(accesskey.Host, m, now) != nil {
			return
		}
		again, _, err := keyinfo.Info{Details: keyinfo.Of(keyring.HostKeys(), accesskey.Key{Name: "k"}.WithMeta(m), now).Details}.Meta()
		if err != nil || string(again.Format()) != string(m.Format()) {
			t.Errorf("%s: shown as %s, %v; want %s", text, again.Format(), err, m.Format())
		}
	})
}
