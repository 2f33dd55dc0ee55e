package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/problem"
)

// Keys for the tests; the first is a function key, the second a master key.
var (
	functionKey = strings.Repeat("d", 44) + "AzFu-PX5yQ=="
	masterKey   = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g" + "AzFuFuYcng=="
)

// tree makes files in a new folder and changes into it.
func tree(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// scanAll runs a scan that must not fail and gives its findings as lines.
func scanAll(t *testing.T, opts Options) (lines []string, stats Stats) {
	t.Helper()
	stats, err := Scan(t.Context(), opts, func(f Finding) error {
		lines = append(lines, line(f))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines, stats
}

func line(f Finding) string {
	return fmt.Sprintf("%s:%d:%d-%d %s %s", f.File, f.Line, f.Column, f.EndColumn, f.Kind, f.Masked)
}

func TestScanSaysWhereKeysStand(t *testing.T) {
	tree(t, map[string]string{
		"a/one.txt":  "x\n  code=" + functionKey + "; " + masterKey + "\n",
		"a/two.txt":  "nothing",
		"b.json":     `{"é": "` + masterKey + `"}`,
		"empty":      "",
		"bom.txt":    "\ufeff" + masterKey,
		"crlf.txt":   "\r\n\r\n" + masterKey + "\r\n",
		"nobase.txt": masterKey[:54],
	})
	got, stats := scanAll(t, Options{Paths: []string{"."}})
	want := []string{
		"a/one.txt:2:8-64 function dddd…(56)",
		"a/one.txt:2:66-122 master AAEC…(56)",
		"b.json:1:8-64 master AAEC…(56)",
		"bom.txt:1:1-57 master AAEC…(56)",
		"crlf.txt:3:1-57 master AAEC…(56)",
		"nobase.txt:1:1-55 master AAEC…(56)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if stats.Files != 7 || stats.Findings != 6 || stats.Problems != 0 || stats.Bytes == 0 {
		t.Errorf("%+v", stats)
	}
}

func TestOrderDoesNotDependOnWorkers(t *testing.T) {
	files := map[string]string{}
	for i := range 60 {
		// Some files have far more findings than a worker may hold back.
		files[fmt.Sprintf("d%d/f%02d", i%7, i)] = strings.Repeat(functionKey+"\n", 1+(i%3)*100)
	}
	tree(t, files)
	want, _ := scanAll(t, Options{Paths: []string{"."}, Workers: 1})
	if len(want) != 20+20*101+20*201 {
		t.Fatalf("%d findings", len(want))
	}
	for _, workers := range []int{0, 2, 16} {
		got, _ := scanAll(t, Options{Paths: []string{"."}, Workers: workers})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d workers: %s", workers, diff)
		}
	}
}

func TestBinaryFilesAndGitAreSkippedUnlessAsked(t *testing.T) {
	tree(t, map[string]string{
		".git/config":     functionKey,
		"sub/.git/config": functionKey,
		".gitignore":      functionKey,
		"program":         "\x7fELF\x00 " + functionKey,
		"late":            strings.Repeat(" ", sniffSize) + "\x00" + functionKey,
	})
	got, stats := scanAll(t, Options{Paths: []string{"."}})
	if want := []string{".gitignore:1:1-57 function dddd…(56)", "late:1:8194-8250 function dddd…(56)"}; !cmp.Equal(want, got) {
		t.Error(cmp.Diff(want, got))
	}
	if stats.Binary != 1 || stats.Files != 2 {
		t.Errorf("%+v", stats)
	}
	if got, _ := scanAll(t, Options{Paths: []string{"."}, Git: true, Binary: true}); len(got) != 5 {
		t.Errorf("asked for everything, found %q", got)
	}
	if got, _ := scanAll(t, Options{Paths: []string{".git"}}); len(got) != 1 {
		t.Errorf("asked for .git, found %q", got)
	}
}

func TestLinksAndSpecialFilesAreNotOpened(t *testing.T) {
	tree(t, map[string]string{"outside/secret": functionKey, "in/real": functionKey})
	for _, err := range []error{
		os.Symlink("../outside", "in/folder"),
		os.Symlink("../outside/secret", "in/file"),
		os.Symlink("nowhere", "in/dangling"),
		os.Symlink(".", "in/loop"),
		os.Symlink("in", "link"),
		syscall.Mkfifo("in/pipe", 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, stats := scanAll(t, Options{Paths: []string{"in"}})
	if diff := cmp.Diff([]string{"in/real:1:1-57 function dddd…(56)"}, got); diff != "" {
		t.Error(diff)
	}
	if stats.Links != 4 || stats.Special != 1 || stats.Files != 1 {
		t.Errorf("%+v", stats)
	}
	got, _ = scanAll(t, Options{Paths: []string{"link", "in/file"}})
	want := []string{"link/real:1:1-57 function dddd…(56)", "in/file:1:1-57 function dddd…(56)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("links named by the user: %s", diff)
	}
}

func TestOpenRegularRefusesWhatChanged(t *testing.T) {
	tree(t, map[string]string{"real": "x"})
	if err := errors.Join(os.Symlink("real", "link"), syscall.Mkfifo("pipe", 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openRegular("link"); err == nil {
		t.Error("a link was opened")
	}
	if f, special, err := openRegular("pipe"); f != nil || !special || err != nil {
		t.Errorf("pipe: %v, %v, %v", f, special, err)
	}
}

func TestPathsInOneAnotherAreScannedOnce(t *testing.T) {
	tree(t, map[string]string{"a/b/f": functionKey, "ab/f": functionKey})
	for _, paths := range [][]string{{"a", "a/b", "ab"}, {"a/b/f", "a", "ab", "a"}, {"./a/", "ab"}} {
		if got, _ := scanAll(t, Options{Paths: paths}); len(got) != 2 {
			t.Errorf("%v: %q", paths, got)
		}
	}
	abs, err := filepath.Abs("a")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := scanAll(t, Options{Paths: []string{abs}}); !strings.HasPrefix(got[0], abs+"/b/f:1:1") {
		t.Errorf("absolute path: %q", got)
	}
}

func TestMissingPathFailsTheScan(t *testing.T) {
	tree(t, map[string]string{"f": functionKey})
	_, err := Scan(t.Context(), Options{Paths: []string{"f", "missing-" + functionKey}}, func(Finding) error {
		t.Error("something was scanned")
		return nil
	})
	if !errors.Is(err, problem.NotFound) || !strings.Contains(err.Error(), "missing-") {
		t.Error(err)
	}
}

func TestUnreadableFilesDoNotEndTheScan(t *testing.T) {
	tree(t, map[string]string{"z": functionKey})
	const unreadable = "/proc/self/mem" // opens, but its first page cannot be read, even by root
	var paths []string
	opts := Options{Paths: []string{unreadable, "z"}, Problem: func(path string, err error) {
		paths = append(paths, path)
		if err == nil || strings.Contains(err.Error(), "/proc") {
			t.Errorf("error is %v", err)
		}
	}}
	got, stats := scanAll(t, opts)
	if len(got) != 1 || stats.Problems != 1 || !cmp.Equal(paths, []string{unreadable}) {
		t.Errorf("found %q, problems with %q, %+v", got, paths, stats)
	}
	opts.Problem = nil
	if got, _ := scanAll(t, opts); len(got) != 1 {
		t.Errorf("without Problem found %q", got)
	}
}

func TestFoldersWithoutPermissionAreReported(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read everything; run as another user")
	}
	tree(t, map[string]string{"closed/f": functionKey, "shut": functionKey, "z": functionKey})
	if err := errors.Join(os.Chmod("closed", 0), os.Chmod("shut", 0)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod("closed", 0o700) })
	var paths []string
	got, _ := scanAll(t, Options{Paths: []string{"."}, Problem: func(path string, _ error) { paths = append(paths, path) }})
	if diff := cmp.Diff([]string{"closed", "shut"}, paths); diff != "" || len(got) != 1 {
		t.Error(got, diff)
	}
}

func TestReadErrorKeepsWhatWasFound(t *testing.T) {
	r := io.MultiReader(strings.NewReader(functionKey+"\n"+strings.Repeat("x", sniffSize)), iotest.ErrReader(io.ErrClosedPipe))
	found, problems := 0, 0
	stats, err := Reader(t.Context(), "-", r, Options{Problem: func(_ string, err error) {
		problems++
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
	}}, func(Finding) error { found++; return nil })
	if err != nil || found != 1 || problems != 1 || stats.Problems != 1 {
		t.Errorf("found %d, problems %d, %v, %+v", found, problems, err, stats)
	}
}

func TestEmitEndsTheScan(t *testing.T) {
	files := map[string]string{}
	for i := range 30 {
		files[fmt.Sprint(i)] = strings.Repeat(functionKey+"\n", 200)
	}
	tree(t, files)
	enough := errors.New("enough")
	for name, run := range map[string]func(emit func(Finding) error) (Stats, error){
		"files": func(emit func(Finding) error) (Stats, error) {
			return Scan(t.Context(), Options{Paths: []string{"."}}, emit)
		},
		"stream": func(emit func(Finding) error) (Stats, error) {
			return Reader(t.Context(), "-", strings.NewReader(files["1"]), Options{}, emit)
		},
	} {
		calls := 0
		_, err := run(func(Finding) error {
			if calls++; calls == 40 {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) || calls != 40 {
			t.Errorf("%s: %v after %d", name, err, calls)
		}
	}
}

func TestCancelEndsTheScan(t *testing.T) {
	tree(t, map[string]string{"a": strings.Repeat(functionKey+"\n", 100), "b": functionKey})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Scan(ctx, Options{Paths: []string{"."}}, func(Finding) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := Reader(ctx, "-", strings.NewReader(functionKey), Options{}, func(Finding) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestIdentifyTellsWhatAKeyOpens(t *testing.T) {
	tree(t, map[string]string{"f": functionKey + "\n" + masterKey[:54]})
	owners := map[string][]Owner{
		functionKey: {{App: "shop", Name: "default", Kind: accesskey.Host}, {App: "shop", Function: "pay", Name: "ci", Kind: accesskey.Function}},
	}
	var asked []string
	var got [][]Owner
	_, err := Scan(t.Context(), Options{Paths: []string{"f"}, Identify: func(value string) []Owner {
		asked = append(asked, value)
		return owners[value]
	}}, func(f Finding) error {
		got = append(got, f.Owners)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{functionKey, masterKey}, asked); diff != "" {
		t.Errorf("asked: %s", diff)
	}
	if diff := cmp.Diff([][]Owner{owners[functionKey], nil}, got); diff != "" {
		t.Errorf("got: %s", diff)
	}
}

func TestNoKeyLeavesThePackage(t *testing.T) {
	tree(t, map[string]string{"dir-/" + functionKey + "/f": masterKey})
	var out strings.Builder
	table := []Report{NewJSON(&out), NewSARIF(&out, "1"), NewTable(&out)}
	scanned := 0
	_, err := Scan(t.Context(), Options{Paths: []string{"."}}, func(f Finding) error {
		scanned++
		fmt.Fprintf(&out, "%+v %#v", f, f)
		for _, r := range table {
			if err := r.Add(f); err != nil {
				return err
			}
		}
		return nil
	})
	for _, r := range table {
		err = errors.Join(err, r.Close())
	}
	if err != nil || scanned != 1 {
		t.Fatal(scanned, err)
	}
	for _, key := range []string{functionKey, masterKey} {
		if strings.Contains(out.String(), key[:6]) {
			t.Errorf("%s leaves the package: %s", azfkey.Mask(key), out.String())
		}
	}
}

func BenchmarkScan(b *testing.B) {
	source := strings.Repeat("	if err := do(ctx, \"https://app/api/f?code=abc\"); err != nil { // a line of AAA code\n", 12<<10)
	shapes := map[string]struct{ files, copies int }{"one big file": {1, 64}, "many files": {64, 1}}
	for name, shape := range shapes {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			for i := range shape.files {
				text := strings.Repeat(source, shape.copies) + functionKey
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte(text), 0o600); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(source) * shape.files * shape.copies))
			b.ReportAllocs()
			for b.Loop() {
				stats, err := Scan(b.Context(), Options{Paths: []string{dir}}, func(Finding) error { return nil })
				if err != nil || stats.Findings != int64(shape.files) {
					b.Fatal(stats, err)
				}
			}
		})
	}
}
