package azfkey

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// found is what a test compares of a match.
func found(matches []Match) string {
	var b strings.Builder
	for _, m := range matches {
		fmt.Fprintf(&b, "%d-%d %s %s\n", m.Start, m.End, m.Kind, m.Key())
	}
	return b.String()
}

func TestFindFollowsTheBoundaries(t *testing.T) {
	tests := map[string]struct {
		before, after string
		want          bool
	}{
		"alone":                        {"", "", true},
		"quoted":                       {`"`, `"`, true},
		"in a URL":                     {"https://app/api/f?code=", "&x=1", true},
		"in a header":                  {"x-functions-key: ", "\r\n", true},
		"other bytes around":           {"\x00\xff", "\xc3\xa9", true},
		"one = too many":               {"=", "=", true},
		"a letter before":              {"x", "", false},
		"a digit before":               {" 0", "", false},
		"a hyphen before":              {"-", "", false},
		"an underscore before":         {"_", "", false},
		"a letter after":               {"", "x", false},
		"an underscore after":          {"", "_ ", false},
		"in a longer blob":             {strings.Repeat("A", 44), "A", false},
		"after an escaped =":           {"code%3D", "%26", true},
		"after a doubly escaped =":     {"code%253d", "", true},
		"after an escaped line end":    {`"\n`, `\n"`, true},
		"after a Unicode escape":       {`"a\u003d`, `"`, true},
		"after a hex escape":           {`\x3d`, ``, true},
		"after what is no hex escape":  {`%3G`, "", false},
		"after what is no escape":      {`\q`, "", false},
		"after a cut Unicode escape":   {`u003d`, "", false},
		"after a short Unicode escape": {`\u03d`, "", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := Find([]byte(test.before + sample + test.after))
			if len(got) == 0 != !test.want {
				t.Fatalf("found %d", len(got))
			}
			start := len(test.before)
			want := fmt.Sprintf("%d-%d function %s\n", start, start+TextLen, sample)
			if test.want && found(got) != want {
				t.Errorf("found %swant %s", found(got), want)
			}
		})
	}
}

func TestFindToleratesLostPadding(t *testing.T) {
	body := sample[:unpaddedLen]
	for _, text := range []string{body, body + "%3D%3D", body + `\u003d\u003d`, body + "=", body + "\n=="} {
		want := fmt.Sprintf("0-%d function %s\n", unpaddedLen, sample)
		if got := found(Find([]byte(text))); got != want {
			t.Errorf("in %q found %q", text, got)
		}
	}
	if got := Find([]byte(body + "d")); got != nil {
		t.Errorf("found %d where the text goes on", len(got))
	}
}

func TestFindWantsTheChecksum(t *testing.T) {
	for name, text := range map[string]string{
		"empty":          "",
		"flipped":        "e" + sample[1:],
		"stray bits":     sample[:unpaddedLen-1] + "R==",
		"cut at front":   sample[1:],
		"cut at the end": sample[:unpaddedLen-1],
		"signature only": "AzFuAzFuAzFu",
	} {
		if got := Find([]byte(text)); got != nil {
			t.Errorf("%s: found %d", name, len(got))
		}
	}
}

func TestFindGivesEveryKeyInOrder(t *testing.T) {
	text := sample + ";" + other + "\n" + sample
	want := fmt.Sprintf("0-56 function %s\n57-113 master %s\n114-170 function %s\n", sample, other, sample)
	if got := found(Find([]byte(text))); got != want {
		t.Errorf("found\n%swant\n%s", got, want)
	}
}

func TestFinderFindsKeysSplitAnywhere(t *testing.T) {
	text := []byte("a=" + sample + "x " + sample + " \\u003d" + other + ", x" + sample + "\n" + other[:unpaddedLen])
	want := found(Find(text))
	for size := 1; size <= len(text); size++ {
		if got := found(feed(text, func() int { return size })); got != want {
			t.Fatalf("in pieces of %d found\n%swant\n%s", size, got, want)
		}
	}
}

func TestFinderCanBeUsedAgain(t *testing.T) {
	var f Finder
	var got []Match
	collect := func(m Match) { got = append(got, m) }
	f.Feed([]byte(sample[:30]), collect)
	f.Close(collect)
	f.Feed([]byte(sample[30:]), collect)
	f.Close(collect)
	if got != nil {
		t.Fatal("two texts were taken for one")
	}
	f.Feed([]byte(sample), collect)
	f.Close(collect)
	if found(got) != "0-56 function "+sample+"\n" {
		t.Errorf("found %s", found(got))
	}
}

