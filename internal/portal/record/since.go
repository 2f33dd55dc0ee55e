package record

import (
	"net/url"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/portal/page"
)

const (
	mostSince = 50          // events that are looked at
	skew      = time.Second // by which clocks of nodes may differ
)

// Moment gives the present for a form, which tells with it since when something may
// have happened.
func Moment(v *page.Visit) string { return strconv.FormatInt(v.Site().Clock.Now().Unix(), 10) }

// Since gives what the audit record has about a scope since a form was made, the newest
// first. hidden says that the record is not for whoever is signed in.
func Since(v *page.Visit, scope, moment string) (events []Event, hidden bool) {
	q := url.Values{"scope": {scope}, "$top": {strconv.Itoa(mostSince)}}
	if since, err := strconv.ParseInt(moment, 10, 64); err == nil && since > 0 {
		q.Set("from", time.Unix(since, 0).Add(-skew).UTC().Format(time.RFC3339))
	}
	var answer struct{ Value []Event }
	if err := v.API().Get(v.Context(), api+"events?"+q.Encode(), &answer); err != nil {
		return nil, true
	}
	return answer.Value, false
}
