package instance

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/latchkey/latchkey/internal/funcapp"
)

const watchingHost = `{"version": "2.0", "watchFiles": ["Prompt.txt", ".env"], "watchDirectories": ["Shared"],
	"customHandler": {"description": {"defaultExecutablePath": "bin/handler"}}}`

func TestChangesThatRestart(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(*env)
		change  func(*env)
		reason  string
	}{
		{"host.json", nil, func(e *env) { e.write("host.json", plainHost) }, "host.json changed"},
		{"local.settings.json appears", nil, func(e *env) { e.write("local.settings.json", `{}`) }, "local.settings.json changed"},
		{"local.settings.json goes", func(e *env) { e.write("local.settings.json", `{}`) },
			func(e *env) { e.remove("local.settings.json") }, "local.settings.json changed"},
		{"function.json", nil, func(e *env) { e.write("Hello/function.json", `{"bindings": []}`) }, "Hello/function.json changed"},
		{"function.json goes", nil, func(e *env) { e.remove("Hello/function.json") }, "Hello/function.json changed"},
		{"new folder", nil, func(e *env) { e.mkdir("Second") }, "Second changed"},
		{"folder goes", func(e *env) { e.mkdir("Empty") }, func(e *env) { e.remove("Empty") }, "Empty changed"},
		{"handler built anew", nil, func(e *env) { e.write("handler", "#!/bin/bash\n") }, "handler changed"},
		{"handler made executable", nil, func(e *env) { must(e.t, os.Chmod(filepath.Join(e.root, "handler"), 0o755)) }, "handler changed"},
		{"handler in a folder", func(e *env) { e.write("host.json", watchingHost); e.write("bin/handler", "") },
			func(e *env) { e.write("bin/handler", "x") }, "bin/handler changed"},
		{"handler yet to be built", func(e *env) { e.write("host.json", watchingHost); e.mkdir("bin") },
			func(e *env) { e.write("bin/handler", "x") }, "bin/handler changed"},
		{"named file", func(e *env) { e.write("host.json", watchingHost) },
			func(e *env) { e.write("prompt.TXT", "") }, "prompt.TXT changed"},
		{"named hidden file", func(e *env) { e.write("host.json", watchingHost) }, func(e *env) { e.write(".env", "") }, ".env changed"},
		{"named file deep down", func(e *env) { e.write("host.json", watchingHost); e.write("Hello/a/b/c", "") },
			func(e *env) { e.write("Hello/a/b/prompt.txt", "") }, "Hello/a/b/prompt.txt changed"},
		{"anything in a watched folder", func(e *env) { e.write("host.json", watchingHost); e.write("shared/lib/deep/x.txt", "") },
			func(e *env) { e.write("shared/lib/deep/y.txt", "") }, "shared/lib/deep/y.txt changed"},
		{"packages installed", func(e *env) { e.mkdir("node_modules") },
			func(e *env) { e.write("node_modules/.package-lock.json", "{}") }, "node_modules/.package-lock.json changed"},
		{"function.json in a linked folder", func(e *env) {
			elsewhere := e.t.TempDir()
			must(e.t, os.Symlink(elsewhere, filepath.Join(e.root, "Linked")))
		}, func(e *env) { e.write("Linked/function.json", "{}") }, "Linked/function.json changed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnv(t, watching)
			if tt.prepare != nil {
				tt.prepare(e)
			}
			e.run()
			e.serves(1)
			tt.change(e)
			e.settled(1)
			e.serves(2)
			e.restartedBecause(tt.reason)
		})
	}
}

func TestChangesThatDoNot(t *testing.T) {
	tests := []struct {
		name   string
		change func(*env)
	}{
		{"other file", func(e *env) { e.write("notes.txt", "") }},
		{"other file goes", func(e *env) { e.write("notes.txt", ""); e.remove("notes.txt") }},
		{"other file of a function", func(e *env) { e.write("Hello/readme.md", "") }},
		{"hidden folder", func(e *env) { e.mkdir(".git"); e.write(".git/HEAD", ""); e.remove(".git/HEAD"); e.remove(".git") }},
		{"our own folder", func(e *env) { e.mkdir(".latchkey"); e.write(".latchkey/keys/host.json", "{}") }},
		{"function.json of a hidden folder", func(e *env) { e.mkdir(".old"); e.write(".old/function.json", "{}") }},
		{"deep function.json", func(e *env) { e.write("Hello/sub/function.json", "{}") }},
		{"mode of a file", func(e *env) { must(e.t, os.Chmod(filepath.Join(e.root, "host.json"), 0o644)) }},
		{"mode of the root", func(e *env) { must(e.t, os.Chmod(e.root, 0o755)) }},
		{"handler goes", func(e *env) { e.remove("handler") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := running(t, watching)
			tt.change(e)
			e.write("host.json", plainHost) // events come in order
			e.settled(1)
			e.serves(2)
			if n := e.clock.timers.count(settleTime.String()); n != 1 {
				t.Errorf("it counts: %d events", n)
			}
			e.restartedBecause("host.json changed")
		})
	}
}

