package isolation_test

import (
	"bufio"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/platform/isolation"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

func TestAnAppCannotGetAtTheNodeNorAtAnotherApp(t *testing.T) {
	i := start(t)
	i.add(t, "app-a")
	i.add(t, "app-b")
	data := i.Config.DataDir
	for _, name := range []string{"owner.json", "kek", "state.db", "homes.lock"} {
		if _, err := os.Stat(filepath.Join(data, name)); err != nil {
			t.Fatal(err)
		}
		i.cannot(t, "app-a", "read", filepath.Join(data, name))
	}
	for _, dir := range []string{data, filepath.Join(data, "apps"), filepath.Join(data, "homes")} {
		i.cannot(t, "app-a", "list", dir)
		i.cannot(t, "app-a", "write", filepath.Join(dir, "x"))
	}
	root, home := i.can(t, "app-b", "variable", "FUNCTIONS_APP_ROOT_PATH"), i.can(t, "app-b", "variable", "HOME")
	pid := i.can(t, "app-b", "pid", "")
	i.cannot(t, "app-a", "read", filepath.Join(root, "host.json"))
	i.cannot(t, "app-a", "list", root)
	i.cannot(t, "app-a", "list", filepath.Dir(root))
	i.cannot(t, "app-a", "list", home)
	i.cannot(t, "app-a", "read", "/proc/"+pid+"/environ")
	i.cannot(t, "app-a", "read", "/proc/"+strconv.Itoa(os.Getpid())+"/environ")
	i.cannot(t, "app-a", "signal", pid)
	i.cannot(t, "app-a", "signal", strconv.Itoa(os.Getpid()))
	if env := i.can(t, "app-b", "read", "/proc/self/environ"); !strings.Contains(env, "PASSWORD=of-app-b") {
		t.Error("b does not see its own settings")
	}
}

func TestAnAppHasItsPackageToReadAndFoldersToWrite(t *testing.T) {
	i := start(t)
	i.add(t, "app-a")
	root := i.can(t, "app-a", "variable", "FUNCTIONS_APP_ROOT_PATH")
	if text := i.can(t, "app-a", "read", filepath.Join(root, "data/version")); text != "first" {
		t.Errorf("got %q", text)
	}
	i.can(t, "app-a", "list", root)
	for _, path := range []string{"data/version", "bin/handler", "new", "data/new"} {
		i.cannot(t, "app-a", "write", filepath.Join(root, path))
	}
	i.cannot(t, "app-a", "remove", filepath.Join(root, "data/version"))
	i.cannot(t, "app-a", "mode", root)
	i.cannot(t, "app-a", "mode", filepath.Join(root, "data/version"))
	for _, name := range []string{"HOME", "TMPDIR"} {
		dir := i.can(t, "app-a", "variable", name)
		if !strings.HasPrefix(dir, i.Config.DataDir+"/homes/") {
			t.Fatalf("%s is %s, not a folder of its own", name, dir)
		}
		if private := i.can(t, "app-a", "write", filepath.Join(dir, "x")); private != "true" {
			t.Errorf("what the worker writes to %s is open to others", dir)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", dir, info.Mode(), err)
		}
		i.cannot(t, "app-a", "remove", dir) // the folder itself is in one of root's
	}
	i.can(t, "app-a", "read", i.can(t, "app-a", "variable", "SSL_CERT_FILE"))
	if user := i.can(t, "app-a", "variable", "USER"); user != "" {
		t.Errorf("the worker is told to be %s", user)
	}
}

func TestWhatAWorkerIs(t *testing.T) {
	i := start(t)
	i.add(t, "app-a")
	i.add(t, "app-b")
	status := i.can(t, "app-a", "read", "/proc/self/status")
	id, err := strconv.Atoi(field(status, "Uid"))
	if err != nil || id < isolation.DefaultFirst || id >= isolation.DefaultFirst+isolation.Count {
		t.Errorf("Uid %s", field(status, "Uid"))
	}
	for name, want := range map[string]string{
		"Gid": strconv.Itoa(id), "Groups": "", "NoNewPrivs": "1",
		"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapAmb": "0000000000000000",
	} {
		if got := field(status, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if other := i.id(t, "app-b"); other == strconv.Itoa(id) {
		t.Errorf("both apps run as %s", other)
	}
	if text, ok := i.try(t, "app-a", "terminal", ""); ok {
		t.Errorf("the worker has the node's terminal: %s", text)
	}
	own, err := os.ReadFile("/proc/thread-self/status")
	if err != nil || field(string(own), "NoNewPrivs") != "0" {
		t.Errorf("the node's threads are confined too: %v", err)
	}
}

func TestSecretsInTheDataFolderAreRootsAlone(t *testing.T) {
	i := start(t)
	i.add(t, "app-a")
	i.id(t, "app-a")
	public := map[string]bool{"ca.pem": true, "ca-bundle.pem": true}
	err := filepath.WalkDir(i.Config.DataDir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(i.Config.DataDir, path)
		switch {
		case e.IsDir() && info.Mode().Perm()&0o006 != 0:
			t.Errorf("folder %s can be listed by all: %v", rel, info.Mode())
		case !e.IsDir() && info.Mode().Perm()&0o007 != 0 && !public[rel]:
			t.Errorf("file %s is open to all: %v", rel, info.Mode())
		case !e.IsDir() && info.Mode().Perm()&0o022 != 0:
			t.Errorf("file %s can be written by others: %v", rel, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestIdsAreKeptAndNotShared(t *testing.T) {
	i := start(t)
	i.add(t, "app-a")
	i.add(t, "app-b")
	a, b := i.id(t, "app-a"), i.id(t, "app-b")
	home := i.can(t, "app-a", "variable", "HOME")
	i.can(t, "app-a", "write", filepath.Join(home, "kept"))
	i.can(t, "app-a", "write", filepath.Join(i.can(t, "app-a", "variable", "TMPDIR"), "lost"))

	i.deploy(t, "app-a", "second")
	platformtest.Until(t, "the new version runs", func() bool {
		return i.can(t, "app-a", "read", filepath.Join(i.can(t, "app-a", "variable", "FUNCTIONS_APP_ROOT_PATH"), "data/version")) == "second"
	})
	if got := i.id(t, "app-a"); got != a {
		t.Errorf("after a deployment %s, before %s", got, a)
	}
	i.Stop(t)
	i.Restart(t)
	if gotA, gotB := i.id(t, "app-a"), i.id(t, "app-b"); gotA != a || gotB != b {
		t.Errorf("after a restart %s and %s, before %s and %s", gotA, gotB, a, b)
	}
	i.can(t, "app-a", "read", filepath.Join(home, "kept"))
	if _, ok := i.try(t, "app-a", "read", filepath.Join(i.can(t, "app-a", "variable", "TMPDIR"), "lost")); ok {
		t.Error("temporary files outlived the node")
	}

	i.Do(t, http.MethodDelete, i.Site("app-a"), nil, nil)
	platformtest.Until(t, "the home of a deleted app goes away", func() bool {
		_, err := os.Stat(home)
		return os.IsNotExist(err)
	})
	i.add(t, "app-a")
	again := i.can(t, "app-a", "variable", "HOME")
	if again == home || i.id(t, "app-a") == b {
		t.Errorf("the new app has the old one's home %s, or the other's id", again)
	}
	if _, ok := i.try(t, "app-a", "read", filepath.Join(again, "kept")); ok {
		t.Error("the new app has the old one's files")
	}
}

func TestIdsOfAppsDeletedWhileTheNodeWasAwayAreGivenBack(t *testing.T) {
	i := start(t)
	i.add(t, "app-a")
	i.id(t, "app-a")
	i.Stop(t)
	ghost := filepath.Join(i.Config.DataDir, "homes", "ghost.0f3ad9f5-1111-4222-8333-444455556666")
	if err := os.Mkdir(ghost, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(ghost, 0, isolation.DefaultFirst+7); err != nil {
		t.Fatal(err)
	}
	i.Restart(t)
	platformtest.Until(t, "the home of an app that is not there goes away", func() bool {
		_, err := os.Stat(ghost)
		return os.IsNotExist(err)
	})
	i.id(t, "app-a")
}

func TestNothingOfAnAppOutlivesIt(t *testing.T) {
	i := start(t)
	i.add(t, "app-a")
	worker, escaped := i.can(t, "app-a", "pid", ""), i.can(t, "app-a", "escape", "")
	if !alive(worker) || !alive(escaped) {
		t.Fatal("the processes do not run")
	}
	i.Do(t, http.MethodPost, i.Site("app-a")+"/stop", nil, nil)
	platformtest.Until(t, "processes of a stopped app end, also such that left its group", func() bool {
		return !alive(worker) && !alive(escaped)
	})
}

func TestAKilledNodeLeavesNoWorker(t *testing.T) {
	i := start(t)
	i.add(t, "app-a")
	i.Stop(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), nodeVariable+"="+i.Config.DataDir)
	cmd.Stderr = i.Log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	end := func() {
		if !ended {
			ended = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(end)
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	ask := func(do string) string {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+strings.TrimSpace(address)+"/api/f?do="+do, nil)
		req.Host = "app-a.localhost"
		req.Header.Set("x-functions-key", i.keys["app-a"])
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, _ := bufio.NewReader(resp.Body).ReadString('\n')
		pid, ok := strings.CutPrefix(text, "done: ")
		if !ok || !alive(pid) {
			t.Fatalf("%s: %d %s", do, resp.StatusCode, text)
		}
		return pid
	}
	worker, escaped := ask("pid"), ask("escape")
	end()
	platformtest.Until(t, "the worker ends with its node", func() bool { return !alive(worker) })
	i.Restart(t)
	if alive(escaped) {
		t.Error("the next node leaves a process of the one before running")
	}
}
