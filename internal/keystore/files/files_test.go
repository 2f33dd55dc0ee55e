package files_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/codec"
	"github.com/latchkey/latchkey/internal/keystore/files"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/seal/dataprotection"
	"github.com/latchkey/latchkey/internal/seal/keyset"
)

const siteKey = "AzureWebEncryptionKey=000102030405060708090a0b0c0d0e0f"

func dataProtection(t *testing.T, environ ...string) seal.Sealer {
	t.Helper()
	s, err := dataprotection.FromEnviron(environ)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ownKeyset(t *testing.T) seal.Sealer {
	t.Helper()
	s, err := keyset.Open(t.Context(), t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(dir string, s seal.Sealer) *files.Store {
	return files.New(files.Config{Dir: dir, Codec: codec.New(codec.Config{Sealer: s})})
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// harness gives a folder sealed by s and ways to harm it.
func harness(t *testing.T, s seal.Sealer) keystoretest.Harness {
	dir := filepath.Join(t.TempDir(), "not", "yet")
	path := func(doc keystore.Doc) string { return filepath.Join(dir, string(doc)+".json") }
	return keystoretest.Harness{
		Store:  open(dir, s),
		Second: func(*testing.T) keystore.Store { return open(dir, s) },
		ReadOnly: func(*testing.T) keystore.Store {
			return files.New(files.Config{Dir: dir, Codec: codec.New(codec.Config{Sealer: s}), ReadOnly: true})
		},
		Outside: func(t *testing.T, doc keystore.Doc, d keystore.Document) {
			data, _, err := codec.New(codec.Config{}).Encode(doc, d)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path(doc), data)
		},
		Corrupt: func(t *testing.T, doc keystore.Doc) {
			other := codec.New(codec.Config{Sealer: dataProtection(t, "AzureWebEncryptionKey=ffff")})
			d := keystoretest.Function("lost")
			if doc.IsHost() {
				d = keystoretest.Host("lost")
			}
			data, _, err := other.Encode(doc, d)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path(doc), data)
		},
		Truncate: func(t *testing.T, doc keystore.Doc) {
			data := read(t, path(doc))
			write(t, path(doc), data[:len(data)/2])
		},
		Raw: func(t *testing.T, doc keystore.Doc) []byte { return read(t, path(doc)) },
		LeaveTemp: func(t *testing.T, doc keystore.Doc) func() bool {
			temp := filepath.Join(dir, "."+string(doc)+".json.123456.lktmp")
			write(t, temp, []byte(`{"keys":[`))
			return func() bool {
				_, err := os.Lstat(temp)
				return errors.Is(err, os.ErrNotExist)
			}
		},
		Break: func(t *testing.T) func() {
			if err := os.Rename(dir, dir+".away"); err != nil {
				t.Fatal(err)
			}
			write(t, dir, nil) // a file where the folder should be
			return func() {
				if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
					t.Fatal(err)
				}
			}
		},
	}
}

func TestConformance(t *testing.T) {
	for name, sealer := range map[string]func(*testing.T) seal.Sealer{
		"in clear":        func(*testing.T) seal.Sealer { return nil },
		"data protection": func(t *testing.T) seal.Sealer { return dataProtection(t, siteKey) },
		"keyset":          ownKeyset,
	} {
		t.Run(name, func(t *testing.T) {
			keystoretest.Run(t, keystoretest.Config{New: func(t *testing.T) keystoretest.Harness { return harness(t, sealer(t)) }})
		})
	}
}

func TestAgreesWithTheReference(t *testing.T) {
	keystoretest.CrossTest(t, memory.New(), open(t.TempDir(), nil), open(t.TempDir(), ownKeyset(t)))
}

func put(t *testing.T, s keystore.Store, doc keystore.Doc, d keystore.Document) {
	t.Helper()
	_, _, err := s.Update(t.Context(), doc, func(keystore.Document, bool) (keystore.Document, error) { return d, nil })
	if err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func TestFolderAndFilesAreTheOwnersOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	s := open(dir, nil)
	if _, _, err := s.Load(t.Context(), "fn"); !errors.Is(err, keystore.ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reading made the folder: %v", err)
	}
	put(t, s, "fn", keystoretest.Function("1"))
	for path, mode := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "fn.json"): 0o600, filepath.Join(dir, ".latchkey.lock"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if got := names(t, dir); got != ".latchkey.lock fn.json" {
		t.Errorf("folder holds %s", got)
	}
	if w := s.Warnings(); w != nil {
		t.Errorf("warnings %q", w)
	}
}

func functionJSON(value string) []byte {
	return []byte(`{"keys":[{"name":"default","value":"` + value + `","encrypted":false}]}`)
}

func TestOldMixedCaseFilesAreReadAndMoved(t *testing.T) {
	dir := t.TempDir()
	s := open(dir, nil)
	write(t, filepath.Join(dir, "HttpTrigger1.json"), functionJSON("mixed"))
	write(t, filepath.Join(dir, "HTTPTrigger1.json"), functionJSON("upper"))
	d, _, err := s.Load(t.Context(), "httptrigger1")
	if err != nil || d.Keys.Keys[0].Value != "upper" {
		t.Fatalf("first spelling in byte order: %v, %v", d, err)
	}
	_, _, err = s.Update(t.Context(), "httptrigger1", func(old keystore.Document, exists bool) (keystore.Document, error) {
		if !exists || old.Keys.Keys[0].Value != "upper" {
			t.Errorf("change was given %v, %v", old, exists)
		}
		old.Keys.Keys[0].Value = "lower"
		return old, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); got != ".latchkey.lock HttpTrigger1.json httptrigger1.json" {
		t.Errorf("folder holds %s", got)
	}
	if d, _, err := s.Load(t.Context(), "httptrigger1"); err != nil || d.Keys.Keys[0].Value != "lower" {
		t.Errorf("lower-case file does not win: %v, %v", d, err)
	}
	if docs, err := s.List(t.Context()); err != nil || len(docs) != 1 {
		t.Errorf("list: %v, %v", docs, err)
	}
	if w := s.Warnings(); len(w) == 0 || !strings.Contains(strings.Join(w, "\n"), "HttpTrigger1.json is ignored") {
		t.Errorf("warnings %q", w)
	}
	if err := s.Delete(t.Context(), "httptrigger1"); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); got != ".latchkey.lock" {
		t.Errorf("a deleted document can come back from %s", got)
	}
}

func TestSnapshotsAndStrangersAreNoDocuments(t *testing.T) {
	dir := t.TempDir()
	s := open(dir, nil)
	for _, name := range []string{"host.snapshot.2024-05-06 07.08.09.123456.json", "fn.snapshot.2024-05-06 07.08.09.123456.json", "notes.txt", ".json", "a b.json"} {
		write(t, filepath.Join(dir, name), functionJSON("x"))
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.json"), 0o700); err != nil {
		t.Fatal(err)
	}
	if docs, err := s.List(t.Context()); err != nil || len(docs) != 0 {
		t.Errorf("list: %v, %v", docs, err)
	}
	if _, _, err := s.Load(t.Context(), keystore.HostDoc); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("load: %v", err)
	}
	before := names(t, dir)
	put(t, s, "fn", keystoretest.Function("1"))
	if err := s.Delete(t.Context(), "fn"); err != nil {
		t.Fatal(err)
	}
	if after := strings.TrimPrefix(names(t, dir), ".json .latchkey.lock"); after != strings.TrimPrefix(before, ".json") {
		t.Errorf("folder held %s, now %s", before, after)
	}
}

