package dataprotection

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

const (
	testKey    = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	otherKey   = "ffeeddccbbaa99887766554433221100ffeeddccbbaa9988"
	guidA      = "00112233-4455-6677-8899-aabbccddeeff"
	masterText = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gAzFuFuYcng=="
	masterSeal = "CfDJ8AAAAAAAAAAAAAAAAAAAAAAAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHxAKh6V0Yf1xaNnx9ErGNrppYB9xjfzyRNnmUz5u4q1i1McyR7b030DsC89zp1fBD4xW65kzRX-B68ofF435LxlSPlLT5uiQuUzqTOAgPNZuB90M-cAA9oysxAVmoijiQg"
)

func span(from, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(from + i)
	}
	return b
}

func mustRing(t *testing.T, environ ...string) *Sealer {
	t.Helper()
	s, err := FromEnviron(environ)
	if err != nil || s == nil {
		t.Fatalf("FromEnviron: %v, %v", s, err)
	}
	return s
}

func TestEncryptMatchesTheFrameworksKnownAnswer(t *testing.T) {
	got, err := encrypt([]byte("master key"), []byte{6, 5, 4, 3}, []byte{2, 3, 4}, span(0, 16), span(0x10, 16))
	if err != nil {
		t.Fatal(err)
	}
	const want = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+36j4yWJOjBgOJxmYDYwhLnYqFxw+9mNh/cudyPrWmJmw4d/dmGaLJLLut2udiAAA="
	if text := base64.StdEncoding.EncodeToString(got); text != want {
		t.Errorf("got %s\nwant %s", text, want)
	}
}

func TestSealMatchesTheFullKnownAnswer(t *testing.T) {
	s := mustRing(t, "AzureWebEncryptionKey="+testKey)
	got, err := s.sealWith(masterText, span(0, 16), span(0x10, 16))
	if err != nil || got != masterSeal {
		t.Fatalf("got %s, %v", got, err)
	}
	plain, stale, err := s.Open(masterSeal, "anywhere")
	if plain != masterText || stale || err != nil {
		t.Fatalf("Open: %q stale %v, %v", plain, stale, err)
	}
	if plain, _, err := s.Open(masterSeal+"==", ""); plain != masterText || err != nil {
		t.Errorf("padded text refused: %v", err)
	}
}

func TestWhatIsSealedOpensAgainAtAnyLength(t *testing.T) {
	s := mustRing(t, "AzureWebEncryptionKey="+testKey)
	for n := range 50 {
		plain := strings.Repeat("é", n)
		a, err := s.Seal(plain, "p")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := s.Seal(plain, "p")
		got, stale, err := s.Open(a, "p")
		if got != plain || stale || err != nil || a == b {
			t.Fatalf("length %d: stale %v, %v, same twice %v", n, stale, err, a == b)
		}
		if !strings.HasPrefix(a, "CfDJ8AAAAAAAAAAAAAAAAAAAAA") {
			t.Fatalf("not under the default key: %s", a[:30])
		}
	}
}

func TestKeysInTheFrameworksByteOrder(t *testing.T) {
	s := mustRing(t, "AzureWebEncryptionKey_"+guidA+"="+testKey, "AzureWebPrimaryEncryptionKey="+guidA)
	sealed, err := s.Seal("x", "")
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := base64.RawURLEncoding.DecodeString(sealed)
	if got := hex.EncodeToString(raw[4:20]); got != "33221100554477668899aabbccddeeff" {
		t.Errorf("key id bytes %s", got)
	}
}

func TestRotatedRingOpensOldValuesAsStale(t *testing.T) {
	old := mustRing(t, "AzureWebEncryptionKey="+testKey)
	sealed, _ := old.Seal("secret", "")
	both := []string{"AzureWebEncryptionKey=" + testKey, "AzureWebEncryptionKey_" + guidA + "=" + otherKey}
	if _, stale, err := mustRing(t, both...).Open(sealed, ""); stale || err != nil {
		t.Errorf("default is primary while none is chosen: stale %v, %v", stale, err)
	}
	s := mustRing(t, append(both, "AzureWebPrimaryEncryptionKey={"+strings.ToUpper(guidA)+"}")...)
	plain, stale, err := s.Open(sealed, "")
	if plain != "secret" || !stale || err != nil {
		t.Fatalf("%q stale %v, %v", plain, stale, err)
	}
	again, _ := s.Seal(plain, "")
	if _, stale, err := s.Open(again, ""); stale || err != nil {
		t.Errorf("sealed anew: stale %v, %v", stale, err)
	}
	if _, _, err := old.Open(again, ""); !errors.Is(err, problem.Undecryptable) {
		t.Errorf("opened without its key: %v", err)
	}
}

