package azfkey

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// vectors are keys made from a known random part, by kind.
var vectors = []struct {
	random string
	tails  map[Kind]string
}{
	{strings.Repeat("A", 44), map[Kind]string{Master: "AzFu-N70jA==", System: "AzFuT-TO3g==", Function: "AzFuZg7Zjw=="}},
	{"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g", map[Kind]string{Master: "AzFuFuYcng==", System: "AzFuXnL4iA==", Function: "AzFusvnZbw=="}},
	{strings.Repeat("d", 44), map[Kind]string{Master: "AzFurLIoTQ==", System: "AzFu182vhA==", Function: "AzFu-PX5yQ=="}},
}

func eachVector(do func(random, text string, kind Kind)) {
	for _, v := range vectors {
		for kind, tail := range v.tails {
			do(v.random, v.random+tail, kind)
		}
	}
}

// sample is a function key, and other a master key, for texts in the tests.
var (
	sample = vectors[2].random + vectors[2].tails[Function]
	other  = vectors[1].random + vectors[1].tails[Master]
)

func TestVectorsAreValidForTheirKindOnly(t *testing.T) {
	eachVector(func(_, text string, kind Kind) {
		for _, k := range Kinds() {
			if got := Check(text, k); got != (k == kind) {
				t.Errorf("Check(%s, %s) = %v", text, k, got)
			}
		}
		if got, ok := Identify(text); got != kind || !ok {
			t.Errorf("Identify(%s) = %s, %v, want %s", text, got, ok, kind)
		}
		if !Canonical(text) {
			t.Errorf("Canonical(%s) = false", text)
		}
	})
}

func TestAssembleMakesTheVectors(t *testing.T) {
	eachVector(func(random, want string, kind Kind) {
		var part [randomLen]byte
		if n, err := base64.RawURLEncoding.Decode(part[:], []byte(random)); n != randomLen || err != nil {
			t.Fatal(n, err)
		}
		if got, err := assemble(part, kind); got != want || err != nil {
			t.Errorf("assemble = %s, %v, want %s", got, err, want)
		}
	})
}

func TestGeneratedKeysAreValidForTheirKindOnly(t *testing.T) {
	seen := map[string]bool{}
	for _, kind := range Kinds() {
		for range 2000 {
			text, err := Generate(kind)
			if err != nil {
				t.Fatal(err)
			}
			if len(text) != TextLen || strings.ContainsAny(text, "+/") || !Canonical(text) || seen[text] {
				t.Fatalf("bad %s key %s", kind, text)
			}
			seen[text] = true
			for _, k := range Kinds() {
				if Check(text, k) != (k == kind) {
					t.Fatalf("Check(%s, %s) = %v for a %s key", text, k, !(k == kind), kind)
				}
			}
		}
	}
}

func TestGenerateRefusesOtherKinds(t *testing.T) {
	for _, kind := range []Kind{0, 4, 255} {
		if text, err := Generate(kind); text != "" || !errors.Is(err, ErrKind) {
			t.Errorf("Generate(%d) = %q, %v", kind, text, err)
		}
		if kind.String() != "unknown" {
			t.Errorf("Kind(%d) is called %s", kind, kind)
		}
		if Check(sample, kind) {
			t.Errorf("a key is valid for Kind(%d)", kind)
		}
	}
}

func TestIdentifyToleratesWhatThePlatformTolerates(t *testing.T) {
	body, stem := sample[:unpaddedLen], sample[:unpaddedLen-1]
	for name, text := range map[string]string{
		"no padding":          body,
		"half of the padding": body + "=",
		"a stray bit":         stem + "R==", // the sample ends in Q; Q to f share the two bits that count
		"all stray bits":      stem + "f==",
		"both":                stem + "f",
	} {
		if kind, ok := Identify(text); kind != Function || !ok || !Check(text, Function) {
			t.Errorf("%s: Identify = %s, %v", name, kind, ok)
		}
		if Canonical(text) {
			t.Errorf("%s: Canonical", name)
		}
	}
}

func TestIdentifyRefusesWhatIsNotAKey(t *testing.T) {
	long := make([]byte, 60) // longer than a key with a right tail
	copy(long[53:], "\x03\x31\x6e")
	tests := map[string]string{
		"empty":               "",
		"only the signature":  "AzFu",
		"ordinary alphabet":   strings.Replace(other, "A", "+", 1),
		"slash":               strings.Replace(other, "A", "/", 1),
		"a bit flipped":       "e" + sample[1:],
		"checksum changed":    sample[:50] + "A" + sample[51:],
		"signature changed":   strings.Replace(sample, "AzFu", "AzFv", 1),
		"lower-cased":         strings.ToLower(sample),
		"too short":           sample[1:],
		"too long":            "d" + sample,
		"too much padding":    sample + "=",
		"padding inside":      sample[:20] + "=" + sample[21:],
		"line end inside":     sample[:20] + "\n" + sample[20:unpaddedLen],
		"line end after":      sample[:unpaddedLen] + "\n",
		"space after":         sample + " ",
		"space before":        " " + sample,
		"other bytes":         strings.Repeat("\xff", TextLen),
		"legacy key":          base64.StdEncoding.EncodeToString(make([]byte, Size)),
		"longer blob":         base64.URLEncoding.EncodeToString(long),
		"wrong last two bits": sample[:unpaddedLen-1] + "w==",
	}
	for name, text := range tests {
		if kind, ok := Identify(text); ok || kind != 0 || Canonical(text) {
			t.Errorf("%s: Identify = %s, %v", name, kind, ok)
		}
	}
}

func TestMaskShowsLittle(t *testing.T) {
	tests := map[string]string{
		sample:                            "dddd…(56)",
		"":                                "…(0)",
		"secret":                          "…(6)",
		"12345678":                        "1…(8)",
		strings.Repeat("é", 16):           "éé…(16)",
		"\x1b]" + strings.Repeat("x", 60): "?]xx…(62)",
		strings.Repeat("\xff", 8):         "\ufffd…(8)",
	}
	for text, want := range tests {
		if got := Mask(text); got != want {
			t.Errorf("Mask(%q) = %q, want %q", text, got, want)
		}
	}
}

func FuzzIdentify(f *testing.F) {
	eachVector(func(_, text string, _ Kind) { f.Add(text) })
	f.Add(sample[:unpaddedLen])
	f.Add(strings.Repeat("=", TextLen))
	f.Fuzz(func(t *testing.T, text string) {
		kind, ok := Identify(text)
		if ok != (kind != 0) || ok != (Check(text, Master) || Check(text, System) || Check(text, Function)) {
			t.Errorf("Identify and Check disagree on %q", text)
		}
		if Canonical(text) && !ok {
			t.Errorf("%q is canonical but no key", text)
		}
		if ok {
			key, _ := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
			if !Canonical(base64.URLEncoding.EncodeToString(key)) {
				t.Errorf("%q does not survive re-encoding", text)
			}
		}
	})
}

func BenchmarkGenerate(b *testing.B) {
	for b.Loop() {
		if _, err := Generate(Function); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIdentify(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Identify(sample)
	}
}