func TestErrorsNameTheFileAndNoValue(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "fn.json"), []byte(`{"keys":[{"name":"a","value":"SECRET","encrypted":true}]}`))
	_, _, err := open(dir, nil).Load(t.Context(), "fn")
	if !errors.Is(err, keystore.ErrUndecryptable) || !strings.Contains(err.Error(), filepath.Join(dir, "fn.json")) || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("got %v", err)
	}
}

func TestStaleValuesAreSealedAnewByTheNextUpdate(t *testing.T) {
	dir := t.TempDir()
	const guid = "00112233-4455-6677-8899-aabbccddeeff"
	put(t, open(dir, dataProtection(t, siteKey)), "fn", keystoretest.Function("1"))
	rotated := open(dir, dataProtection(t, siteKey, "AzureWebEncryptionKey_"+guid+"=00aa", "AzureWebPrimaryEncryptionKey="+guid))
	d, _, err := rotated.Load(t.Context(), "fn")
	if err != nil || !d.Stale {
		t.Fatalf("stale %v, %v", d.Stale, err)
	}
	_, _, err = rotated.Update(t.Context(), "fn", func(old keystore.Document, _ bool) (keystore.Document, error) { return old, nil })
	if err != nil {
		t.Fatal(err)
	}
	d, _, err = rotated.Load(t.Context(), "fn")
	if diff := cmp.Diff(keystoretest.Function("1"), d); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

func TestWarnsOfLinksAndOpenModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	s := open(dir, nil)
	put(t, s, "fn", keystoretest.Function("1"))
	target := filepath.Join(t.TempDir(), "target")
	write(t, target, functionJSON("linked"))
	for _, err := range []error{
		os.Chmod(dir, 0o755), os.Chmod(filepath.Join(dir, "fn.json"), 0o644), os.Symlink(target, filepath.Join(dir, "linked.json")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w := s.Warnings()
	if text := strings.Join(w, "\n"); len(w) != 3 || !strings.Contains(text, "fn.json is open") || !strings.Contains(text, "linked.json is a symbolic link") {
		t.Errorf("warnings %q", w)
	}
	if d, _, err := s.Load(t.Context(), "linked"); err != nil || d.Keys.Keys[0].Value != "linked" {
		t.Errorf("load through a link: %v, %v", d, err)
	}
	if _, _, err := s.Load(t.Context(), "fn"); err != nil {
		t.Errorf("a looser mode is refused: %v", err)
	}
}
