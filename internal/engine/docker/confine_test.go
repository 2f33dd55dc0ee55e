package docker

import (
	"slices"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/supervise"
)

// What an app says about its containers must not give them the machine, nor the
// sidecar of its replica what only the node may change.
func TestContainersHaveNothingOfTheMachine(t *testing.T) {
	s := &site{installation: "i", sidecar: Sidecar{Folders: map[string]string{"/run/latchkey": "/data/containers"}}}
	for _, role := range []engine.Role{engine.RoleInit, engine.RoleMain} {
		u := supervise.Unit{
			Start: engine.Start{Replica: "r", Container: "c", Role: role},
			Spec: engine.Container{Name: "c", Image: "i", CPU: 0.5, Memory: 1 << 20,
				Mounts: []engine.Mount{{Volume: "v", Path: "/secrets", ReadOnly: true}}},
			Volumes: []engine.Volume{{Name: "v", Kind: engine.VolumeSecret, Files: []engine.File{{Path: "s", Data: []byte("x")}}}},
		}
		o, err := s.options(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		h := o.HostConfig
		if h.Privileged || len(h.Binds)+len(h.Mounts)+len(h.CapAdd)+len(h.Devices) > 0 || h.PidMode != "" || h.IpcMode != "" ||
			h.NetworkMode != "container:latchkey-i-r-latchkey-sidecar" {
			t.Errorf("%s: %+v", role, h)
		}
		if !slices.Contains(h.CapDrop, "NET_RAW") || h.PidsLimit == nil || *h.PidsLimit <= 0 || h.Memory != 1<<20 || h.LogConfig.Config["max-size"] == "" {
			t.Errorf("%s is not confined: %+v", role, h)
		}
	}
}

func TestSidecarsChangeNothingOfTheNode(t *testing.T) {
	h := &container.HostConfig{}
	confine(h)
	Sidecar{Folders: map[string]string{"/run/latchkey": "/data/containers"}}.confine(h)
	want := []mount.Mount{{Type: mount.TypeBind, Source: "/data/containers", Target: "/run/latchkey", ReadOnly: true}}
	if !slices.EqualFunc(h.Mounts, want, func(x, y mount.Mount) bool {
		return x.Source == y.Source && x.Target == y.Target && x.ReadOnly == y.ReadOnly
	}) ||
		!slices.Equal(h.CapDrop, []string{"ALL"}) || !h.ReadonlyRootfs || h.PidsLimit == nil {
		t.Errorf("%+v", h)
	}
}
