package apps

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
)

// LookPath is the page with all that is worth a look.
const lookPath = page.Base + "look"

// Bounds of lists of concerns: on the first page, and on their own.
const (
	looksHome = 12
	looksPage = 50
)

// concern is something about an app that somebody should look at.
type concern struct {
	Kind         string `json:"kind"`
	Resource     string `json:"resourceId"`
	App          string
	Group        string `json:"resourceGroup"`
	Name         string
	KeyKind      string
	Function     string
	Node         string
	Why          string
	At           time.Time
	LastUsed     time.Time
	LastRefused  time.Time
	subscription string
}

// Text is the key of a text that says it.
func (c concern) Text() string { return "concern." + c.Kind }

// What names what it is about within the app.
func (c concern) What() string {
	if c.Function != "" {
		return c.Function + "/" + c.Name
	}
	return c.Name
}

// Bad reports whether something does not work already.
func (c concern) Bad() bool {
	switch c.Kind {
	case "keyEnds", "formerValueInUse", "referenceStale":
		return false
	}
	return true
}

// URL gives the page on which something can be done about it.
func (c concern) URL() string {
	if !strings.Contains(strings.ToLower(c.Resource), "/microsoft.web/sites/") {
		return strings.TrimSuffix(page.Base, "/") + client.Path("containers", c.Group, c.App)
	}
	a := place.App{Subscription: c.subscription, Group: c.Group, Name: c.App}
	switch c.Kind {
	case "referenceFails", "referenceStale":
		return a.URL("configuration")
	case "keysUnreadable":
		return a.URL("keystore")
	case "keyEnds", "keyEnded", "formerValueInUse":
		if c.Function != "" {
			return a.URL("functions", c.Function, "keys")
		}
		return a.URL("keys")
	}
	return a.URL()
}

// looks is what is worth a look, of all apps.
type looks struct {
	List     []concern
	Total    int
	Apps     int
	Complete bool
	Kinds    []kindCount
	Kind     string // that is shown; "" is all
	Next     string // address of the next page
	All      string // address of the page with all
	Again    string // address of this page
}

// More reports whether there is more than is shown.
func (l looks) More() bool { return l.Total > len(l.List) }

// kindCount is how many there are of a kind.
type kindCount struct {
	Text, URL string
	Count     int
	Current   bool
}

// kinds of concerns, the most pressing first.
var kinds = []string{"appFails", "revisionFails", "keysUnreadable", "referenceFails", "keyEnded", "formerValueInUse", "keyEnds", "referenceStale"}

// readLooks reads what is worth a look, as far as the viewer may know of it.
func readLooks(ctx context.Context, api *client.Client, subscription string, q url.Values) (l looks, err error) {
	q.Set("api-version", "2026-01-01")
	var answer struct {
		Value    []struct{ Properties concern }
		Total    int    `json:"totalRecords"`
		Next     string `json:"nextLink"`
		Apps     int
		Counts   map[string]int
		Complete bool
	}
	err = api.Do(ctx, http.MethodGet, client.Path("subscriptions", subscription, "providers", "Latchkey.Health", "concerns")+"?"+q.Encode(), nil, &answer)
	if err != nil {
		return l, err
	}
	l = looks{Total: answer.Total, Apps: answer.Apps, Complete: answer.Complete, Kind: q.Get("kind"), All: lookPath}
	for _, v := range answer.Value {
		c := v.Properties
		c.subscription = subscription
		l.List = append(l.List, c)
	}
	for _, kind := range kinds {
		if n := answer.Counts[kind]; n > 0 {
			l.Kinds = append(l.Kinds, kindCount{"kind." + kind, lookPath + "?kind=" + kind, n, kind == l.Kind})
		}
	}
	if next, err := url.Parse(answer.Next); err == nil && answer.Next != "" {
		l.Next = lookPath + "?" + url.Values{"kind": {l.Kind}, "after": {next.Query().Get("$skiptoken")}}.Encode()
	}
	return l, nil
}

// showLooks shows all that is worth a look.
func (p *pages) showLooks(v *page.Visit) error {
	asked := v.R.URL.Query()
	q := url.Values{"$top": {strconv.Itoa(looksPage)}}
	for from, to := range map[string]string{"kind": "kind", "after": "$skiptoken"} {
		if text := asked.Get(from); text != "" {
			q.Set(to, text)
		}
	}
	l, err := readLooks(v.Context(), v.API(), v.Site().SubscriptionID, q)
	if err != nil {
		return err
	}
	l.Again = lookPath + "?" + url.Values{"kind": {l.Kind}, "after": {asked.Get("after")}}.Encode()
	c := page.Content{Title: v.Text.Plain("home.attention"), Data: l, Live: true}
	if v.Partial() {
		return v.ShowPart(p.look, "looks", c, nil)
	}
	return v.Show(p.look, c)
}
