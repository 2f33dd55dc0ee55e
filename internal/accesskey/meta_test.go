package accesskey

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// cmpNets compares networks, which have no exported fields.
var cmpNets = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

func fullMeta() Meta {
	return Meta{
		Note: "for the <partner> & co", Owner: "ops@example.com", Created: noon, NotBefore: noon.Add(time.Hour),
		Expires: noon.Add(48 * time.Hour), Disabled: true, Methods: []string{"GET", "POST"}, Functions: []string{"Hello"},
		CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")},
		Rate:  Rate{N: 5, Per: time.Minute, Burst: 2}, Quota: Quota{N: 100, Per: Month}, Retires: "default",
		RotateEvery: 720 * time.Hour, Overlap: time.Hour, Hint: "abcd…(56)",
		Former:  []Former{{Verifier: NewVerifier(Salt{1}, "old").String(), Since: noon, Expires: noon.Add(time.Hour)}},
		Unknown: map[string][]byte{"later": []byte(`{"a":[1,"<"]}`)},
	}
}

func TestMetaSurvivesItsStoredForm(t *testing.T) {
	for name, m := range map[string]Meta{"empty": {}, "full": fullMeta()} {
		got, err := ParseMeta(m.Format())
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, m.Format())
		}
		if diff := cmp.Diff(m, got, cmpNets); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if string(got.Format()) != string(m.Format()) {
			t.Errorf("%s: the stored form changes: %s", name, got.Format())
		}
	}
	if got := string((Meta{}).Format()); got != `{"v":1}` {
		t.Errorf("empty metadata is stored as %s", got)
	}
}

