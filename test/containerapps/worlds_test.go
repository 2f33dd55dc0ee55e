package containerapps_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/moby/client"

	"github.com/latchkey/latchkey/internal/engine/enginetest/localengine"
)

// thing is a container as the machine shows it, whatever Latchkey knows of it.
type thing struct {
	replica, name string
	up            bool
	kill          func(testing.TB)
}

// world is the machine's own view of what runs.
type world interface {
	// things gives all containers, and what else there is of which replicas.
	things(ctx context.Context) (list []thing, rest []string, err error)
	// sidecar is the name of a further container in each replica; "" is none.
	sidecar() string
	// killEngine kills the engine and starts it again; false: there is none.
	killEngine(t testing.TB) bool
}

// processes is the world of the engine of processes.
type processes struct{ dir string } // the node's

func (p processes) sidecar() string            { return "" }
func (p processes) killEngine(testing.TB) bool { return false }

// things reads the environment of all processes, as those can have left their group.
func (p processes) things(context.Context) (list []thing, rest []string, err error) {
	paths, err := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		root := ""
		for _, line := range bytes.Split(text, []byte{0}) {
			if rest, ok := strings.CutPrefix(string(line), "CONTAINER_ROOT="); ok && strings.HasPrefix(rest, p.dir+"/") {
				root = rest
			}
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if root == "" || err != nil {
			continue
		}
		list = append(list, thing{filepath.Base(filepath.Dir(root)), filepath.Base(root), true, func(t testing.TB) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
		}})
	}
	folders, _ := filepath.Glob(filepath.Join(p.dir, "processes", "*", "*"))
	for _, f := range folders {
		rest = append(rest, filepath.Base(f))
	}
	return list, rest, err
}

// dockers is the world of a Docker engine that nobody else uses.
type dockers struct {
	d  *localengine.Daemon
	cl *client.Client
}

func (d dockers) sidecar() string { return "latchkey-sidecar" }

func (d dockers) killEngine(t testing.TB) bool {
	d.d.Stop(syscall.SIGKILL)
	d.d.Start(t)
	return true
}

func (d dockers) things(ctx context.Context) (list []thing, rest []string, err error) {
	containers, volumes, err := localengine.List(ctx, d.cl)
	for _, c := range containers {
		list = append(list, thing{c.Labels["dev.latchkey.replica"], c.Labels["dev.latchkey.container"], c.Up, func(t testing.TB) { localengine.Kill(t, d.cl, c.ID) }})
	}
	for _, v := range volumes { // latchkey-<installation>-<replica>-<volume>
		rest = append(rest, strings.TrimSuffix(v, "-shared"))
	}
	return list, rest, err
}
