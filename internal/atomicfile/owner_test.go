package atomicfile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// stranger is a user other than root; tests of what root does for others need
// root, as CI has.
const stranger = 12345

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// link makes a symbolic link that belongs to a user.
func link(t *testing.T, owner int, target, path string) {
	t.Helper()
	if err := errors.Join(os.Symlink(target, path), os.Lchown(path, owner, owner)); err != nil {
		t.Fatal(err)
	}
}

func ownerOf(t *testing.T, path string) int {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Sys().(*syscall.Stat_t).Uid)
}

func onlyNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(want) {
		t.Fatalf("folder holds %v, %v", entries, err)
	}
	for i, e := range entries {
		if e.Name() != want[i] {
			t.Errorf("folder holds %s, want %s", e.Name(), want[i])
		}
	}
}

// TestWhatRootWritesBelongsToTheFoldersOwner needs root, as CI has; elsewhere
// there is nothing to give away.
func TestWhatRootWritesBelongsToTheFoldersOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const service = 12345
	dir := t.TempDir()
	if err := os.Chown(dir, service, service); err != nil {
		t.Fatal(err)
	}
	deep := filepath.Join(dir, "a", "b")
	if err := MakeDir(deep); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(deep, "new.json")
	if err := Write(file, []byte("1")); err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(deep, "lock")
	release, err := NewLock(lock).Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	release()
	kept := filepath.Join(deep, "kept.json")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(kept, service+1, service+1); err != nil {
		t.Fatal(err)
	}
	if err := Write(kept, []byte("2")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]uint32{
		filepath.Join(dir, "a"): service, deep: service, file: service, lock: service, kept: service + 1,
	} {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Sys().(*syscall.Stat_t).Uid; got != want {
			t.Errorf("%s belongs to %d, want %d", path, got, want)
		}
	}
}

func TestALockIsNoLink(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "elsewhere")
	if err := os.Symlink(target, filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := NewLock(filepath.Join(dir, "lock")).Acquire(context.Background()); err == nil {
		t.Error("a link was taken for a lock")
	}
	if _, err := os.Lstat(target); err == nil {
		t.Error("a file was made where the link leads")
	}
}

// TestRootWritesNothingWhereAStrangersLinkLeads: a user of the machine points a
// folder of an app of theirs at one of root's.
func TestRootWritesNothingWhereAStrangersLinkLeads(t *testing.T) {
	needRoot(t)
	app, system := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(system, "victim"), []byte("v"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, dir := range map[string]string{"the folder itself": "secrets", "a folder on the way": "data/secrets"} {
		dir = filepath.Join(app, dir)
		target := system
		if name != "the folder itself" {
			if err := os.Mkdir(filepath.Join(system, "secrets"), 0o700); err != nil {
				t.Fatal(err)
			}
			link(t, stranger, system, filepath.Join(app, "data"))
		} else {
			link(t, stranger, target, dir)
		}
		file := filepath.Join(dir, "daemon.json")
		_, staged := Stage(file, []byte("x"))
		_, locked := NewLock(file).Acquire(t.Context())
		for what, err := range map[string]error{
			"make dir": MakeDir(filepath.Join(dir, "more")), "make the folder": MakeDir(dir), "write": Write(file, []byte("x")), "create": Create(file, []byte("x")),
			"stage": staged, "lock": locked, "sync": SyncDir(dir), "remove": Remove(filepath.Join(dir, "victim")),
			"sweep": Sweep(dir, func(string) bool { return true }),
		} {
			if !errors.Is(err, problem.Denied) || problem.NextOf(err) == "" {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
	onlyNames(t, filepath.Join(system, "secrets"))
	onlyNames(t, system, "secrets", "victim")
}

func TestLinksThatLeadNobodyAstrayAreFollowed(t *testing.T) {
	needRoot(t)
	for name, owners := range map[string]struct{ link, folder int }{
		"root's to root's": {0, 0}, "root's to a stranger's": {0, stranger}, "a stranger's to their own": {stranger, stranger},
	} {
		dir, real := t.TempDir(), t.TempDir()
		if err := os.Chown(real, owners.folder, owners.folder); err != nil {
			t.Fatal(err)
		}
		link(t, owners.link, real+"/../"+filepath.Base(real)+"/", filepath.Join(dir, "absolute"))
		link(t, owners.link, "absolute", filepath.Join(dir, "relative"))
		path := filepath.Join(dir, "relative", "sub", "f.json")
		if err := MakeDir(filepath.Dir(path)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := Write(path, []byte("1")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := Read(path, 1); err != nil || string(got) != "1" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		for _, p := range []string{"sub", "sub/f.json"} {
			if got := ownerOf(t, filepath.Join(real, p)); got != owners.folder {
				t.Errorf("%s: %s belongs to %d", name, p, got)
			}
		}
	}
}

// TestAFolderExchangedForALinkGetsNothing: the folder is exchanged between the
// staging of a file and its being put in place.
func TestAFolderExchangedForALinkGetsNothing(t *testing.T) {
	needRoot(t)
	app, system := t.TempDir(), t.TempDir()
	dir := filepath.Join(app, "secrets")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, stranger, stranger)); err != nil {
		t.Fatal(err)
	}
	staged, err := Stage(filepath.Join(dir, "daemon.json"), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	link(t, stranger, system, dir)
	if err := staged.Replace(); err != nil {
		t.Fatal(err)
	}
	onlyNames(t, system)
	onlyNames(t, dir+".away", "daemon.json")
	if got := ownerOf(t, filepath.Join(dir+".away", "daemon.json")); got != stranger {
		t.Errorf("belongs to %d", got)
	}
}

func TestTheOwnerOfALinkIsNobodysOwner(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	link(t, stranger, "elsewhere", filepath.Join(dir, "f.json"))
	if err := Write(filepath.Join(dir, "f.json"), nil); err != nil {
		t.Fatal(err)
	}
	if got := ownerOf(t, filepath.Join(dir, "f.json")); got != 0 {
		t.Errorf("root's folder has a new file of user %d", got)
	}
}

func TestRootReadsNothingForAStrangersLink(t *testing.T) {
	needRoot(t)
	dir, path := t.TempDir(), filepath.Join(t.TempDir(), "host.json")
	if err := os.WriteFile(path, []byte("another app's keys"), 0o600); err != nil {
		t.Fatal(err)
	}
	link(t, stranger, path, filepath.Join(dir, "host.json"))
	if got, err := Read(filepath.Join(dir, "host.json"), 100); !errors.Is(err, problem.Denied) || got != nil {
		t.Errorf("read %q, %v", got, err)
	}
	link(t, stranger, "loop", filepath.Join(dir, "loop"))
	if _, err := Read(filepath.Join(dir, "loop"), 1); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
	if _, err := Read(filepath.Join(dir, "none"), 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}

func TestReadTakesFilesOfALimitedSizeOnly(t *testing.T) {
	dir := t.TempDir()
	pipe, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "file")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.WriteFile(file, []byte("12345"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(file, 5); err != nil || string(got) != "12345" {
		t.Errorf("%q, %v", got, err)
	}
	ended := make(chan error, 3)
	go func() {
		for path, limit := range map[string]int64{pipe: 5, dir: 5, file: 4} {
			_, err := Read(path, limit)
			ended <- err
		}
	}()
	for range 3 {
		select {
		case err := <-ended:
			if !errors.Is(err, problem.Undecryptable) || problem.NextOf(err) == "" {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("waits for a pipe")
		}
	}
}