func TestMetaIsNormalised(t *testing.T) {
	m := Meta{
		Expires: noon.Add(500 * time.Millisecond).In(time.FixedZone("x", 3600)), Methods: []string{"get"},
		CIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/8")},
	}
	got, err := ParseMeta(m.Format())
	want := Meta{Expires: noon, Methods: []string{"GET"}, CIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	if diff := cmp.Diff(want, got, cmpNets); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func TestMetadataThatIsNotUnderstoodIsAnError(t *testing.T) {
	for _, raw := range []string{
		"", "null", "[]", `"x"`, "{", "{}", `{"v":0}`, `{"v":2}`, `{"v":"1"}`, `{"v":1,"expires":"tomorrow"}`, `{"v":1,"expires":5}`,
		`{"v":1,"cidrs":["10.0.0.0/33"]}`, `{"v":1,"cidrs":["::ffff:10.0.0.0/104"]}`, `{"v":1,"methods":["GET,POST"]}`, `{"v":1,"methods":"GET"}`,
		`{"v":1,"functions":[""]}`, `{"v":1,"rate":{"n":0,"per":"1m"}}`, `{"v":1,"rate":{"n":-1,"per":"1m0s"}}`, `{"v":1,"rate":{"n":1,"per":"1ns"}}`,
		`{"v":1,"quota":{"n":5,"per":"year"}}`, `{"v":1,"disabled":"yes"}`, `{"v":1,"former":[{}]}`, `{"v":1,"overlap":"9000h"}`,
		`{"v":1,"note":"` + strings.Repeat("n", MaxMetaLen) + `"}`, `{"v":1} {"v":1}`,
	} {
		if m, err := ParseMeta([]byte(raw)); !errors.Is(err, problem.Undecryptable) {
			t.Errorf("%.60s: %+v, %v", raw, m, err)
		}
	}
	if _, err := (Key{Name: "k", Extra: map[string][]byte{MetaMember: []byte("{}")}}).Meta(); err == nil {
		t.Error("a key with broken metadata passes for one without")
	}
	if m, err := ParseMeta([]byte(`{"v":1,"EXPIRES":"2030-01-01T00:00:00Z"}`)); err != nil || len(m.Unknown) != 1 || m.Restricts() {
		t.Errorf("a member in other case: %+v, %v", m, err)
	}
}

func TestValidateNamesTheMember(t *testing.T) {
	past := noon.Add(-time.Second)
	for name, test := range map[string]struct {
		kind Kind
		m    Meta
		says string
	}{
		"expiry in the past":      {Host, Meta{Expires: past}, "expires:"},
		"expiry now":              {Host, Meta{Expires: noon}, "expires:"},
		"window without room":     {Host, Meta{NotBefore: noon.Add(time.Hour), Expires: noon.Add(time.Hour)}, "notBefore:"},
		"long note":               {Host, Meta{Note: strings.Repeat("n", MaxNoteLen+1)}, "note:"},
		"note of two lines":       {Host, Meta{Note: "a\nb"}, "note:"},
		"owner that is no text":   {Host, Meta{Owner: "a\xff"}, "owner:"},
		"method":                  {Host, Meta{Methods: []string{"GET", "P T"}}, "methods[1]:"},
		"function":                {Host, Meta{Functions: []string{"a/b"}}, "functions[0]:"},
		"functions of a function": {Function, Meta{Functions: []string{"a"}}, "functions:"},
		"functions of a system":   {System, Meta{Functions: []string{"a"}}, "functions:"},
		"no network":              {Host, Meta{CIDRs: []netip.Prefix{{}}}, "cidrs[0]:"},
		"rate of none":            {Host, Meta{Rate: Rate{Per: time.Minute}}, "rate.n:"},
		"rate without period":     {Host, Meta{Rate: Rate{N: 1}}, "rate.per:"},
		"rate with long period":   {Host, Meta{Rate: Rate{N: 1, Per: 1000 * time.Hour}}, "rate.per:"},
		"burst below zero":        {Host, Meta{Rate: Rate{N: 1, Per: time.Minute, Burst: -1}}, "rate.burst:"},
		"burst without end":       {Host, Meta{Rate: Rate{N: 1, Per: 24 * time.Hour, Burst: MaxCount}}, "rate.burst:"},
		"quota of none":           {Host, Meta{Quota: Quota{Per: Day}}, "quota.n:"},
		"quota per year":          {Host, Meta{Quota: Quota{N: 1, Per: "year"}}, "quota.per:"},
		"rotation each minute":    {Host, Meta{RotateEvery: time.Minute}, "rotateEvery:"},
		"overlap of a year":       {Host, Meta{Overlap: 365 * 24 * time.Hour}, "overlap:"},
		"overlap below zero":      {Host, Meta{Overlap: -time.Hour}, "overlap:"},
		"default overlap":         {Host, Meta{RotateEvery: 24 * time.Hour}, "overlap:"},
		"overlap over rotations":  {Host, Meta{RotateEvery: 2 * time.Hour, Overlap: 2 * time.Hour}, "overlap:"},
		"former of a host key":    {Host, Meta{Former: fullMeta().Former}, "former:"},
		"disabled master":         {Master, Meta{Disabled: true}, "disabled:"},
		"master that expires":     {Master, Meta{Expires: noon.Add(time.Hour)}, "expires:"},
		"master that begins":      {Master, Meta{NotBefore: noon}, "notBefore:"},
		"master with quota":       {Master, Meta{Quota: Quota{N: 1, Per: Day}}, "quota:"},
	} {
		err := test.m.Validate(test.kind, Meta{}, noon)
		if !errors.Is(err, problem.Invalid) || !strings.HasPrefix(err.Error(), test.says) || problem.NextOf(err) == "" {
			t.Errorf("%s: %v, want %q and what to do", name, err, test.says)
		}
	}
	if err := (Meta{Expires: past, Note: "late"}).Validate(Host, Meta{Expires: past}, noon); err != nil {
		t.Errorf("a note for an expired key: %v", err)
	}
	m := fullMeta()
	m.Former = nil
	if err := m.Validate(Host, Meta{}, noon); err != nil {
		t.Error(err)
	}
}

func TestParseNetworks(t *testing.T) {
	got, err := ParseNetworks([]string{"10.1.2.3/8", " 192.0.2.7 ", "2001:db8::1", "::ffff:192.0.2.9"})
	want := "[10.0.0.0/8 192.0.2.7/32 2001:db8::1/128 192.0.2.9/32]"
	if text := cmpText(got); text != want || err != nil {
		t.Errorf("%s, %v", text, err)
	}
	for _, bad := range []string{"", "10.0.0.0/33", "10.0.0/8", "10.0.0.256", "fe80::1%eth0", "example.com", "::ffff:10.0.0.0/104"} {
		if _, err := ParseNetworks([]string{"10.0.0.0/8", bad}); !errors.Is(err, problem.Invalid) || !strings.HasPrefix(err.Error(), "cidrs[1]:") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func cmpText(nets []netip.Prefix) string {
	var s []string
	for _, n := range nets {
		s = append(s, n.String())
	}
	return "[" + strings.Join(s, " ") + "]"
}

func TestStatusOverTime(t *testing.T) {
	m := Meta{NotBefore: noon, Expires: noon.Add(time.Hour)}
	for at, want := range map[time.Duration]Status{-time.Nanosecond: NotYet, 0: Active, time.Hour - 1: Active, time.Hour: Expired} {
		if got := m.Status(noon.Add(at)); got != want {
			t.Errorf("after %v: %v, want %v", at, got, want)
		}
	}
	m.Disabled = true
	if m.Status(noon) != Disabled || (Meta{}).Status(noon) != Active {
		t.Error("disabled or plain keys")
	}
}

func TestRetiredNamesSayWhenTheyEnd(t *testing.T) {
	until := time.Date(2030, 1, 31, 12, 0, 0, 999, time.FixedZone("x", 3600))
	for _, base := range []string{"default", "eventgrid_extension", "with space", strings.Repeat("é", MaxNameLen)} {
		name := RetiredName(base, until)
		if err := ValidateName(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got, end, ok := ParseRetiredName(strings.ToUpper(name))
		if !ok || !strings.HasPrefix(strings.ToUpper(base), got) || !end.Equal(until.Truncate(time.Second)) {
			t.Errorf("%s: %s, %v, %v", name, got, end, ok)
		}
	}
	if got := RetiredName("default", until); got != "default.until-20300131T110000Z" {
		t.Error(got)
	}
	for _, name := range []string{"", "default", ".until-20300131T110000Z", "a.until-20300231T110000Z", "a.until-20300131T110000", "a.until-20300131T110000Zb"} {
		if _, _, ok := ParseRetiredName(name); ok {
			t.Errorf("%q is taken for a former value", name)
		}
	}
}

func TestARetiredNameLimitsAKeyWithoutMetadata(t *testing.T) {
	m, err := Key{Name: RetiredName("default", noon)}.Meta()
	if err != nil || m.Retires != "default" || !m.Expires.Equal(noon) {
		t.Errorf("%+v, %v", m, err)
	}
	later := Key{Name: RetiredName("default", noon)}.WithMeta(Meta{Retires: "Default", Expires: noon.Add(time.Hour)})
	if m, _ := later.Meta(); !m.Expires.Equal(noon) || m.Retires != "Default" {
		t.Errorf("metadata reaches further than the name: %+v", m)
	}
}

func TestVerifiersRecogniseTheirValueOnly(t *testing.T) {
	v := NewVerifier(NewSalt(), "a value")
	back, ok := ParseVerifier(v.String())
	if !ok || back != v || back.Salt.Sum("a value") != v.Sum || back.Salt.Sum("another") == v.Sum {
		t.Errorf("%s does not work", v)
	}
	if strings.Contains(v.String(), "value") || v == NewVerifier(NewSalt(), "a value") {
		t.Error("a verifier tells the value, or salts don't matter")
	}
	for _, text := range []string{"", "lkh1.", "lkh1..", "lkh1.AA.AA", v.String() + "A", v.String()[1:], strings.Replace(v.String(), ".", "", 1)} {
		if IsVerifier(text) {
			t.Errorf("%q is taken for a verifier", text)
		}
	}
	if err := ValidateValue(v.String()); !errors.Is(err, problem.Invalid) {
		t.Errorf("a verifier can be set as a value: %v", err)
	}
}

func FuzzParseMeta(f *testing.F) {
	f.Add(fullMeta().Format())
	f.Add([]byte(`{"v":1,"rate":{"n":1,"per":"1m0s"},"x":1}`))
	f.Add([]byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseMeta(raw)
		if err != nil {
			return
		}
		text := m.Format()
		again, err := ParseMeta(text)
		if err != nil || !json.Valid(text) {
			t.Fatalf("%q becomes %q, which is not understood: %v", raw, text, err)
		}
		if diff := cmp.Diff(m, again, cmpNets); diff != "" {
			t.Errorf("%q: %s", raw, diff)
		}
	})
}
