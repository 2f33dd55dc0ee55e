package atomicfile

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

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
