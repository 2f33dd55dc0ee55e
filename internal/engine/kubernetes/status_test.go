package kubernetes_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/kubernetes"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/memorycluster"
)

func TestWhyAContainerWaits(t *testing.T) {
	for _, c := range []struct {
		reason, message string
		want            engine.Reason
	}{
		{"ContainerCreating", "", ""},
		{"PodInitializing", "", ""},
		{"ErrImagePull", "failed to pull: registry.example/x:1: not found", engine.ReasonImageName},
		{"ImagePullBackOff", "Back-off pulling image: manifest unknown", engine.ReasonImageName},
		{"ErrImagePull", "failed to authorize: 401 Unauthorized", engine.ReasonImageAuth},
		{"ErrImagePull", "pull access denied", engine.ReasonImageAuth},
		{"ErrImagePull", "no match for platform in manifest", engine.ReasonImageInvalid},
		{"ErrImagePull", "dial tcp: i/o timeout", engine.ReasonImageNetwork},
		{"InvalidImageName", "", engine.ReasonImageInvalid},
		{"CrashLoopBackOff", "back-off 10s", engine.ReasonCrash},
		{"CreateContainerError", "no command specified", engine.ReasonCommand},
		{"CreateContainerConfigError", "secret not found", engine.ReasonOther},
	} {
		if got := kubernetes.ReasonOf(c.reason, c.message); got != c.want {
			t.Errorf("%s %q: %s, not %s", c.reason, c.message, got, c.want)
		}
	}
}

func TestKubeletsFindCredentialsByRepository(t *testing.T) {
	for image, want := range map[string]string{
		"nginx":                               "https://index.docker.io/v1/",
		"library/nginx:1":                     "https://index.docker.io/v1/",
		"docker.io/library/nginx":             "https://index.docker.io/v1/",
		"r.azurecr.io/a/b:1":                  "r.azurecr.io/a/b",
		"localhost:5000/a@sha256:00":          "localhost:5000/a",
		"localhost/a":                         "localhost/a",
		"r.example:443/a/b/c:tag@sha256:0123": "r.example:443/a/b/c",
	} {
		if got := kubernetes.RegistryKey(image); got != want {
			t.Errorf("%s: %s, not %s", image, got, want)
		}
	}
}

func TestExitCodesOfCommands(t *testing.T) {
	for text, want := range map[string]int{
		`{"status":"Success"}`: 0,
		`{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}`: 7,
	} {
		if got, err := kubernetes.ExitCode([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %d %v", text, got, err)
		}
	}
	if _, err := kubernetes.ExitCode([]byte(`{"status":"Failure","message":"no such file"}`)); engine.ReasonOf(err) != engine.ReasonCommand {
		t.Errorf("%v", err)
	}
	if _, err := kubernetes.ExitCode([]byte(`x`)); problem.KindOf(err) != problem.Unavailable {
		t.Errorf("%v", err)
	}
}

func FuzzExitCode(f *testing.F) {
	f.Add([]byte(`{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if code, err := kubernetes.ExitCode(text); err != nil && code != 0 {
			t.Errorf("%d %v", code, err)
		}
	})
}

// keeper is a registry whose answer changes.
type keeper struct{ answer atomic.Value }

type given struct {
	engine.Credential
	err error
}

func (k *keeper) Credential(context.Context, engine.Ref, string) (engine.Credential, error) {
	g := k.answer.Load().(given)
	return g.Credential, g.err
}

func TestCredentialsOfRegistries(t *testing.T) {
	s := memorycluster.Start(t)
	n := startNodes(t, s.Access())
	k := &keeper{}
	k.answer.Store(given{err: errors.New("s3cret is wrong")})
	cfg := config("pulls", nil)
	cfg.Registry = k
	e := open(t, s.Access(), cfg)
	defer func() { _ = e.Close() }()
	spec := full()
	place := func() {
		t.Helper()
		if err := e.Place(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	sees := func(what string, done func(engine.Status) bool) {
		t.Helper()
		eventually(t, what, func() bool { st, err := e.Observe(t.Context(), spec.Ref); return err == nil && done(st) })
	}
	place()
	sees("why", func(st engine.Status) bool {
		return st.Reason == engine.ReasonImageAuth && strings.Contains(st.Message, testImage)
	})
	k.answer.Store(given{Credential: engine.Credential{Token: "bearer"}})
	place()
	sees("that it cannot be", func(st engine.Status) bool {
		return st.Reason == engine.ReasonImageAuth && strings.Contains(st.Message, "bearer token")
	})
	pullSecret := func() string {
		for _, o := range n.list(core + "secrets") {
			if text(o, "type") == "kubernetes.io/dockerconfigjson" {
				return text(o, "data", ".dockerconfigjson")
			}
		}
		return ""
	}
	k.answer.Store(given{Credential: engine.Credential{Username: "u", Password: "1"}})
	place()
	eventually(t, "a credential", func() bool { return pullSecret() != "" })
	first := pullSecret()
	k.answer.Store(given{Credential: engine.Credential{Username: "u", Password: "2"}})
	place()
	eventually(t, "another one", func() bool { now := pullSecret(); return now != "" && now != first })
	k.answer.Store(given{err: errors.New("nobody answers")})
	second := pullSecret()
	place()
	sees("why", func(st engine.Status) bool { return st.Reason == engine.ReasonImageAuth })
	if now := n.list(apps + "deployments")[0]; pullSecret() != second || at(now, "spec", "template", "spec", "imagePullSecrets") == nil {
		t.Error("a registry that is away takes the last credential along")
	}
	k.answer.Store(given{})
	place()
	eventually(t, "none", func() bool { return pullSecret() == "" })
	ready(t, e, spec.Ref)
}
