package platform

import (
	"context"
	"net/http"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/applog"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/scmapi"
)

// newSCM makes the deployment endpoints of all apps.
func (n *Node) newSCM() http.Handler {
	return scmapi.New(scmapi.Config{
		Domain: n.names.domain, Sites: scmSites{n.apps}, Deployer: n.deployer, Releases: n.releases,
		Authenticate: n.scmCaller, Authorize: n.roles, Audit: n.auditSCM, Clock: n.cfg.Clock, Log: n.log,
		Logs: func(s scmapi.Site) *applog.Log { return n.logs.Open(s.Name, s.UID) }, Where: n.logsWhere,
	})
}

// scmSites shows apps as the deployment endpoints need them.
type scmSites struct{ apps *app.Apps }

// Site implements scmapi.Sites.
func (s scmSites) Site(ctx context.Context, name string) (scmapi.Site, error) {
	a, err := s.apps.ByName(ctx, name)
	if err != nil {
		return scmapi.Site{}, err
	}
	settings, _, err := s.apps.Settings(ctx, a.ID)
	if err != nil {
		return scmapi.Site{}, err
	}
	password, err := s.apps.Publishing(ctx, a.ID)
	if err != nil {
		return scmapi.Site{}, err
	}
	basic, err := s.apps.PasswordsAllowed(ctx, a.ID, app.PolicySCM)
	return scmapi.Site{
		ID: a.ID, Name: a.Name, UID: a.UID, Release: a.Release, Settings: settings, Password: password.Password, BasicAuth: basic,
	}, err
}

func (n *Node) auditSCM(ctx context.Context, e scmapi.AuditEntry) {
	event := audit.Event{
		Category: audit.Write, Action: scmapi.PublishAction, Scope: e.Site.String(), Principal: audit.Principal{ObjectID: e.Caller},
		Source: e.Remote, Status: e.Status, Outcome: outcome(e.Status), Details: map[string]string{"method": e.Method, "path": e.Path},
	}
	switch {
	case e.Denied != "":
		event.Category, event.Outcome, event.Reason = audit.Denied, "Denied", e.Denied
		n.audit.Record(event)
		return
	case e.Reads:
		event.Category, event.Action = audit.SecretRead, logsAction
		n.audit.Record(event)
		return
	}
	if err := n.audit.Append(ctx, event); err != nil {
		n.log.Error("a deployment could not be recorded", "app", e.App, "reason", err)
	}
}

func outcome(status int) string {
	if status >= 400 {
		return "Failed"
	}
	return "Succeeded"
}
