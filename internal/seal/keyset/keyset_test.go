package keyset_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal/keyset"
)

func open(t *testing.T, dir, setting string) *keyset.Sealer {
	t.Helper()
	s, err := keyset.Open(t.Context(), dir, setting)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sealed(t *testing.T, s *keyset.Sealer, plain, place string) string {
	t.Helper()
	text, err := s.Seal(plain, place)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// snapshot gives the folder's files and their content.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(b)
	}
	return out
}

func TestFirstUseMakesAPrivateFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := open(t, dir, "")
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("folder: %v, %v", info, err)
	}
	for _, name := range []string{keyset.KEKFile, keyset.KeysetFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if got := snapshot(t, dir)[".gitignore"]; got != "*\n" {
		t.Errorf(".gitignore holds %q", got)
	}
	if w := s.Warnings(); w != nil {
		t.Errorf("warnings %q", w)
	}
	if err := os.Chmod(filepath.Join(dir, keyset.KEKFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if w := s.Warnings(); len(w) != 1 || !strings.Contains(w[0], keyset.KEKFile) {
		t.Errorf("warnings %q", w)
	}
}

func TestValuesOpenAfterARestart(t *testing.T) {
	dir := t.TempDir()
	text := sealed(t, open(t, dir, ""), "välue", "host/master")
	if !strings.HasPrefix(text, keyset.Prefix) || strings.Contains(text, "lue") {
		t.Errorf("sealed text %q", text)
	}
	plain, stale, err := open(t, dir, "").Open(text, "host/master")
	if plain != "välue" || stale || err != nil {
		t.Fatalf("%q stale %v, %v", plain, stale, err)
	}
}

func TestValuesCannotBeSwappedOrDamaged(t *testing.T) {
	s := open(t, t.TempDir(), "")
	text := sealed(t, s, "v", "here")
	flipped := []byte(text)
	flipped[len(flipped)-5] ^= 1
	for name, bad := range map[string][2]string{
		"another place": {text, "there"}, "damaged": {string(flipped), "here"}, "cut": {text[:8], "here"},
		"other format": {"CfDJ8AAA", "here"}, "empty": {"", "here"}, "foreign": {sealed(t, open(t, t.TempDir(), ""), "v", "here"), "here"},
	} {
		if plain, _, err := s.Open(bad[0], bad[1]); plain != "" || !errors.Is(err, problem.Undecryptable) {
			t.Errorf("%s: %q, %v", name, plain, err)
		}
	}
}

func TestLostOrWrongKeyEncryptionKeyChangesNothing(t *testing.T) {
	other := strings.Repeat("ab", 32)
	for name, tc := range map[string]struct {
		spoil   func(t *testing.T, kek string)
		setting string
		kind    problem.Kind
		names   string
	}{
		"missing":       {func(t *testing.T, kek string) { remove(t, kek) }, "", problem.Undecryptable, keyset.KEKFile},
		"another":       {func(t *testing.T, kek string) { write(t, kek, other) }, "", problem.Undecryptable, keyset.KEKFile},
		"garbage":       {func(t *testing.T, kek string) { write(t, kek, "x") }, "", problem.Invalid, keyset.KEKFile},
		"wrong setting": {func(*testing.T, string) {}, other, problem.Undecryptable, keyset.EnvKEK},
		"bad setting":   {func(*testing.T, string) {}, "SECRET", problem.Invalid, keyset.EnvKEK},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, dir, "")
			tc.spoil(t, filepath.Join(dir, keyset.KEKFile))
			before := snapshot(t, dir)
			_, err := keyset.Open(t.Context(), dir, tc.setting)
			if !errors.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.names) || strings.Contains(err.Error(), "SECRET") {
				t.Fatalf("got %v", err)
			}
			if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
				t.Errorf("folder changed:\n%s", diff)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedKeysetIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, "")
	write(t, filepath.Join(dir, keyset.KeysetFile), `{"encryptedKeyset":"`)
	before := snapshot(t, dir)
	if _, err := keyset.Open(t.Context(), dir, ""); !errors.Is(err, problem.Undecryptable) {
		t.Fatalf("got %v", err)
	}
	if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
		t.Errorf("folder changed:\n%s", diff)
	}
}

func TestKeyEncryptionKeyFromTheEnvironmentLeavesNoFile(t *testing.T) {
	dir := t.TempDir()
	raw := bytes.Repeat([]byte{0xfb, 0xff}, 16)
	text := sealed(t, open(t, dir, hex.EncodeToString(raw)), "v", "p")
	if _, err := os.Stat(filepath.Join(dir, keyset.KEKFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("key-encryption key written to disk: %v", err)
	}
	for name, form := range forms(raw) {
		if plain, _, err := open(t, dir, form).Open(text, "p"); plain != "v" || err != nil {
			t.Errorf("%s: %q, %v", name, plain, err)
		}
	}
}

func forms(raw []byte) map[string]string {
	return map[string]string{
		"hexadecimal":  strings.ToUpper(hex.EncodeToString(raw)),
		"base64":       base64.StdEncoding.EncodeToString(raw) + "\n",
		"unpadded":     base64.RawStdEncoding.EncodeToString(raw),
		"url alphabet": base64.URLEncoding.EncodeToString(raw),
	}
}

func TestRotationKeepsOldValuesReadable(t *testing.T) {
	dir := t.TempDir()
	s, other := open(t, dir, ""), open(t, dir, "")
	before := sealed(t, s, "v", "p")
	id := s.KeyID()
	if err := s.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.KeyID() == id {
		t.Error("primary key unchanged")
	}
	after := sealed(t, s, "v", "p")
	for name, h := range map[string]*keyset.Sealer{"rotating process": s, "running process": other, "new process": open(t, dir, "")} {
		if plain, stale, err := h.Open(after, "p"); plain != "v" || stale || err != nil {
			t.Errorf("%s, new value: %q stale %v, %v", name, plain, stale, err)
		}
		if plain, stale, err := h.Open(before, "p"); plain != "v" || !stale || err != nil {
			t.Errorf("%s, old value: %q stale %v, %v", name, plain, stale, err)
		}
	}
}

func TestConcurrentRotationsLoseNoKey(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, "")
	texts := make([]string, 8)
	var wg sync.WaitGroup
	for i := range texts {
		s := open(t, dir, "")
		wg.Go(func() {
			if err := s.Rotate(t.Context()); err != nil {
				t.Error(err)
				return
			}
			texts[i], _ = s.Seal("v", "p")
		})
	}
	wg.Wait()
	s := open(t, dir, "")
	for i, text := range texts {
		if plain, _, err := s.Open(text, "p"); plain != "v" || err != nil {
			t.Errorf("rotation %d: %q, %v", i, plain, err)
		}
	}
}

func TestConcurrentFirstUseHasOneWinner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	sealers := make([]*keyset.Sealer, 16)
	var wg sync.WaitGroup
	for i := range sealers {
		wg.Go(func() {
			s, err := keyset.Open(t.Context(), dir, "")
			if err != nil {
				t.Error(err)
			}
			sealers[i] = s
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	text := sealed(t, sealers[0], "v", "p")
	for i, s := range sealers {
		if plain, _, err := s.Open(text, "p"); plain != "v" || err != nil {
			t.Errorf("sealer %d: %q, %v", i, plain, err)
		}
	}
}
