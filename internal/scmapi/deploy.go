package scmapi

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/release"
	"github.com/latchkey/latchkey/internal/web"
)

// query reads a parameter, ignoring the case of its name.
func query(q url.Values, name string) string {
	for key, values := range q {
		if strings.EqualFold(key, name) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

func isTrue(s string) bool { return strings.EqualFold(s, "true") || s == "1" }

// zipDeploy takes a zip; the whole of it has arrived when it answers.
func (x *exchange) zipDeploy(_ string) error {
	q := x.r.URL.Query()
	if query(q, "packageUri") != "" || isJSON(x.r) {
		return problem.New(problem.Unsupported, "packages are not fetched from elsewhere").WithNext("send the zip itself as the body")
	}
	x.limitBody()
	meta := release.Meta{
		By: x.caller, Message: query(q, "message"), Author: query(q, "author"), Deployer: query(q, "deployer"),
	}
	if meta.Message == "" {
		meta.Message = "Created via a push deployment"
	}
	if meta.Deployer == "" {
		meta.Deployer = "ZipDeploy"
	}
	ctx := x.r.Context()
	if !isTrue(query(q, "isAsync")) {
		rel, err := x.api.cfg.Deployer.Deploy(ctx, x.site.Name, x.r.Body, meta)
		return x.accepted(rel, http.StatusOK, err)
	}
	rel, err := x.api.cfg.Deployer.DeployLater(ctx, x.site.Name, x.r.Body, meta)
	return x.accepted(rel, http.StatusAccepted, err)
}

// publish is zipDeploy of plans where the package can be built on arrival.
func (x *exchange) publish(id string) error {
	if isTrue(query(x.r.URL.Query(), "RemoteBuild")) {
		return problem.New(problem.Unsupported, "packages are not built on the server").
			WithNext("publish what was built on the client (func: --build local or --no-build)")
	}
	return x.zipDeploy(id)
}

// limitBody keeps a client that sends slowly from holding the app's turn.
func (x *exchange) limitBody() {
	control := http.NewResponseController(x.w)
	if err := control.SetReadDeadline(time.Now().Add(x.api.cfg.Receive)); err != nil {
		x.api.cfg.Log.Debug("no deadline for a package's arrival", "reason", err)
	}
}

func isJSON(r *http.Request) bool {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "application/json")
}

// accepted answers with the deployment's id, which clients of publish read.
func (x *exchange) accepted(rel release.Release, status int, err error) error {
	if err != nil {
		if status == http.StatusOK && x.r.Context().Err() != nil {
			return problem.New(problem.Timeout, "the client is gone")
		}
		return err
	}
	h := x.w.Header()
	h.Set("SCM-DEPLOYMENT-ID", rel.ID)
	if status == http.StatusAccepted {
		h.Set("Location", x.url("/api/deployments/latest"))
		h.Set("Retry-After", "1")
	}
	web.WriteJSON(x.w, status, rel.ID)
	return nil
}

// url gives an address on the host the client used.
func (x *exchange) url(path string) string { return "https://" + x.r.Host + path }

// redeploy makes an earlier deployment the active one.
func (x *exchange) redeploy(id string) error {
	rel, err := x.api.cfg.Deployer.Activate(x.r.Context(), x.site.Name, id, x.caller)
	if err != nil {
		return err
	}
	x.site.Release = rel.ID
	web.WriteJSON(x.w, http.StatusOK, x.deployment(rel, ""))
	return nil
}
