package files_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/files"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
)

func watching(t *testing.T, s keystore.Watcher) (<-chan keystore.Doc, context.Context) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	heard := make(chan keystore.Doc, 1000)
	done, err := s.Watch(ctx, func(d keystore.Doc) { heard <- d })
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); <-done })
	return heard, ctx
}

func wantHeard(t *testing.T, ctx context.Context, heard <-chan keystore.Doc, want keystore.Doc) {
	t.Helper()
	for {
		select {
		case d := <-heard:
			if d == want {
				return
			}
		case <-ctx.Done():
			t.Fatalf("never heard of %q", want)
		}
	}
}

// putHeard writes fn until the watch tells of it by name. "" stands for any
// document; a change that falls together with one is not told apart.
func putHeard(t *testing.T, ctx context.Context, s *files.Store, heard <-chan keystore.Doc) {
	t.Helper()
	for n := 0; ; n++ {
		put(t, s, "fn", keystoretest.Function(fmt.Sprint("again", n)))
		select {
		case d := <-heard:
			if d == "fn" {
				return
			}
		case <-ctx.Done():
			t.Fatal(`never heard of "fn"`)
		}
	}
}

func TestWatchSurvivesTheFolderGoingAndComing(t *testing.T) {
	root := filepath.Join(t.TempDir(), "a")
	dir := filepath.Join(root, "b", "secrets")
	s := open(dir, nil)
	heard, ctx := watching(t, s)
	for range 3 {
		put(t, s, "fn", keystoretest.Function("1"))
		wantHeard(t, ctx, heard, "")
		putHeard(t, ctx, s, heard)
		if err := os.RemoveAll(root); err != nil {
			t.Fatal(err)
		}
		wantHeard(t, ctx, heard, "")
	}
}

func TestWatchNoticesAFolderMovedAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	s := open(dir, nil)
	put(t, s, "fn", keystoretest.Function("1"))
	heard, ctx := watching(t, s)
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	wantHeard(t, ctx, heard, "")
	put(t, s, "fn", keystoretest.Function("2"))
	wantHeard(t, ctx, heard, "")
	putHeard(t, ctx, s, heard)
}

func TestWatchNoticesAMountedVolumeBeingSwapped(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"v1", "v2"} {
		write(t, filepath.Join(dir, version, "fn.json"), functionJSON(version))
	}
	swap := func(version string) {
		if err := os.Symlink(version, filepath.Join(dir, "..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	swap("v1")
	if err := os.Symlink("..data/fn.json", filepath.Join(dir, "fn.json")); err != nil {
		t.Fatal(err)
	}
	s := open(dir, nil)
	heard, ctx := watching(t, s)
	swap("v2")
	wantHeard(t, ctx, heard, "")
	if d, _, err := s.Load(ctx, "fn"); err != nil || d.Keys.Keys[0].Value != "v2" {
		t.Errorf("%v, %v", d, err)
	}
}

func TestWatchNoticesALinkedFolderPutElsewhere(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "secrets")
	for _, version := range []string{"v1", "v2"} {
		write(t, filepath.Join(root, version, "fn.json"), functionJSON(version))
	}
	link := func(version string) {
		temp := filepath.Join(root, "temp")
		if err := os.Symlink(version, temp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(temp, dir); err != nil {
			t.Fatal(err)
		}
	}
	link("v1")
	s := open(dir, nil)
	heard, ctx := watching(t, s)
	link("v2")
	wantHeard(t, ctx, heard, "")
	for len(heard) > 0 {
		<-heard
	}
	write(t, filepath.Join(root, "v1", "abandoned.json"), functionJSON("x"))
	put(t, s, "fn", keystoretest.Function("1"))
	for d := range heard { // names come in order, so "abandoned" would come first
		if d == "abandoned" {
			t.Fatal("the link's old target is still watched")
		}
		if d == "fn" {
			return
		}
	}
}
