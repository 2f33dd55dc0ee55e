package containerapps_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/containerapps"
	"github.com/latchkey/latchkey/internal/problem"
)

func open(t *testing.T, dir string) *containerapps.Store {
	t.Helper()
	s, err := containerapps.Open(t.Context(), containerapps.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	for name, value := range files {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(value), 0o644))
	}
}

// swap changes a folder as Kubernetes changes a mounted volume: a new folder and
// a link to it that takes the place of the one before.
func swap(t *testing.T, dir string, n int, files map[string]string) {
	t.Helper()
	stamp := fmt.Sprintf("..2026_%d", n)
	write(t, filepath.Join(dir, stamp), files)
	old, _ := os.Readlink(filepath.Join(dir, "..data"))
	must(t, os.Symlink(stamp, filepath.Join(dir, "..data_tmp")), os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	for name := range files {
		link := filepath.Join(dir, name)
		if _, err := os.Lstat(link); err != nil {
			must(t, os.Symlink(filepath.Join("..data", name), link))
		}
	}
	if old != "" {
		must(t, os.RemoveAll(filepath.Join(dir, old)))
	}
}

// all gives what the store holds, as text.
func all(t *testing.T, s keystore.Store) string {
	t.Helper()
	docs, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, doc := range docs {
		d, rev, err := s.Load(t.Context(), doc)
		if err != nil || rev == "" {
			t.Fatalf("load %s: revision %q, %v", doc, rev, err)
		}
		text := string(doc) + ":"
		for _, k := range append(append(d.Keys.Keys, d.Keys.System...), d.Keys.Master) {
			text += k.Name + "=" + k.Value + ","
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func TestMountedFilesAreKeys(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"host.master": "m\n", "host.function.default": "h\r\n", "host.systemKey.eventgrid": "s",
		"functions.fn.default": "f", "Functions.Other.Key.1": "o", "README": "x", "host.master.bak": "x", "functions.blank.default": "\n",
	})
	must(t, os.Mkdir(filepath.Join(dir, "functions.dir.default"), 0o755))
	s := open(t, dir)
	if got := all(t, s); got != "fn:default=f,=, host:default=h,eventgrid=s,master=m, other:Key.1=o,=," {
		t.Errorf("store holds %s", got)
	}
	if got := s.String(); got != "ContainerApps "+dir {
		t.Errorf("calls itself %s", got)
	}
}

func TestNothingIsWritten(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"functions.fn.default": "f"})
	s := open(t, dir)
	if !s.Capabilities().ReadOnly {
		t.Error("does not declare that it is read-only")
	}
	for _, doc := range []keystore.Doc{"fn", "absent", keystore.HostDoc} {
		_, _, err := s.Update(t.Context(), doc, func(keystore.Document, bool) (keystore.Document, error) {
			t.Error("the change ran")
			return keystore.Document{}, nil
		})
		if !errors.Is(err, keystore.ErrReadOnly) || problem.NextOf(err) == "" {
			t.Errorf("update %s: %v", doc, err)
		}
		if err := s.Delete(t.Context(), doc); !errors.Is(err, keystore.ErrReadOnly) {
			t.Errorf("delete %s: %v", doc, err)
		}
	}
	if _, _, err := s.Load(t.Context(), "../x"); !errors.Is(err, keystore.ErrInvalid) {
		t.Errorf("load: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Load(ended, "fn"); !errors.Is(err, context.Canceled) {
		t.Errorf("load: %v", err)
	}
}

func TestAMissingFolderHasNoKeysAndFailsNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet")
	s := open(t, dir)
	if _, _, err := s.Load(t.Context(), keystore.HostDoc); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("load: %v", err)
	}
	if got := all(t, s); got != "" {
		t.Errorf("store holds %s", got)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder was made: %v", err)
	}
}

func TestKeysTakenAwayDoNotLiveOnButAnUnmountedVolumeTakesNone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	write(t, dir, map[string]string{"functions.fn.default": "f", "host.master": "m"})
	s := open(t, dir)
	all(t, s)
	must(t, os.Remove(filepath.Join(dir, "functions.fn.default")))
	if d, rev, err := s.Load(t.Context(), "fn"); err != nil || len(d.Keys.Keys) != 0 || rev == "" {
		t.Errorf("load: %v, revision %q, %v", d.Keys.Keys, rev, err)
	}
	must(t, os.RemoveAll(dir))
	for _, doc := range []keystore.Doc{"fn", keystore.HostDoc} {
		if _, _, err := s.Load(t.Context(), doc); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("load %s: %v", doc, err)
		}
	}
}

