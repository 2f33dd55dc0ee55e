package release_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/release"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

var begin = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

// file is an entry of a zip under test.
type file struct {
	name string
	text string
	mode fs.FileMode // 0: as zips made on Windows have it, none
	edit func(*zip.FileHeader)
}

func makeZip(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate}
		if strings.HasSuffix(f.name, "/") {
			h.Method = zip.Store
		}
		if f.mode != 0 {
			h.SetMode(f.mode)
		}
		if f.edit != nil {
			f.edit(h)
		}
		out, err := w.CreateHeader(h)
		if err == nil {
			_, err = io.WriteString(out, f.text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// appZip is a package that is in order; salt makes it another one.
func appZip(t testing.TB, salt string) []byte {
	return makeZip(t,
		file{name: "host.json", text: `{"version":"2.0"}`},
		file{name: "hello/function.json", text: `{"bindings":[]}`},
		file{name: "salt", text: salt})
}

type fixture struct {
	store    state.Store
	clock    *clock.Manual
	cache    string
	releases *release.Releases
}

func newFixture(t testing.TB, change ...func(*release.Config)) *fixture {
	t.Helper()
	c := clock.NewManual(begin)
	f := &fixture{store: memory.New(c), clock: c, cache: t.TempDir()}
	f.releases = f.node(f.store, f.cache, "a", change...)
	return f
}

// node makes the service as a process would that has just started.
func (f *fixture) node(s state.Store, cache, name string, change ...func(*release.Config)) *release.Releases {
	cfg := release.Config{Store: s, CacheDir: cache, Node: name, Clock: f.clock}
	for _, do := range change {
		do(&cfg)
	}
	return release.New(cfg)
}

func (f *fixture) add(t testing.TB, app string, zip []byte) release.Release {
	t.Helper()
	rel, err := f.releases.Add(t.Context(), app, bytes.NewReader(zip), release.Meta{By: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	return rel
}

func keys(t testing.TB, s state.Store, prefix state.Key) []string {
	t.Helper()
	list, err := s.List(context.Background(), prefix, state.Page{KeysOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, d := range list.Documents {
		out = append(out, string(d.Key))
	}
	return out
}

func TestReleaseIsKeptAndUnpacked(t *testing.T) {
	f := newFixture(t, func(c *release.Config) {
		c.Inspect = func(_ context.Context, dir string) ([]release.Function, []string, error) {
			if _, err := os.Stat(filepath.Join(dir, "host.json")); err != nil {
				return nil, nil, err
			}
			return []release.Function{{Name: "Hello", Trigger: "httpTrigger"}}, []string{"other/function.json: no trigger"}, nil
		}
	})
	zip := makeZip(t,
		file{name: "host.json", text: "{}"},
		file{name: "data.txt", text: "x", mode: 0o644},
		file{name: "run", text: "x", mode: 0o755},
		file{name: "handler.exe", text: "\x7fELF..."},
		file{name: "script", text: "#!/bin/sh\n"},
		file{name: "suid", text: "x", mode: 0o755 | fs.ModeSetuid},
		file{name: "empty/"}, file{name: "a/b/c", text: "deep"})
	rel := f.add(t, "Orders", zip)
	if rel.Status != release.Ready || rel.Files != 7 || rel.Size != int64(len(zip)) || len(rel.Faults) != 1 || rel.By != "tester" {
		t.Errorf("release: %+v", rel)
	}
	if _, ok := rel.Function("hello"); !ok {
		t.Error("the function is not found by its name in another case")
	}
	got, err := f.releases.Get(t.Context(), "orders", rel.ID)
	if err != nil || cmp.Diff(rel, got) != "" {
		t.Errorf("Get: %v, %s", err, cmp.Diff(rel, got))
	}
	for _, where := range []string{f.cache, t.TempDir()} { // where it was deployed, and another node
		dir, err := f.node(f.store, where, "b").Folder(t.Context(), "orders", rel.ID)
		if err != nil {
			t.Fatal(err)
		}
		modes := map[string]fs.FileMode{"data.txt": 0o400, "run": 0o500, "handler.exe": 0o500, "script": 0o500, "suid": 0o500, "a/b/c": 0o400, "empty": 0o700 | fs.ModeDir}
		for name, want := range modes {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil || info.Mode() != want {
				t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
			}
		}
	}
	var out bytes.Buffer
	if err := f.releases.Download(t.Context(), "orders", rel.ID, &out); err != nil || !bytes.Equal(out.Bytes(), zip) {
		t.Errorf("Download: %d bytes of %d, %v", out.Len(), len(zip), err)
	}
}

func TestPackagesThatBreakARuleAreRefusedByName(t *testing.T) {
	host := file{name: "host.json", text: "{}"}
	mode := func(m fs.FileMode) func(*zip.FileHeader) { return func(h *zip.FileHeader) { h.SetMode(m) } }
	tests := []struct {
		name  string
		files []file
		want  string
	}{
		{"step up", []file{host, {name: "../evil"}}, `"../evil"`},
		{"step up inside", []file{host, {name: "a/../../evil"}}, `"a/../../evil"`},
		{"absolute", []file{host, {name: "/etc/passwd"}}, "absolute"},
		{"drive", []file{host, {name: "C:/x"}}, "absolute"},
		{"backslash", []file{host, {name: `a\b`}}, "backslash"},
		{"empty part", []file{host, {name: "a//b"}}, "empty"},
		{"dot", []file{host, {name: "./a"}}, `"."`},
		{"control character", []file{host, {name: "a\nb"}}, "control"},
		{"not UTF-8", []file{host, {name: "a\xff"}}, "UTF-8"},
		{"symbolic link", []file{host, {name: "link", text: "/etc", edit: mode(fs.ModeSymlink | 0o777)}}, "symbolic link"},
		{"link that poses as a folder", []file{host, {name: "link/", edit: mode(fs.ModeSymlink | 0o777)}}, "symbolic link"},
		{"device", []file{host, {name: "dev", edit: mode(fs.ModeDevice | 0o666)}}, "special"},
		{"pipe", []file{host, {name: "pipe", edit: mode(fs.ModeNamedPipe | 0o666)}}, "special"},
		{"twice", []file{host, {name: "a"}, {name: "a"}}, "twice"},
		{"differs in case", []file{host, {name: "dir/a"}, {name: "Dir/A"}}, "case"},
		{"file that is a folder", []file{host, {name: "a"}, {name: "A/b"}}, "file and a folder"},
		{"folder that is a file", []file{host, {name: "a/b"}, {name: "A"}}, "twice"},
		{"encrypted", []file{host, {name: "secret", edit: func(h *zip.FileHeader) { h.Flags |= 1 }}}, "encrypted"},
		{"long part", []file{host, {name: strings.Repeat("x", 256)}}, "255"},
		{"long path", []file{host, {name: strings.Repeat("xxxxxxxxx/", 60) + "y"}}, "512"},
		{"deep", []file{host, {name: strings.Repeat("d/", 21) + "y"}}, "20 folders"},
		{"no host.json", []file{{name: "a"}}, "host.json is missing"},
		{"empty zip", nil, "host.json is missing"},
		{"wrapped", []file{{name: "app/host.json"}, {name: "app/x"}}, `in folder "app"`},
		{"wrong case", []file{{name: "Host.json"}}, "must be called host.json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, func(c *release.Config) { c.Limits = release.Limits{Path: 512, Depth: 20} })
			f.refuse(t, makeZip(t, tt.files...), problem.Invalid, tt.want)
		})
	}
}

// refuse deploys what must fail and checks that nothing is left but its record.
func (f *fixture) refuse(t *testing.T, zip []byte, kind problem.Kind, want string) {
	t.Helper()
	rel, err := f.releases.Add(t.Context(), "app", bytes.NewReader(zip), release.Meta{})
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v (%v), want kind %v and %q", err, problem.KindOf(err), kind, want)
	}
	got, err := f.releases.Get(t.Context(), "app", rel.ID)
	if err != nil || got.Status != release.Failed || !strings.Contains(got.Log[len(got.Log)-1].Text, want) {
		t.Errorf("recorded: %+v, %v", got, err)
	}
	if _, err := f.releases.Folder(t.Context(), "app", rel.ID); !errors.Is(err, problem.Conflict) {
		t.Errorf("folder of a failed release: %v", err)
	}
	f.clean(t)
}

// clean checks that neither state nor cache have anything of packages.
func (f *fixture) clean(t testing.TB) {
	t.Helper()
	for _, prefix := range []state.Key{"/packages/", "/package-refs/", "/deploying/"} {
		if left := keys(t, f.store, prefix); len(left) > 0 {
			t.Errorf("left in the state: %v", left)
		}
	}
	_ = filepath.WalkDir(f.cache, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || strings.Contains(d.Name(), "tmp") {
			t.Errorf("left in the cache: %s, %v", path, err)
		}
		return nil
	})
}

func TestLimitsAreNamed(t *testing.T) {
	host := file{name: "host.json", text: "{}"}
	noise := make([]byte, 3000)
	for i := range noise {
		noise[i] = byte(i * i >> 3)
	}
	many := []file{host}
	for i := range 30 {
		many = append(many, file{name: fmt.Sprintf("f%d", i)})
	}
	zeros := strings.Repeat("\x00", 17<<20)
	tests := []struct {
		name   string
		limits release.Limits
		zip    []byte
		want   string
	}{
		{"zip", release.Limits{Zip: 1000}, makeZip(t, host, file{name: "n", text: string(noise), edit: func(h *zip.FileHeader) { h.Method = zip.Store }}), "limit of 1000 bytes"},
		{"unpacked", release.Limits{Unpacked: 1000}, makeZip(t, host, file{name: "n", text: string(noise)}), `limit of 1000 bytes, at "n"`},
		{"files", release.Limits{Files: 20}, makeZip(t, many...), "more than 20 files"},
		{"folders implied", release.Limits{Files: 20}, makeZip(t, host, file{name: strings.Repeat("d/", 21) + "y"}), "more than 20 files"},
		{"ratio", release.Limits{}, makeZip(t, host, file{name: "zeros", text: zeros}), "200 times"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, func(c *release.Config) { c.Limits = tt.limits })
			f.refuse(t, tt.zip, problem.TooLarge, tt.want)
		})
	}
}

func TestWhatIsNoZipIsRefused(t *testing.T) {
	good := appZip(t, "x")
	tests := map[string][]byte{"nothing": {}, "text": []byte("hello"), "cut off": good[:len(good)-10]}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) { newFixture(t).refuse(t, body, problem.Invalid, "zip") })
	}
	t.Run("content changed", func(t *testing.T) {
		bad := makeZip(t, file{name: "host.json", text: "{}"}, file{name: "f", text: "content", edit: func(h *zip.FileHeader) { h.Method = zip.Store }})
		at := bytes.Index(bad, []byte("content"))
		bad[at] = 'X'
		newFixture(t).refuse(t, bad, problem.Invalid, `"f" is damaged`)
	})
	t.Run("more than declared", func(t *testing.T) {
		newFixture(t).refuse(t, lyingZip(t), problem.Invalid, `"f" is damaged`)
	})
}

