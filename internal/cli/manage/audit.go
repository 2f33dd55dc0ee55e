package manage

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/clock"
)

const auditPath = "/providers/Latchkey.Audit/"

// Events says which events of the audit record to list.
type Events struct {
	Since     time.Time
	Denied    bool   // refusals only
	Principal string // object id or client id
	Scope     string // a resource id: events about it and what lies in it
	Most      int    // events, the newest; 0 is all
}

func (e Events) path(order string) string {
	since, category := "", ""
	if !e.Since.IsZero() {
		since = e.Since.UTC().Format(time.RFC3339Nano)
	}
	if e.Denied {
		category = string(audit.Denied)
	}
	return query(auditPath+"events", "from", since, "category", category, "principal", e.Principal, "scope", e.Scope, "order", order, "$top", "500")
}

// Events lists events, the oldest first.
func (i *Installation) Events(ctx context.Context, e Events) ([]audit.Entry, error) {
	list := []audit.Entry{}
	for path := e.path("newest"); path != "" && (e.Most == 0 || len(list) < e.Most); {
		page, next, err := i.eventPage(ctx, path)
		if err != nil {
			return nil, err
		}
		list, path = append(list, page...), next
	}
	if e.Most > 0 && len(list) > e.Most {
		list = list[:e.Most]
	}
	slices.Reverse(list)
	return list, nil
}

func (i *Installation) eventPage(ctx context.Context, path string) ([]audit.Entry, string, error) {
	var page struct {
		Value []audit.Entry `json:"value"`
		Next  string        `json:"nextLink"`
	}
	err := i.get(ctx, path, &page)
	return page.Value, page.Next, err
}

// overlap is how far back each look for new events reaches: the clocks of nodes
// differ, so that a later event can have an earlier time.
const overlap = 10 * time.Second

// FollowEvents gives events that come after a known one to show, as they happen,
// until ctx ends, which is no error.
func (i *Installation) FollowEvents(ctx context.Context, c clock.Clock, e Events, last audit.Entry, show func([]audit.Entry) error) error {
	for {
		if !last.Time.IsZero() {
			e.Since = last.Time.Add(-overlap)
		}
		for path := e.path("oldest"); path != ""; {
			page, next, err := i.eventPage(ctx, path)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			fresh := slices.DeleteFunc(page, func(n audit.Entry) bool { return n.Sequence <= last.Sequence })
			if len(fresh) > 0 {
				last = fresh[len(fresh)-1]
				if err := show(fresh); err != nil {
					return err
				}
			}
			path = next
		}
		if clock.Sleep(ctx, c, time.Second) != nil {
			return nil
		}
	}
}

// VerifyAudit has the server check the chain of its audit record.
func (i *Installation) VerifyAudit(ctx context.Context) (audit.Report, error) {
	var r audit.Report
	err := i.post(ctx, auditPath+"verify", nil, &r)
	return r, err
}

// ExportAudit writes the whole audit record to w.
func (i *Installation) ExportAudit(ctx context.Context, w io.Writer) error {
	_, err := i.client.Send(ctx, armclient.Request{Method: http.MethodGet, Path: auditPath + "export", Out: w})
	return err
}

// Backup writes a backup of the installation to w.
func (i *Installation) Backup(ctx context.Context, w io.Writer) error {
	_, err := i.client.Send(ctx, armclient.Request{Method: http.MethodPost, Path: "/providers/Latchkey.Platform/backup", Out: w})
	return err
}

// Faults puts a report's faults into words.
func Faults(r audit.Report) []string {
	var list []string
	for _, f := range r.Faults {
		where := strconv.FormatUint(f.From, 10)
		if f.Through != f.From {
			where += " to " + strconv.FormatUint(f.Through, 10)
		}
		list = append(list, strings.ToLower(string(f.Kind))+": event "+where)
	}
	return list
}