func TestAHandlerInAHiddenFolder(t *testing.T) {
	e := newEnv(t, watching)
	e.write("host.json", `{"version": "2.0", "watchFiles": ["x.txt"], "customHandler": {"description": {"defaultExecutablePath": ".bin/handler"}}}`)
	e.write(".bin/handler", "")
	e.run()
	e.serves(1)
	e.write(".bin/x.txt", "") // counts for nothing
	e.write(".bin/function.json", "")
	e.write(".bin/handler", "new")
	e.settled(1)
	e.serves(2)
	e.restartedBecause(".bin/handler changed")
	if n := e.clock.timers.count(settleTime.String()); n != 1 {
		t.Errorf("%d events counted, want 1", n)
	}
}

func TestTheOfflineFileDoesNotHideOtherChanges(t *testing.T) {
	for _, reasons := range [][]string{{"host.json changed", offlineChanged}, {offlineChanged, "host.json changed"}} {
		var b burst
		for _, r := range reasons {
			b.add(newTestClock(), r)
		}
		if b.reason != "host.json changed" {
			t.Errorf("after %q: %q", reasons, b.reason)
		}
	}
}

func TestChangesAreWaitedOut(t *testing.T) {
	e := running(t, watching)
	for n := 1; n <= 10; n++ { // never quiet for long enough
		e.write("host.json", plainHost)
		e.timer(settleTime, n)
		e.clock.Advance(settleTime - time.Millisecond)
	}
	if len(e.restarts) != 0 || len(e.all()) != 1 {
		t.Fatal("restarted in the middle of the changes")
	}
	e.clock.Advance(time.Millisecond)
	e.serves(2)
	e.write("local.settings.json", "{}")
	e.timer(settleTime, 11)
	e.clock.Advance(settleTime)
	e.serves(3)
	if n := len(e.all()); n != 3 {
		t.Errorf("%d workers for two bursts", n)
	}
}

func TestWithoutWatchNothingRestarts(t *testing.T) {
	e := running(t)
	e.write("host.json", `{"version": 7}`)
	w := newWatch(e.Instance)
	w.look()
	w.follow(e.Model().App, nil)
	w.close()
	if w.notify != nil {
		t.Error("files are watched")
	}
	e.clock.Advance(time.Hour)
	e.enter().Leave()
	if n := len(e.all()); n != 1 || e.Status().State != Running {
		t.Errorf("%d workers", n)
	}
}

func TestFoldersMadeLaterAreWatched(t *testing.T) {
	e := running(t, watching)
	e.mkdir("Second")
	e.settled(1)
	e.serves(2)
	e.write("Second/function.json", "{}")
	e.settled(1)
	e.serves(3)
	e.restartedBecause("Second/function.json changed")
	must(t, os.Rename(filepath.Join(e.root, "Second"), filepath.Join(e.root, "Third")))
	e.settled(2) // one goes, one comes
	e.serves(4)
	e.write("Third/function.json", "{}")
	e.settled(1)
	e.serves(5)
	e.restartedBecause("Third/function.json changed")
}

func TestAWatchedTreeIsRenamed(t *testing.T) {
	e := newEnv(t, watching)
	e.write("host.json", watchingHost)
	e.write("shared/lib/x.txt", "")
	e.run()
	e.serves(1)
	must(t, os.Rename(filepath.Join(e.root, "shared"), filepath.Join(e.root, "other")))
	e.settled(2)
	e.serves(2)
	e.write("other/lib/y.txt", "") // it is no longer a folder in which everything counts
	e.write("other/function.json", "{}")
	e.settled(1)
	e.serves(3)
	e.restartedBecause("other/function.json changed")
	if n := e.clock.timers.count(settleTime.String()); n != 3 {
		t.Errorf("%d events counted, want 3", n)
	}
}

