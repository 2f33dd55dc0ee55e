package record

import (
	"errors"
	"net/url"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	mostSince = 50          // events that are looked at
	skew      = time.Second // by which clocks of nodes may differ
)

// Moment gives the present for a form, which tells with it since when something may
// have happened.
func Moment(v *page.Visit) string { return strconv.FormatInt(v.Site().Clock.Now().Unix(), 10) }

// Since gives what the audit record has about a scope since a form was made, the newest
// first. hidden is the key of a text that says why nothing of it can be seen: it is not
// for whoever is signed in, or cannot be read now; "" if it can.
func Since(v *page.Visit, scope, moment string) (events []Event, hidden string) {
	q := url.Values{"scope": {scope}, "$top": {strconv.Itoa(mostSince)}}
	if since, err := strconv.ParseInt(moment, 10, 64); err == nil && since > 0 {
		q.Set("from", time.Unix(since, 0).Add(-skew).UTC().Format(time.RFC3339))
	}
	var answer struct{ Value []Event }
	switch err := v.API().Get(v.Context(), api+"events?"+q.Encode(), &answer); {
	case errors.Is(err, problem.Denied):
		return nil, "changed.hidden"
	case err != nil:
		return nil, "changed.unread"
	}
	return answer.Value, ""
}