// feed runs a Finder over text in pieces of the sizes that size gives.
func feed(text []byte, size func() int) []Match {
	var f Finder
	var all []Match
	collect := func(m Match) { all = append(all, m) }
	for len(text) > 0 {
		n := min(max(size(), 0), len(text))
		piece := bytes.Clone(text[:n])
		f.Feed(piece, collect)
		clear(piece) // a Finder that kept it would now find nothing
		text = text[n:]
	}
	f.Close(collect)
	return all
}

var published = regexp.MustCompile(`(?:^|[^A-Za-z0-9_\-])([A-Za-z0-9_\-]{44}AzFu[A-Za-z0-9_\-]{5}[AQgw]==)(?:[^A-Za-z0-9_\-]|$)`)

func TestFindMissesNothingThePublishedRuleFinds(t *testing.T) {
	pieces := []string{sample, other, sample[:20], "AzFu", "==", "=", " ", "-", "x", "\n", "%3D", sample[:unpaddedLen]}
	rng := rand.New(rand.NewPCG(1, 2))
	hits := 0
	for range 5000 {
		var text []byte
		for range rng.IntN(12) {
			text = append(text, pieces[rng.IntN(len(pieces))]...)
		}
		starts := map[int64]bool{}
		for _, m := range Find(text) {
			starts[m.Start] = true
		}
		for _, loc := range published.FindAllSubmatchIndex(text, -1) {
			key := string(text[loc[2]:loc[3]])
			if _, ok := Identify(key); !ok {
				continue
			}
			hits++
			if !starts[int64(loc[2])] {
				t.Fatalf("missed the key at %d of %q", loc[2], text)
			}
		}
	}
	if hits < 1000 {
		t.Errorf("only %d keys compared", hits)
	}
}

func TestMatchPrintsMasked(t *testing.T) {
	m := Find([]byte(sample))[0]
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, m); got != "function key dddd…(56) at 0" {
			t.Errorf("%s prints %s", verb, got)
		}
		if got := fmt.Sprintf(verb, []Match{m}); strings.Contains(got, "AzFu") {
			t.Errorf("%s of a slice prints %s", verb, got)
		}
	}
}

func TestRedactMasksEveryKey(t *testing.T) {
	tests := map[string]string{
		"nothing here": "nothing here",
		"":             "",
		"/a/" + sample + "/" + other[:unpaddedLen] + "%3D%3D": "/a/dddd…(56)/AAEC…(56)%3D%3D",
	}
	for text, want := range tests {
		if got := Redact(text); got != want {
			t.Errorf("Redact(%q) = %q, want %q", text, got, want)
		}
	}
}

func FuzzFinder(f *testing.F) {
	f.Add([]byte("a="+sample+" "+other), uint64(1))
	f.Add([]byte(`\u003d`+sample+sample[:unpaddedLen]), uint64(2))
	f.Add([]byte("%253d"+other+"=AzFu"), uint64(3))
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		whole := Find(text)
		for _, m := range whole {
			if !Canonical(m.Key()) || !bytes.HasPrefix(text[m.Start:m.End], []byte(m.Key()[:unpaddedLen])) {
				t.Fatalf("match %v is not in the text", m)
			}
		}
		rng := rand.New(rand.NewPCG(seed, 0))
		pieces := feed(text, func() int { return rng.IntN(80) })
		if found(pieces) != found(whole) {
			t.Fatalf("in pieces found\n%sin one\n%s", found(pieces), found(whole))
		}
	})
}

// benchText is a megabyte of text that looks like source or, worse for the
// search, like base64.
func benchText(base64 bool) []byte {
	rng := rand.New(rand.NewPCG(7, 7))
	alphabet := "etaoin shrdlu etaoin\n(){}=;ABCDE"
	if base64 {
		alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	}
	text := make([]byte, 1<<20)
	for i := range text {
		text[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return append(append(text, ' '), sample...)
}

func BenchmarkFind(b *testing.B) {
	for name, text := range map[string][]byte{"source": benchText(false), "base64": benchText(true)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if len(Find(text)) != 1 {
					b.Fatal("not found")
				}
			}
		})
	}
}