// lyingZip declares one byte for a file that has a million.
func lyingZip(t testing.TB) []byte {
	body := makeZip(t, file{name: "host.json", text: "{}"}, file{name: "f", text: strings.Repeat("a", 1<<20)})
	size := []byte{0, 0, 0x10, 0}
	at := bytes.LastIndex(body, size) // in the directory
	if at < 0 {
		t.Fatal("the size is not found")
	}
	copy(body[at:], []byte{1, 0, 0, 0})
	return body
}

func TestEqualPackagesShareTheirChunks(t *testing.T) {
	f := newFixture(t)
	zip := makeZip(t, file{name: "host.json", text: "{}"}, file{name: "big", text: strings.Repeat("x", 900<<10), edit: func(h *zip.FileHeader) { h.Method = zip.Store }})
	one, two := f.add(t, "one", zip), f.add(t, "two", zip)
	again := f.add(t, "one", zip)
	if one.SHA256 != two.SHA256 || one.ID >= again.ID {
		t.Errorf("ids %s, %s; hashes %s, %s", one.ID, again.ID, one.SHA256, two.SHA256)
	}
	if got := keys(t, f.store, "/packages/"); len(got) != 3 {
		t.Errorf("chunks: %v", got)
	}
	if err := f.releases.Prune(t.Context(), "one", 0, again.ID); err != nil {
		t.Fatal(err)
	}
	if list, err := f.releases.List(t.Context(), "one"); err != nil || len(list) != 1 || list[0].ID != again.ID {
		t.Errorf("after Prune: %v, %v", list, err)
	}
	if err := f.releases.DeleteAll(t.Context(), "ONE"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.releases.Folder(t.Context(), "two", two.ID); err != nil {
		t.Errorf("the other app's: %v", err)
	}
	if err := f.releases.Delete(t.Context(), "two", two.ID); err != nil {
		t.Fatal(err)
	}
	f.clean(t)
}

// crashing fails every call from a write on, as if the process had died.
type crashing struct {
	state.Store
	mu     sync.Mutex
	writes int
	lost   bool // the fatal write takes place, its answer is lost
}

var errDead = problem.New(problem.Unavailable, "the process is dead")

func (c *crashing) Write(ctx context.Context, ops ...state.Op) (state.Revision, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writes--; c.writes < 0 {
		if c.lost && c.writes == -1 {
			_, _ = c.Store.Write(ctx, ops...)
		}
		return 0, errDead
	}
	return c.Store.Write(ctx, ops...)
}

func (c *crashing) Get(ctx context.Context, key state.Key) (state.Document, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writes < 0 {
		return state.Document{}, errDead
	}
	return c.Store.Get(ctx, key)
}

func TestACrashLeavesNoHalfRelease(t *testing.T) {
	body := makeZip(t, file{name: "host.json", text: "{}"}, file{name: "big", text: strings.Repeat("x", 900<<10), edit: func(h *zip.FileHeader) { h.Method = zip.Store }})
	for _, lost := range []bool{false, true} {
		for writes := 0; ; writes++ {
			f := newFixture(t)
			before := f.add(t, "app", appZip(t, "before"))
			dying := &crashing{Store: f.store, writes: writes, lost: lost}
			_, err := f.node(dying, f.cache, "a").Add(t.Context(), "app", bytes.NewReader(body), release.Meta{})
			if err == nil {
				if writes < 7 {
					t.Fatalf("the deployment took %d writes only", writes)
				}
				break
			}
			f.checkAfterCrash(t, fmt.Sprintf("after %d writes, lost %v", writes, lost), before.ID, body)
		}
	}
}

func (f *fixture) checkAfterCrash(t *testing.T, when, before string, body []byte) {
	t.Helper()
	reborn := f.node(f.store, f.cache, "a")
	if err := reborn.Collect(t.Context()); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	list, err := reborn.List(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	packages := map[string]bool{}
	for _, rel := range list {
		switch rel.Status {
		case release.Ready:
			packages[rel.SHA256] = true
			if err := reborn.Download(t.Context(), "app", rel.ID, io.Discard); err != nil {
				t.Errorf("%s: a release that is Ready cannot be read: %v", when, err)
			}
		case release.Failed:
		default:
			t.Errorf("%s: a release is left %s", when, rel.Status)
		}
	}
	for _, key := range keys(t, f.store, "/packages/") {
		if !packages[strings.Split(key, "/")[2]] {
			t.Errorf("%s: chunk %s has no release", when, key)
		}
	}
	if left := keys(t, f.store, "/deploying/"); len(left) > 0 {
		t.Errorf("%s: left: %v", when, left)
	}
	entries, _ := os.ReadDir(filepath.Join(f.cache, "app"))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s: left in the cache: %s", when, e.Name())
		}
	}
	if _, err := reborn.Folder(t.Context(), "app", before); err != nil {
		t.Errorf("%s: the release before: %v", when, err)
	}
	if _, err := reborn.Add(t.Context(), "app", bytes.NewReader(body), release.Meta{}); err != nil {
		t.Errorf("%s: deploying again: %v", when, err)
	}
}

