package platform

import (
	"context"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/scmapi"
)

// logsAction is what the record of reading an app's log says.
const logsAction = "Microsoft.Web/sites/logstream/read"

// logsWhere says whose lines a log has, where other nodes run the app too.
func (n *Node) logsWhere(_ context.Context, s scmapi.Site) string {
	var others []string
	for _, o := range n.statuses.of(s.Name) {
		others = append(others, o.Node)
	}
	if len(others) == 0 {
		return ""
	}
	return "These are lines of node " + n.cfg.Node + "; those of " + strings.Join(others, ", ") + " are at those nodes."
}

// auditLogs writes down who looks into an app's log.
func (n *Node) auditLogs(c *arm.Call, a app.App) {
	n.audit.Record(audit.Event{
		Category: audit.SecretRead, Action: logsAction, Scope: a.ID.String(), Outcome: "Succeeded", Status: http.StatusOK,
		Source: c.HTTP.RemoteAddr, CorrelationID: c.CorrelationID,
		Principal: audit.Principal{ObjectID: c.Caller.ObjectID, AppID: c.Caller.AppID, Name: c.Caller.Name},
	})
}
