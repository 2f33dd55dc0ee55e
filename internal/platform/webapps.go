package platform

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/applog"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/functions"
	"github.com/latchkey/latchkey/internal/armapi/sites"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/platform/fleet"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
	"github.com/latchkey/latchkey/internal/resource"
)

// newSites makes the operations of Microsoft.Web.
func (n *Node) newSites() *sites.API {
	return sites.New(sites.Config{
		Apps: n.apps, TenantID: n.install.TenantID, SubscriptionID: n.install.SubscriptionID, Authorize: n.roles,
		Status: n.appStatus, Identities: n.identities, References: n.references, HostRuntime: n.hostRuntime, MasterKey: n.masterKey,
		SyncTriggers: func(ctx context.Context, a app.App) error {
			if running := n.fleet.Running(a.Name); running != nil {
				running.Instance().Restart("triggers were synced")
			}
			return nil
		},
		StoppedQuirk: n.stoppedQuirk(),
		Logs: sites.Logs{
			Node: n.cfg.Node, Of: func(a app.App) *applog.Log { return n.logs.Open(a.Name, a.UID) }, Opened: n.auditLogs,
		},
	})
}

// contentShare is the setting without which the platform cannot reach the files of
// an app.
const contentShare = "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING"

// stoppedQuirk reports which apps the platform would fail to read the logs'
// configuration of: those whose content share it cannot reach any more because they
// have been stopped for too long. It is nil unless the quirk is asked for.
func (n *Node) stoppedQuirk() func(context.Context, app.App) (bool, error) {
	if !n.cfg.StoppedTokenExpiry {
		return nil
	}
	return func(ctx context.Context, a app.App) (bool, error) {
		if a.State != app.Stopped {
			return false, nil
		}
		reports, err := n.references.Report(ctx, a, app.AppSettings)
		return slices.ContainsFunc(reports, func(r reference.Report) bool {
			return strings.EqualFold(r.Setting, contentShare) && r.Status == reference.AccessDenied
		}), err
	}
}

// newFunctions makes the operations on functions, keys and deployments.
func (n *Node) newFunctions() *functions.Provider {
	return functions.New(functions.Config{
		Apps: armApps{n}, Rings: n, Releases: n.releases, Deployer: n.deployer, AdminToken: n.adminToken, Found: n.found, KeyStores: n, KeyRecovery: n, KeyFinder: n,
	})
}

// appStatus gives how an app does on all nodes, this one first.
func (n *Node) appStatus(_ context.Context, a app.App) ([]sites.InstanceStatus, error) {
	var list []sites.InstanceStatus
	if st, known := n.fleet.Status(a.Name); known {
		list = append(list, shownStatus(n.cfg.Node, st))
	}
	for _, o := range n.statuses.of(a.Name) {
		list = append(list, shownStatus(o.Node, o.Status))
	}
	return list, nil
}

func shownStatus(node string, st fleet.Status) sites.InstanceStatus {
	errs := st.Errors
	if st.Pending {
		errs = append([]string{"a newer configuration does not serve yet; the one before it does"}, errs...)
	}
	if errs == nil {
		errs = []string{}
	}
	return sites.InstanceStatus{Node: node, State: st.State, Errors: errs, Since: st.Since, Release: st.Release}
}

func (n *Node) masterKey(ctx context.Context, a app.App) (string, error) {
	ring, err := n.ringOf(ctx, a)
	if err != nil {
		return "", err
	}
	keys, err := ring.List(ctx, keyring.MasterKey())
	if err != nil {
		return "", err
	}
	if len(keys) == 0 {
		return "", problem.New(problem.NotFound, "app "+a.Name+" has no master key")
	}
	return keys[0].Value, nil
}

// maxRelayed bounds answers of an app's host that are passed on.
const maxRelayed = 4 << 20

// hostRuntime passes a call on to the host of a running app, with its master key.
func (n *Node) hostRuntime(c *arm.Call, a app.App, path string) (arm.Reply, error) {
	key, err := n.masterKey(c.Context(), a)
	if err != nil {
		return arm.Reply{}, err
	}
	body, err := c.Body()
	if err != nil {
		return arm.Reply{}, err
	}
	req, err := http.NewRequestWithContext(c.Context(), c.HTTP.Method, "http://"+n.apps.Hosts(a.Name).App+path, bytes.NewReader(body))
	if err != nil {
		return arm.Reply{}, problem.Wrap(problem.Invalid, "the path cannot be passed on", err)
	}
	req.URL.RawQuery = withoutVersion(c.HTTP)
	req.Header.Set("Content-Type", c.HTTP.Header.Get("Content-Type"))
	req.Header.Set("x-functions-key", key)
	req.RequestURI, req.RemoteAddr = req.URL.RequestURI(), c.HTTP.RemoteAddr
	answer := &relayed{header: http.Header{}}
	if !n.fleet.Serve(a.Name, answer, req) {
		return arm.Reply{}, problem.New(problem.NotFound, "there is no app "+a.Name)
	}
	switch {
	case answer.cut:
		return arm.Reply{}, problem.New(problem.TooLarge, fmt.Sprintf("the host's answer is over the %d bytes that are passed on", maxRelayed)).
			WithNext("ask the app itself")
	case answer.status == 0:
		return arm.Reply{}, problem.New(problem.Unavailable, "the host did not answer")
	}
	return arm.Reply{Status: answer.status, Raw: answer.body.Bytes(), RawType: answer.header.Get("Content-Type")}, nil
}

func withoutVersion(r *http.Request) string {
	q := r.URL.Query()
	q.Del("api-version")
	return q.Encode()
}

// relayed is the answer of an app's host, in memory.
type relayed struct {
	header http.Header
	status int
	body   bytes.Buffer
	cut    bool // there was more
}

// Header implements http.ResponseWriter.
func (r *relayed) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *relayed) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
}

// Write implements http.ResponseWriter.
func (r *relayed) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	if r.body.Len()+len(p) > maxRelayed {
		r.cut = true
		return 0, io.ErrShortWrite
	}
	return r.body.Write(p)
}

// response gives the answer as one to a request.
func (r *relayed) response(to *http.Request) *http.Response {
	status := r.status
	if status == 0 {
		status = http.StatusOK
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.header, Body: io.NopCloser(bytes.NewReader(r.body.Bytes())), ContentLength: int64(r.body.Len()), Request: to,
	}
}

// armApps shows apps as the functions operations need them.
type armApps struct{ n *Node }

// App implements functions.Apps.
func (s armApps) App(ctx context.Context, id resource.ID) (functions.App, error) {
	a, err := s.n.apps.Get(ctx, id)
	if err != nil {
		return functions.App{}, err
	}
	settings, err := s.n.apps.SettingsOf(ctx, a)
	return functions.App{
		ID: a.ID, Name: a.Name, Location: a.Resource.Location, URL: s.n.apps.Hosts(a.Name).AppURL, Release: a.Release, Settings: settings,
	}, err
}

// SetSetting implements functions.Apps.
func (s armApps) SetSetting(ctx context.Context, id resource.ID, by, name string, value *string) error {
	_, err := s.n.apps.ChangeSettings(ctx, id, by, func(settings map[string]string) {
		maps.DeleteFunc(settings, func(have, _ string) bool { return strings.EqualFold(have, name) })
		if value != nil {
			settings[name] = *value
		}
	})
	return err
}
