package kubernetes

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// pulls asks the registry for the credentials of all images and gives the Secret that
// kubelets pull with; none if everything is pulled anonymously. What is short-lived is
// asked for again with each resync.
func (r *revision) pulls(ctx context.Context, s engine.Spec) (w wanted, any bool, err error) {
	if r.e.cfg.Registry == nil {
		return wanted{}, false, nil
	}
	auths, asked := fields{}, map[string]bool{}
	s.Containers(func(_ engine.Role, c engine.Container) {
		if asked[c.Image] || err != nil {
			return
		}
		asked[c.Image] = true
		var with engine.Credential
		if with, err = r.e.cfg.Registry.Credential(ctx, s.Ref, c.Image); err != nil {
			if engine.ReasonOf(err) == engine.ReasonOther {
				err = engine.Fail(engine.ReasonImageAuth, problem.Wrap(problem.Denied, "there is no credential for image "+c.Image, err))
			}
			return
		}
		switch {
		case with.Token != "":
			err = engine.Fail(engine.ReasonImageAuth, problem.New(problem.Unsupported, "image "+c.Image+" needs a bearer token, which kubelets do not take").
				WithNext("let the registry's credential be a user name and a password"))
		case with.Username != "" || with.Password != "":
			auths[registryKey(c.Image)] = map[string]string{"username": with.Username, "password": with.Password}
		}
	})
	if err != nil || len(auths) == 0 {
		return wanted{}, false, err
	}
	text, err := json.Marshal(fields{"auths": auths})
	return secretOf(r.meta(r.pullName(), nil), "kubernetes.io/dockerconfigjson", map[string][]byte{".dockerconfigjson": text}), true, err
}

func (r *revision) pullName() string { return r.base + "-pull" }

// registryKey gives what a kubelet looks up for an image: its repository, so that
// images of one registry can have different credentials.
func registryKey(image string) string {
	name, _, _ := strings.Cut(image, "@")
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name = name[:i]
	}
	host, _, more := strings.Cut(name, "/")
	if !more || !strings.ContainsAny(host, ".:") && host != "localhost" || host == "docker.io" || host == "index.docker.io" {
		return "https://index.docker.io/v1/"
	}
	return name
}
