package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/latchkey/latchkey/internal/engine/enginetest/localengine"
)

// TestTheWalkThroughWorksOnDocker builds the image as README.md does, and has the
// init container read a vault of the installation from within.
func TestTheWalkThroughWorksOnDocker(t *testing.T) {
	d := localengine.Docker(t)
	programs := t.TempDir()
	for name, pkg := range map[string]string{
		"queue": "./queue", "inventory": ".", "latchkey-static": "github.com/latchkey/latchkey/cmd/latchkey",
	} {
		if err := os.Rename(localengine.Build(t, pkg), filepath.Join(programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.MkdirTemp("", "lk") // short: the path of a socket has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	testscript.Run(t, testscript.Params{
		Dir: "testdata/docker", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", env.Getenv("PATH")+string(os.PathListSeparator)+programs)
			env.Setenv("DOCKER_HOST", d.Host)
			env.Setenv("XDG_DATA_HOME", data)
			env.Setenv("GATEWAY", d.Gateway(t))
			if err := setup(env); err != nil {
				return err
			}
			return onDocker(env, programs)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"until": until, "found": found, "fill": fillImage},
	})
}

// onDocker makes the changes to the example's files that README.md tells of.
func onDocker(env *testscript.Env, programs string) error {
	dockerfile, err := os.ReadFile("Dockerfile")
	if err == nil {
		err = os.WriteFile(filepath.Join(env.WorkDir, "Dockerfile"), dockerfile, 0o600)
	}
	if err != nil {
		return err
	}
	path := filepath.Join(env.WorkDir, "app.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed := strings.NewReplacer("127.0.0.1:", env.Getenv("GATEWAY")+":",
		"      - {name: LABEL_KEY,", "      - {name: QUEUE_HAS_NO_TLS, value: \"true\"}\n      - {name: LABEL_KEY,").Replace(string(text))
	if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
		return err
	}
	bin := filepath.Join(env.WorkDir, "bin", "inventory")
	program, err := os.ReadFile(filepath.Join(programs, "inventory"))
	if err == nil {
		err = os.Remove(bin)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(bin, program, 0o700)
}

// fillImage does what sed does in README.md: fill FROM TO.
func fillImage(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.NewReplacer("{subscription}", ts.Getenv("SUB"), "{image}", ts.Getenv("IMAGE")).Replace(ts.ReadFile(args[0]))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}