func TestMachineKeyIsTheDefaultOnlyWithoutASiteKey(t *testing.T) {
	site := mustRing(t, "AzureWebEncryptionKey="+testKey)
	machine := mustRing(t, "MACHINEKEY_DecryptionKey="+otherKey, "AzureWebEncryptionKey=")
	both := mustRing(t, "MACHINEKEY_DecryptionKey="+otherKey, "AzureWebEncryptionKey="+testKey)
	bySite, _ := site.Seal("s", "")
	byMachine, _ := machine.Seal("m", "")
	if got, _, err := both.Open(bySite, ""); got != "s" || err != nil {
		t.Errorf("site key: %v", err)
	}
	if _, _, err := both.Open(byMachine, ""); !errors.Is(err, problem.Undecryptable) {
		t.Errorf("machine key used although a site key is set: %v", err)
	}
	sum := sha256.Sum256([]byte(testKey))
	want := "AzureWebEncryptionKey=" + base64.StdEncoding.EncodeToString(sum[:]) + ";"
	if id := site.KeyID(); id != want {
		t.Errorf("key id %q, want %q", id, want)
	}
	if id := both.KeyID(); !strings.HasPrefix(id, site.KeyID()+"MACHINEKEY_DecryptionKey=") {
		t.Errorf("key id of both %q", id)
	}
}

func TestFaultySettingsAreNamedAndNotShown(t *testing.T) {
	for name, tc := range map[string]struct {
		environ []string
		names   string
	}{
		"not hexadecimal":        {[]string{"AzureWebEncryptionKey=zzSECRETzz"}, "AzureWebEncryptionKey"},
		"odd length":             {[]string{"AzureWebEncryptionKey=abc"}, "AzureWebEncryptionKey"},
		"machine key generated":  {[]string{"MACHINEKEY_DecryptionKey=AutoGenerate,IsolateSECRET"}, "MACHINEKEY_DecryptionKey"},
		"named key not a guid":   {[]string{"AzureWebEncryptionKey_main=00"}, "AzureWebEncryptionKey_main"},
		"named key bad":          {[]string{"AzureWebEncryptionKey_" + guidA + "=SECRET"}, guidA},
		"named twice":            {[]string{"AzureWebEncryptionKey_" + guidA + "=00", "AzureWebEncryptionKey_{" + guidA + "}=01"}, "twice"},
		"primary not a guid":     {[]string{"AzureWebEncryptionKey=00", "AzureWebPrimaryEncryptionKey=SECRET"}, "AzureWebPrimaryEncryptionKey"},
		"primary without a key":  {[]string{"AzureWebEncryptionKey=00", "AzureWebPrimaryEncryptionKey=" + guidA}, "AzureWebPrimaryEncryptionKey"},
		"no primary can be told": {[]string{"AzureWebEncryptionKey_" + guidA + "=00"}, "AzureWebPrimaryEncryptionKey"},
		"primary alone":          {[]string{"AzureWebPrimaryEncryptionKey=" + guidA}, "AzureWebPrimaryEncryptionKey"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := FromEnviron(tc.environ)
			if !errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), tc.names) {
				t.Fatalf("got %v", err)
			}
			if text := err.Error() + problem.NextOf(err); strings.Contains(text, "SECRET") {
				t.Errorf("shows the value: %s", text)
			}
		})
	}
}

func TestNoSettingsMeansNoSealer(t *testing.T) {
	s, err := FromEnviron([]string{"PATH=/bin", "AzureWebEncryptionKey=", "broken"})
	if s != nil || err != nil {
		t.Fatalf("%v, %v", s, err)
	}
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	s := mustRing(t, "AzureWebEncryptionKey="+testKey)
	raw, _ := base64.RawURLEncoding.DecodeString(masterSeal)
	for i := range raw {
		raw[i] ^= 0x40
		if _, _, err := s.Open(base64.RawURLEncoding.EncodeToString(raw), ""); !errors.Is(err, problem.Undecryptable) {
			t.Fatalf("byte %d: %v", i, err)
		}
		raw[i] ^= 0x40
	}
}

func FuzzOpen(f *testing.F) {
	s, err := FromEnviron([]string{"AzureWebEncryptionKey=" + testKey})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(masterSeal)
	f.Add(masterSeal[:60])
	f.Add("")
	f.Fuzz(func(t *testing.T, sealed string) {
		plain, _, err := s.Open(sealed, "")
		if err != nil && (plain != "" || !errors.Is(err, problem.Undecryptable)) {
			t.Fatalf("%q with %v", plain, err)
		}
	})
}
