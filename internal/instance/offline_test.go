package instance

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

func TestOfflineFile(t *testing.T) {
	e := running(t, watching)
	e.write(offlineFile, "<p>closed</p>")
	e.settled(1)
	e.state(Offline)
	e.refused()
	e.saw("stop 1")
	if page := e.OfflinePage(); string(page) != "<p>closed</p>" {
		t.Errorf("page %q", page)
	}
	if e.Model() == nil {
		t.Error("no model while offline")
	}
	e.remove(offlineFile)
	e.settled(1)
	e.serves(2)
	e.restartedBecause(offlineChanged)
	if n := e.restarted.Load(); n != 0 {
		t.Errorf("OnRestart called %d times", n)
	}
}

func TestStartsOffline(t *testing.T) {
	e := newEnv(t, watching)
	e.write(offlineFile, "")
	e.run()
	e.state(Offline)
	if e.Model() == nil {
		t.Error("no model while offline")
	}
	if page := e.OfflinePage(); !bytes.Contains(page, []byte("This app is offline")) {
		t.Errorf("page %q for an empty file", page)
	}
	e.remove(offlineFile)
	e.settled(1)
	e.serves(1)
}

func TestOfflinePage(t *testing.T) {
	e := newEnv(t)
	if page := e.OfflinePage(); string(page) != offlineNotice {
		t.Errorf("page %q without a file", page)
	}
	e.write(offlineFile, strings.Repeat("x", maxOfflinePage))
	if n := len(e.OfflinePage()); n != maxOfflinePage {
		t.Errorf("page of %d bytes", n)
	}
	e.write(offlineFile, strings.Repeat("x", maxOfflinePage+1))
	if page := e.OfflinePage(); string(page) != offlineNotice {
		t.Errorf("page of %d bytes, want the notice", len(page))
	}
	e.remove(offlineFile)
	e.mkdir(offlineFile)
	if page := e.OfflinePage(); string(page) != offlineNotice {
		t.Errorf("page %q of a folder", page)
	}
}

func TestSetOffline(t *testing.T) {
	e := running(t) // works without a watch
	must(t, e.SetOffline(true))
	e.state(Offline)
	if page, err := os.ReadFile(e.offlinePath()); err != nil || string(page) != offlineNotice {
		t.Errorf("file %q, %v", page, err)
	}
	must(t, e.SetOffline(true)) // nothing changes
	must(t, e.SetOffline(false))
	e.serves(2)
	must(t, e.SetOffline(false))
	if len(e.restarts) != 0 || len(e.all()) != 2 {
		t.Error("restarted for nothing")
	}
}

func TestSetOfflineRestartsOnce(t *testing.T) {
	e := running(t, watching)
	must(t, e.SetOffline(true))
	e.state(Offline)
	e.settled(1)
	e.logged("nothing to do", 1) // the watch sees a file that has been dealt with
	must(t, e.SetOffline(false))
	e.serves(2)
	e.settled(1)
	e.logged("nothing to do", 2)
	e.write("host.json", plainHost)
	e.settled(1)
	e.serves(3)
	if n := len(e.all()); n != 3 {
		t.Errorf("%d workers, want 3", n)
	}
}

func TestSetOfflineBreaksAStartOff(t *testing.T) {
	e := newEnv(t)
	e.next(func(w *fakeWorker) error { w.startGate = make(chan struct{}); return nil })
	e.run()
	e.saw("start 1")
	must(t, e.SetOffline(true))
	e.state(Offline)
	e.saw("stop 1")
}

func TestSetOfflineKeepsTheOwnersPage(t *testing.T) {
	e := running(t)
	e.write(offlineFile, "<p>ours</p>")
	must(t, e.SetOffline(true))
	e.state(Offline)
	if page := e.OfflinePage(); string(page) != "<p>ours</p>" {
		t.Errorf("page %q", page)
	}
}

func TestSetOfflineInAFolderThatCannotBeWritten(t *testing.T) {
	tests := []struct {
		name    string
		offline bool
		prepare func(*env)
	}{
		{"go offline", true, func(e *env) { must(e.t, os.RemoveAll(e.root)) }},
		{"come back", false, func(e *env) { e.write(offlineFile+"/keep", ""); e.set(Offline, nil) }}, // a folder that is not empty
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnv(t)
			tt.prepare(e)
			err := e.SetOffline(tt.offline)
			if !errors.Is(err, problem.Invalid) || problem.NextOf(err) == "" {
				t.Errorf("got %v", err)
			}
			if len(e.restarts) != 0 {
				t.Error("a restart was asked for")
			}
		})
	}
}

func TestARestartGoesOfflineWithAnOverlappingWorker(t *testing.T) {
	e := running(t)
	stuck := e.enter()
	e.write(offlineFile, "")
	e.Restart("asked for")
	e.state(Offline)
	e.refused()
	if e.journal.count("stop 1") != 0 {
		t.Error("stopped with work in progress")
	}
	stuck.Leave()
	e.saw("stop 1")
}
