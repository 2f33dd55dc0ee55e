package platform

import (
	"context"
	"strings"

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
