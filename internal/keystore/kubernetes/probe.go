package kubernetes

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/kubeapi"
	"github.com/latchkey/latchkey/internal/problem"
)

var _ keystore.Prober = (*Store)(nil)

// reviews is where the API server says what the caller may do. Anybody may ask.
const reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

// Probe implements [keystore.Prober] by asking the API server. Keys are removed by
// changing the object, so that it is one permission; while there is no object it is
// that to create one. A folder has nothing to ask.
func (s *Store) Probe(ctx context.Context) []keystore.Permission {
	o, ok := s.backing.(*object)
	if !ok {
		return nil
	}
	now, err := o.get(ctx)
	if err != nil {
		return []keystore.Permission{{What: "write", Err: err}}
	}
	verb := "patch"
	if now.version == "" {
		verb = "create"
	}
	return []keystore.Permission{{What: "write (" + verb + ")", Err: o.may(ctx, verb)}}
}

// may asks whether a verb is permitted on the object. It returns problem.Unsupported
// when that is not said.
func (o *object) may(ctx context.Context, verb string) error {
	ctx, cancel := context.WithTimeout(ctx, kubeapi.Patience)
	defer cancel()
	ns, err := o.client.Namespace()
	if err != nil {
		return err
	}
	about := map[string]string{"namespace": ns, "verb": verb, "version": "v1", "resource": string(o.cfg.Kind)}
	if verb != "create" { // which is never about a name
		about["name"] = o.cfg.Name
	}
	body, _ := json.Marshal(map[string]any{ // of strings
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
		"spec": map[string]any{"resourceAttributes": about},
	})
	resp, err := o.client.send(ctx, request{method: http.MethodPost, path: reviews, form: "application/json", body: body})
	if err != nil {
		return problem.Wrap(problem.Unsupported, "the API server does not say what is permitted", err)
	}
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Status *struct {
			Allowed bool `json:"allowed"`
		} `json:"status"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil || answer.Status == nil {
		return problem.New(problem.Unsupported, "the API server does not say what is permitted")
	}
	if answer.Status.Allowed {
		return nil
	}
	return problem.New(problem.Denied, "the service account may not "+verb+" "+string(o.cfg.Kind)+" in namespace "+ns).
		WithNext("give it a role with the verb " + verb + " on " + string(o.cfg.Kind) + "; see docs/stores/kubernetes.md")
}