func TestNamedFilesInFoldersMadeLater(t *testing.T) {
	e := newEnv(t, watching)
	e.write("host.json", watchingHost)
	e.run()
	e.serves(1)
	e.mkdir("Hello/new") // counts for nothing, but is watched
	e.await("the new folder to be watched", func() bool {
		if e.clock.timers.count(settleTime.String()) > 0 {
			return true
		}
		_ = os.WriteFile(filepath.Join(e.root, "Hello/new/prompt.txt"), nil, 0o600)
		e.poke()
		return false
	})
	for len(e.all()) == 1 {
		e.clock.Advance(settleTime)
		e.poke()
	}
}

// poke wakes await up, so that it asks again.
func (e *env) poke() {
	e.Instance.mu.Lock()
	defer e.Instance.mu.Unlock()
	close(e.changed)
	e.changed = make(chan struct{})
}

func TestTheAppFolderIsReplaced(t *testing.T) {
	e := newEnv(t, watching)
	old := e.root
	e.run()
	e.serves(1)
	must(t, os.Rename(old, old+".old"))
	t.Cleanup(func() { _ = os.RemoveAll(old + ".old") })
	e.settled(1)
	e.state(Error)
	e.timer(time.Second, 1)
	e.write("Hello/function.json", "{}")
	e.write("host.json", plainHost)
	e.clock.Advance(time.Second)
	e.serves(2)
	e.write("host.json", plainHost)
	e.settled(1) // the new one is watched
	e.serves(3)
}

func TestMissedEventsRestart(t *testing.T) {
	e := newEnv(t, watching)
	w := newWatch(e.Instance)
	w.notify.Errors <- fsnotify.ErrEventOverflow
	w.notify.Errors <- fsnotify.ErrEventOverflow
	e.timer(settleTime, 1)
	select {
	case reason := <-e.restarts:
		t.Fatalf("restart %q before the files are quiet", reason)
	default:
	}
	for len(e.restarts) == 0 && e.ctx.Err() == nil {
		e.clock.Advance(settleTime)
		e.poke()
	}
	if reason := <-e.restarts; reason != "files changed" {
		t.Errorf("reason %q", reason)
	}
	w.close()
}

func TestATreeIsWatchedUpToALimit(t *testing.T) {
	e := newEnv(t, watching)
	for n := range 20 {
		must(t, os.MkdirAll(filepath.Join(e.root, "Hello", fmt.Sprint(n), ".git", "node_modules"), 0o700))
	}
	w := newWatch(e.Instance)
	defer w.close()
	w.addTree(filepath.Join(e.root, "Hello"), named)
	if n := len(w.notify.WatchList()); n != 21 {
		t.Errorf("%d folders watched, want 21: hidden ones and packages hold nothing of the app", n)
	}
	w.addTree(filepath.Join(e.root, "Hello"), whole)
	if n := len(w.notify.WatchList()); n != 61 {
		t.Errorf("%d folders watched, want all 61", n)
	}
}

func TestExecutableOfTheApp(t *testing.T) {
	root := t.TempDir()
	inside := filepath.Join(root, "tools", "handler")
	must(t, os.MkdirAll(filepath.Dir(inside), 0o700))
	must(t, os.WriteFile(inside, nil, 0o700))
	tests := []struct {
		name    string
		handler *funcapp.CustomHandler
		want    string
	}{
		{"no custom handler", nil, ""},
		{"no executable", &funcapp.CustomHandler{}, ""},
		{"relative", &funcapp.CustomHandler{Executable: "tools/handler"}, inside},
		{"below the worker directory", &funcapp.CustomHandler{Executable: "handler", WorkerDirectory: "tools"}, inside},
		{"absolute worker directory", &funcapp.CustomHandler{Executable: "handler", WorkerDirectory: filepath.Dir(inside)}, inside},
		{"absolute", &funcapp.CustomHandler{Executable: inside}, inside},
		{"program of the machine", &funcapp.CustomHandler{Executable: "sh"}, ""},
		{"absolute elsewhere", &funcapp.CustomHandler{Executable: "/bin/sh"}, ""},
		{"outside", &funcapp.CustomHandler{Executable: "../handler"}, ""},
		{"yet to be built", &funcapp.CustomHandler{Executable: "no-such-program"}, filepath.Join(root, "no-such-program")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			app := &funcapp.App{Root: root, Host: funcapp.HostConfig{CustomHandler: tt.handler}}
			if got := executableOf(app); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