func TestFolderIsMadeOnceForAllWhoAsk(t *testing.T) {
	f := newFixture(t)
	rel := f.add(t, "app", appZip(t, "x"))
	other := f.node(f.store, t.TempDir(), "b")
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			dir, err := other.Folder(context.Background(), "app", rel.ID)
			if err != nil {
				t.Error(err)
				return
			}
			if text, err := os.ReadFile(filepath.Join(dir, "salt")); err != nil || string(text) != "x" {
				t.Errorf("read %q, %v", text, err)
			}
		})
	}
	group.Wait()
}

func TestADamagedFolderIsMadeAnewAtStart(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"file cut off": func(dir string) error {
			_ = os.Chmod(filepath.Join(dir, "salt"), 0o600)
			return os.Truncate(filepath.Join(dir, "salt"), 0)
		},
		"file gone":    func(dir string) error { return os.Remove(filepath.Join(dir, "hello/function.json")) },
		"listing gone": func(dir string) error { return os.Remove(dir + ".files") },
		"folder gone":  os.RemoveAll,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			rel := f.add(t, "app", appZip(t, "x"))
			dir, err := f.releases.Folder(t.Context(), "app", rel.ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			if _, err := f.node(f.store, f.cache, "a").Folder(t.Context(), "app", rel.ID); err != nil {
				t.Fatal(err)
			}
			if text, err := os.ReadFile(filepath.Join(dir, "salt")); err != nil || string(text) != "x" {
				t.Errorf("read %q, %v", text, err)
			}
			if _, err := os.Stat(filepath.Join(dir, "hello/function.json")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestADamagedPackageIsNoticed(t *testing.T) {
	f := newFixture(t)
	rel := f.add(t, "app", appZip(t, "x"))
	for name, op := range map[string]state.Op{
		"changed": state.Put(state.Key(keys(t, f.store, "/packages/")[0]), []byte("other"), state.Any),
		"gone":    state.Delete(state.Key(keys(t, f.store, "/packages/")[0]), state.Any),
	} {
		if _, err := f.store.Write(t.Context(), op); err != nil {
			t.Fatal(err)
		}
		_, err := f.node(f.store, t.TempDir(), "b").Folder(t.Context(), "app", rel.ID)
		if !errors.Is(err, problem.Undecryptable) || problem.NextOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOneDeploymentOfAnAppAtATime(t *testing.T) {
	f := newFixture(t)
	d, err := f.releases.Begin(t.Context(), "app", release.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	other := f.node(f.store, t.TempDir(), "b")
	for name, r := range map[string]*release.Releases{"same node": f.releases, "other node": other} {
		if _, err := r.Begin(t.Context(), "APP", release.Meta{}); !errors.Is(err, problem.Conflict) {
			t.Errorf("%s: %v", name, err)
		}
		if id, err := r.Deploying(t.Context(), "app"); err != nil || id != d.Release().ID {
			t.Errorf("%s: Deploying: %q, %v", name, id, err)
		}
	}
	if _, err := f.releases.Add(t.Context(), "other", bytes.NewReader(appZip(t, "x")), release.Meta{}); err != nil {
		t.Errorf("another app: %v", err)
	}
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rel, err := f.releases.Get(t.Context(), "app", d.Release().ID); err != nil || rel.Status != release.Failed {
		t.Errorf("given up: %+v, %v", rel, err)
	}
	if _, err := other.Add(t.Context(), "app", bytes.NewReader(appZip(t, "x")), release.Meta{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestATurnOutlivesItsNodeUntilTheDeadline(t *testing.T) {
	f := newFixture(t)
	d, err := f.releases.Begin(t.Context(), "app", release.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	other := f.node(f.store, t.TempDir(), "b")
	if err := other.Collect(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Begin(t.Context(), "app", release.Meta{}); !errors.Is(err, problem.Conflict) {
		t.Errorf("before the deadline: %v", err)
	}
	f.clock.Advance(17 * time.Minute)
	if _, err := other.Add(t.Context(), "app", bytes.NewReader(appZip(t, "new")), release.Meta{}); err != nil {
		t.Errorf("after the deadline: %v", err)
	}
	if _, err := d.Store(t.Context(), bytes.NewReader(appZip(t, "old"))); err == nil {
		t.Error("a deployment that lost its turn was completed")
	}
	list, err := other.List(t.Context(), "app")
	if err != nil || len(list) != 2 || list[0].Status != release.Ready || list[1].Status != release.Failed {
		t.Errorf("releases: %+v, %v", list, err)
	}
}

// Adding and removing the same content at the same time must never take a chunk
// from a release that is Ready.
func TestPackagesSurviveAddingAndRemovingAtOnce(t *testing.T) {
	f := newFixture(t)
	body := appZip(t, "shared")
	var group sync.WaitGroup
	for n := range 4 {
		node := f.node(f.store, t.TempDir(), fmt.Sprint(n))
		app := fmt.Sprintf("app%d", n)
		group.Go(func() {
			for range 15 {
				rel, err := node.Add(context.Background(), app, bytes.NewReader(body), release.Meta{})
				if err == nil {
					err = node.Download(context.Background(), app, rel.ID, io.Discard)
				}
				if err == nil {
					err = node.Collect(context.Background())
				}
				if err == nil {
					err = node.Delete(context.Background(), app, rel.ID)
				}
				if err != nil {
					t.Errorf("%s: %v", app, err)
					return
				}
			}
		})
	}
	group.Wait()
	if left := keys(t, f.store, "/packages/"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestInspectionThatFailsMakesTheReleaseFail(t *testing.T) {
	f := newFixture(t, func(c *release.Config) {
		c.Inspect = func(context.Context, string) ([]release.Function, []string, error) {
			return nil, nil, problem.New(problem.Invalid, "host.json is not JSON")
		}
	})
	f.refuse(t, appZip(t, "x"), problem.Invalid, "host.json is not JSON")
}

func TestNamesAreChecked(t *testing.T) {
	f := newFixture(t)
	for _, app := range []string{"", "..", "a/b", ".hidden", strings.Repeat("x", 101)} {
		if _, err := f.releases.Add(t.Context(), app, strings.NewReader(""), release.Meta{}); !errors.Is(err, problem.Invalid) {
			t.Errorf("app %q: %v", app, err)
		}
	}
	for _, id := range []string{"", "..", "../x", "latest", "20261121-100000.000-00000000"} {
		if _, err := f.releases.Folder(t.Context(), "app", id); !errors.Is(err, problem.NotFound) {
			t.Errorf("id %q: %v", id, err)
		}
	}
}

// TestADeploymentOutlivesAChangeOfTheDataKey: sealing anew gives documents other
// revisions and leaves what they say.
func TestADeploymentOutlivesAChangeOfTheDataKey(t *testing.T) {
	f := newFixture(t)
	reseal := func() {
		t.Helper()
		list, err := f.store.List(t.Context(), "/", state.Page{})
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range list.Documents {
			if _, err := f.store.Write(t.Context(), state.Put(doc.Key, doc.Value, doc.Revision)); err != nil {
				t.Fatal(err)
			}
		}
	}
	d, err := f.releases.Begin(t.Context(), "app", release.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	reseal()
	if err := d.Receive(t.Context(), bytes.NewReader(appZip(t, "1"))); err != nil {
		t.Fatal(err)
	}
	reseal()
	if _, err := d.Build(t.Context()); err != nil {
		t.Fatal(err)
	}
	reseal()
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if busy, err := f.releases.Deploying(t.Context(), "app"); busy != "" || err != nil {
		t.Errorf("the turn is left: %q, %v", busy, err)
	}
	if left := keys(t, f.store, "/deploying/"); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
	rel, err := f.releases.Get(t.Context(), "app", d.Release().ID)
	if err != nil || rel.Status != release.Ready {
		t.Errorf("the release is %s, %v", rel.Status, err)
	}
	if text := rel.Log[len(rel.Log)-1].Text; text != "Deployment successful." {
		t.Errorf("the last line is %q", text)
	}
}
