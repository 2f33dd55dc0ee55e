package docker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"testing"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/docker"
	"github.com/latchkey/latchkey/internal/engine/enginetest"
	"github.com/latchkey/latchkey/internal/engine/enginetest/localengine"
	"github.com/latchkey/latchkey/internal/engine/metadata"
)

// The program itself is the sidecar. What a container sees is looked at from its own
// network.
func TestContainersHaveNoWayToTheMachinesIdentity(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *localengine.Daemon{"docker": localengine.Docker, "podman": localengine.Podman} {
		t.Run(name, func(t *testing.T) {
			b := &bed{d: start(t), identity: &enginetest.Provider{}}
			b.cl = b.d.Load(t, program(t), testImage)
			var err error
			b.Engine, err = docker.Open(t.Context(), docker.Config{Host: b.d.Host,
				Sidecar: docker.Sidecar{Binary: localengine.Build(t, "github.com/latchkey/latchkey/cmd/latchkey"), Args: []string{"container-sidecar"}, Ready: metadata.Ready},
				Config:  engine.Config{Installation: "shut", Identity: b.identity, Registry: &b.registry, Clock: clock.Real{}}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := b.Remove(context.Background(), engine.Ref{App: "app", Revision: "rev"}); err != nil {
					t.Error(err)
				}
				_, _ = b.cl.NetworkRemove(context.Background(), "latchkey-shut", client.NetworkRemoveOptions{})
				_ = b.Close()
			})
			b.place(t, b.spec(testImage, "serve"))
			b.ready(t)
			objects, err := b.List(t.Context())
			if err != nil || len(objects) != 2 {
				t.Fatal(objects, err)
			}
			for _, o := range objects {
				pid, err := localengine.Pid(t.Context(), b.cl, o.ID)
				if err != nil {
					t.Fatal(err)
				}
				status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
				if err != nil {
					t.Fatal(err)
				}
				if found := regexp.MustCompile(`(?m)^Cap(?:Eff|Prm):\s+([0-9a-f]+)$`).FindAllSubmatch(status, -1); len(found) != 2 || o.Role == engine.RoleSidecar && string(found[0][1])+string(found[1][1]) != "00000000000000000000000000000000" {
					t.Errorf("%s: %s", o.Container, status)
				}
				within(t, pid, func() {
					err := dial([4]byte{169, 254, 169, 254})
					if !errors.Is(err, unix.ENETUNREACH) {
						t.Errorf("%s: %v", o.Container, err)
					}
				})
			}
		})
	}
}

// within runs something in the network of a process.
func within(t *testing.T, pid int, do func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() { // its thread ends with it
		runtime.LockOSThread()
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
		if err == nil {
			defer f.Close()
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func dial(to [4]byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrInet4{Addr: to, Port: 80})
}
