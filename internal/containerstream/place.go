package containerstream

import (
	"strings"

	"github.com/latchkey/latchkey/internal/resource"
)

// Kinds of streams.
const (
	KindLogs   = "logs"
	KindEvents = "events"
	KindExec   = "exec"
)

// place is what a path means.
type place struct {
	kind, subscription, group, app string
	revision, replica, container   string
}

// parse reads the path of a stream:
// /subscriptions/S/resourceGroups/G/containerApps/A/eventstream, or
// …/revisions/R/replicas/P/containers/C/logstream or exec.
func parse(path string) (p place, ok bool) {
	words := []*string{fixed("subscriptions"), &p.subscription, fixed("resourceGroups"), &p.group, fixed("containerApps"), &p.app}
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch last := strings.ToLower(parts[len(parts)-1]); {
	case last == "eventstream":
		p.kind, words = KindEvents, append(words, &parts[len(parts)-1])
	case last == "logstream" || last == "exec":
		if p.kind = KindExec; last == "logstream" {
			p.kind = KindLogs
		}
		words = append(words, fixed("revisions"), &p.revision, fixed("replicas"), &p.replica, fixed("containers"), &p.container, &parts[len(parts)-1])
	default:
		return p, false
	}
	if len(parts) != len(words) {
		return p, false
	}
	for i, w := range words {
		switch {
		case parts[i] == "":
			return p, false
		case *w == "":
			*w = parts[i]
		case !strings.EqualFold(*w, parts[i]):
			return p, false
		}
	}
	return p, true
}

func fixed(word string) *string { return &word }

// of reports whether the place is below an app.
func (p place) of(id resource.ID) bool {
	return strings.EqualFold(p.subscription, id.Subscription()) && strings.EqualFold(p.group, id.Group()) && strings.EqualFold(p.app, id.Name())
}