func TestAFileThatCannotBeUsedIsNoAbsence(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"functions.fn.default": strings.Repeat("x", 64<<10+1)})
	_, _, err := open(t, dir).Load(t.Context(), "fn")
	if !errors.Is(err, keystore.ErrUndecryptable) || !strings.Contains(err.Error(), "functions.fn.default") {
		t.Errorf("load: %v", err)
	}
	s := open(t, dir)
	write(t, dir, map[string]string{"functions.other.default": "o"})
	if d, _, err := s.Load(t.Context(), "other"); err != nil || len(d.Keys.Keys) != 1 {
		t.Errorf("a damaged document harms another: %v, %v", d, err)
	}
	if docs, err := s.List(t.Context()); err != nil || fmt.Sprint(docs) != "[fn other]" {
		t.Errorf("list: %v, %v", docs, err)
	}
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, _, err := open(t, file).Load(t.Context(), "fn"); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("load of a file as a folder: %v", err)
	}
}

func TestASwappedVolumeIsNeverReadHalfWay(t *testing.T) {
	dir := t.TempDir()
	files := func(n int) map[string]string {
		return map[string]string{"host.master": fmt.Sprint(n), "host.function.a": fmt.Sprint(n), "host.function.b": fmt.Sprint(n)}
	}
	swap(t, dir, 0, files(0))
	s := open(t, dir)
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for reads := 0; reads < 50 || !stop.Load(); reads++ {
			d, _, err := s.Load(context.Background(), keystore.HostDoc)
			if errors.Is(err, keystore.ErrUnavailable) {
				continue // swapped too often: an outage, not a mixture
			}
			if err != nil || len(d.Keys.Keys) != 2 || d.Keys.Keys[0].Value != d.Keys.Master.Value || d.Keys.Keys[1].Value != d.Keys.Master.Value {
				t.Errorf("read %q and %d keys, %v", d.Keys.Master.Value, len(d.Keys.Keys), err)
				return
			}
		}
	}()
	for n := 1; n <= 200; n++ {
		swap(t, dir, n, files(n))
	}
	stop.Store(true)
	<-done
	if d, _, err := s.Load(t.Context(), keystore.HostDoc); err != nil || d.Keys.Master.Value != "200" {
		t.Errorf("in the end %q, %v", d.Keys.Master.Value, err)
	}
}

func TestChangesAreNoticed(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "functions-keys")
	s := open(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	heard := make(chan keystore.Doc, 1000)
	watching, end := context.WithCancel(ctx)
	done, err := s.Watch(watching, func(d keystore.Doc) { heard <- d })
	must(t, err)
	until := func(want string) {
		t.Helper()
		for all(t, s) != want {
			select {
			case d := <-heard:
				if d != "" {
					t.Errorf("heard %q", d)
				}
			case <-ctx.Done():
				t.Fatalf("store holds %s, want %s, and nothing was told", all(t, s), want)
			}
		}
		select { // reading sooner than being told is no proof of having been told
		case <-heard:
		case <-ctx.Done():
			t.Fatalf("nothing was told of %s", want)
		}
	}
	swap(t, dir, 1, map[string]string{"functions.fn.default": "1"})
	until("fn:default=1,=,")
	swap(t, dir, 2, map[string]string{"functions.fn.default": "2"})
	until("fn:default=2,=,")
	must(t, os.Rename(dir, dir+".away"))
	until("")
	must(t, os.Rename(dir+".away", dir))
	until("fn:default=2,=,")
	end()
	<-done
	if _, err := s.Watch(watching, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("watch under an ended context: %v", err)
	}
}

func TestSettings(t *testing.T) {
	for value, ok := range map[string]bool{"": true, "/mnt/keys": true, "keys": false, "./keys": false} {
		cfg, err := containerapps.Parse(func(name string) string {
			if name == "LATCHKEY_MOUNTED_KEYS" {
				return value
			}
			return ""
		})
		if ok && (err != nil || cfg.Dir != value) {
			t.Errorf("%q: %+v, %v", value, cfg, err)
		}
		if !ok && (!errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), "LATCHKEY_MOUNTED_KEYS")) {
			t.Errorf("%q: %v", value, err)
		}
	}
	if got := open(t, "").String(); got != "ContainerApps /run/secrets/functions-keys" {
		t.Errorf("calls itself %s", got)
	}
}
