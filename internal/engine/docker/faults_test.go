package docker_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/docker"
	"github.com/latchkey/latchkey/internal/engine/enginetest"
	"github.com/latchkey/latchkey/internal/engine/enginetest/localengine"
)

// bed is an engine on a daemon, with one installation.
type bed struct {
	*docker.Engine
	d        *localengine.Daemon
	cl       *client.Client
	identity *enginetest.Provider
	registry credentials
}

// credentials gives the same one to everybody.
type credentials struct{ c engine.Credential }

func (c *credentials) Credential(context.Context, engine.Ref, string) (engine.Credential, error) {
	return c.c, nil
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{d: localengine.Docker(t), identity: &enginetest.Provider{}}
	binary := program(t)
	b.cl = b.d.Load(t, binary, testImage)
	var err error
	b.Engine, err = docker.Open(t.Context(), docker.Config{Host: b.d.Host, Sidecar: docker.Sidecar{Binary: binary, Args: []string{"wait"}},
		Config: engine.Config{Installation: "faults", Identity: b.identity, Registry: &b.registry, Clock: clock.Real{}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Remove(context.Background(), engine.Ref{App: "app", Revision: "rev"}); err != nil {
			t.Error(err)
		}
		_ = b.Close()
	})
	return b
}

func (b *bed) spec(image string, args ...string) engine.Spec {
	return engine.Spec{Ref: engine.Ref{App: "app", Revision: "rev"}, Replicas: 1, Grace: time.Second, Ports: []engine.Port{{Number: enginetest.Port}},
		Main: []engine.Container{{Name: "main", Image: image, Args: args, CPU: 0.25, Memory: 64 << 20, Env: []engine.Env{{Name: "KEY", Value: "very-secret-value", Secret: true}}}}}
}

func (b *bed) await(t *testing.T, what string, done func(engine.Status) bool) engine.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	s, err := engine.Await(ctx, clock.Real{}, b, engine.Ref{App: "app", Revision: "rev"}, done)
	if err != nil {
		t.Fatalf("not seen: %s: %v %+v", what, err, s)
	}
	return s
}

func (b *bed) place(t *testing.T, s engine.Spec) {
	t.Helper()
	if err := b.Place(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

func (b *bed) ready(t *testing.T) engine.Status {
	t.Helper()
	return b.await(t, "a ready replica", func(s engine.Status) bool { return s.Ready == 1 && len(s.Replicas) == 1 })
}

func TestFaultsOfDocker(t *testing.T) {
	b := newBed(t)
	t.Run("why an image cannot be pulled", func(t *testing.T) { pullReasons(t, b) })
	t.Run("a command that is not there says so", func(t *testing.T) {
		s := b.spec(testImage)
		s.Main[0].Command = []string{"/none"}
		b.place(t, s)
		b.await(t, "the reason", func(s engine.Status) bool { return s.Reason == engine.ReasonCommand })
	})
	t.Run("labels and command lines have no secrets", func(t *testing.T) { noSecretsShown(t, b) })
	t.Run("a killed sidecar has the whole replica replaced", func(t *testing.T) { sidecarKilled(t, b) })
	t.Run("a killed engine comes back and everything with it", func(t *testing.T) { engineKilled(t, b) })
}

// pullReasons uses a registry that refuses, knows nothing, or is not there.
func pullReasons(t *testing.T, b *bed) {
	var asked string
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		w.Header().Set("Content-Type", "application/json")
		switch {
		case user+":"+password != "robot:right":
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`))
		case r.URL.Path == "/v2/":
		default:
			asked = r.URL.Path
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`))
		}
	}))
	defer registry.Close()
	host := strings.TrimPrefix(registry.URL, "http://")
	for _, one := range []struct {
		name  string
		image string
		with  engine.Credential
		want  engine.Reason
	}{
		{"wrong password", host + "/team/app:1", engine.Credential{Username: "robot", Password: "wrong"}, engine.ReasonImageAuth},
		{"no credential", host + "/team/app:1", engine.Credential{}, engine.ReasonImageAuth},
		{"no such tag", host + "/team/app:1", engine.Credential{Username: "robot", Password: "right"}, engine.ReasonImageName},
		{"no registry", "localhost:1/team/app:1", engine.Credential{}, engine.ReasonImageNetwork},
	} {
		b.registry.c = one.with
		s := b.spec(one.image)
		s.Generation = one.name
		b.place(t, s)
		st := b.await(t, one.name, func(s engine.Status) bool {
			return len(s.Replicas) == 1 && s.Replicas[0].Current && s.Reason != ""
		})
		if st.Reason != one.want || strings.Contains(st.Message, "wrong") || strings.Contains(st.Message, "right") {
			t.Errorf("%s: %s: %s", one.name, st.Reason, st.Message)
		}
	}
	if !strings.HasPrefix(asked, "/v2/team/app/manifests/") {
		t.Errorf("the registry was asked for %q", asked)
	}
}

func noSecretsShown(t *testing.T, b *bed) {
	b.place(t, b.spec(testImage, "serve"))
	st := b.ready(t)
	header := b.identity.Header(st.Replicas[0].Name, "main")
	all, err := b.cl.ContainerList(t.Context(), client.ContainerListOptions{All: true})
	if err != nil || len(all.Items) == 0 || header == "" {
		t.Fatal(all, err, header)
	}
	for _, c := range all.Items {
		shown := c.Command + strings.Join(c.Names, " ")
		for k, v := range c.Labels {
			shown += k + v
		}
		if strings.Contains(shown, "very-secret-value") || strings.Contains(shown, header) {
			t.Error(shown)
		}
	}
}

func sidecarKilled(t *testing.T, b *bed) {
	before := b.ready(t)
	objects, err := b.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if o.Role == engine.RoleSidecar {
			localengine.Kill(t, b.cl, o.ID)
		}
	}
	after := b.await(t, "the replica again", func(s engine.Status) bool {
		return s.Ready == 1 && restartsOf(s) > restartsOf(before)
	})
	if b.identity.Header(after.Replicas[0].Name, "main") == "" {
		t.Error("the new container has no identity")
	}
}

func restartsOf(s engine.Status) int {
	n := 0
	for _, r := range s.Replicas {
		for _, c := range r.Containers {
			n += c.Restarts
		}
	}
	return n
}

func engineKilled(t *testing.T, b *bed) {
	before := b.ready(t)
	b.d.Stop(syscall.SIGKILL)
	b.await(t, "that the engine is away", func(s engine.Status) bool {
		return len(s.Replicas) == 1 && s.Replicas[0].Reason == engine.ReasonEngine
	})
	b.d.Start(t)
	b.await(t, "the replica again", func(s engine.Status) bool { return s.Ready == 1 && restartsOf(s) > restartsOf(before) })
	objects, err := b.List(t.Context())
	if err != nil || len(objects) != 2 {
		t.Errorf("%+v %v", objects, err)
	}
}
