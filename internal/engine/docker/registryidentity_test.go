package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/go-jose/go-jose/v4"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/containerapp/registries"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/docker"
	"github.com/latchkey/latchkey/internal/engine/enginetest"
	"github.com/latchkey/latchkey/internal/engine/enginetest/localengine"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/testkit/localregistry"
	"github.com/latchkey/latchkey/internal/token"
)

const pullTenant = "11111111-2222-3333-4444-555555555555"

// programImage is an image of the suite's program.
func programImage(t *testing.T, program string) v1.Image {
	t.Helper()
	binary, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	_ = w.WriteHeader(&tar.Header{Name: "program", Mode: 0o755, Size: int64(len(binary)), Typeflag: tar.TypeReg})
	_, _ = w.Write(binary)
	_ = w.Close()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Config.Entrypoint = "linux", runtime.GOARCH, []string{"/program"}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	return img
}

func TestImagesArePulledByIdentity(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *localengine.Daemon{"docker": localengine.Docker, "podman": localengine.Podman} {
		t.Run(name, func(t *testing.T) { pullByIdentity(t, start) })
	}
}

// pullByIdentity has an engine pull with what a registry gives for a token of an
// identity, first without the right to it.
func pullByIdentity(t *testing.T, start func(testing.TB) *localengine.Daemon) {
	const object = "aaaaaaaa-0000-0000-0000-000000000001"
	authority, err := token.New(token.Config{
		Store: memory.New(clock.Real{}), Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler), TenantID: pullTenant,
		Active: func(context.Context, string, int64) (string, error) { return "", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	r := localregistry.Start(t, localregistry.Config{Issuer: token.IssuerV1(pullTenant), Keys: func() (set jose.JSONWebKeySet, err error) {
		list, err := authority.JWKS(context.Background())
		if err != nil {
			return set, err
		}
		text, err := json.Marshal(map[string]any{"keys": list})
		if err != nil {
			return set, err
		}
		return set, json.Unmarshal(text, &set)
	}})
	conf := filepath.Join(t.TempDir(), "registries.conf") // podman wants to be told what Docker assumes of loopback addresses
	if err := os.WriteFile(conf, []byte("[[registry]]\nlocation = \""+r.Host+"\"\ninsecure = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
	d := start(t)
	binary := program(t)
	image := r.Push(t, "team/shop", programImage(t, binary))
	app := containerapp.App{Name: "app", UID: "u1"}
	app.Properties.Configuration = &containerapp.Configuration{Registries: []containerapp.Registry{{Server: r.Host, Identity: "system"}}}
	with := registries.New(registries.Config{
		Clock: clock.Real{}, App: func(context.Context, string) (containerapp.App, error) { return app, nil },
		Token: func(ctx context.Context, _ containerapp.App, _, audience string) (string, error) {
			made, err := authority.Mint(ctx, token.Claims{Audience: audience, ObjectID: object, AppID: object, Proof: token.ProofCertificate}, 0)
			return made.Raw, err
		},
	})
	b := &bed{d: d, identity: &enginetest.Provider{}}
	b.cl = d.Load(t, binary, testImage)
	b.Engine, err = docker.Open(t.Context(), docker.Config{Host: d.Host, Sidecar: docker.Sidecar{Binary: binary, Args: []string{"wait"}},
		Config: engine.Config{Installation: "pulls", Identity: b.identity, Registry: with, Clock: clock.Real{}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Remove(context.Background(), engine.Ref{App: "app", Revision: "rev"}); err != nil {
			t.Error(err)
		}
		_ = b.Close()
	})
	b.place(t, b.spec(image, "serve"))
	b.await(t, "the refusal", func(s engine.Status) bool { return s.Reason == engine.ReasonImageAuth })
	r.Allow(object, "team/shop")
	b.ready(t)
}
