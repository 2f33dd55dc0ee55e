package apps

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/portal/record"
	"github.com/latchkey/latchkey/internal/problem"
)

// perPage is the number of apps on a page, and together of those that are asked
// after at a time.
const (
	perPage  = 25
	together = 4
)

// home is what the first page shows.
type home struct {
	Search     string
	Apps       []card
	Total      int
	From, To   int
	Back, Next string // addresses of the pages before and after
	Looks      looks
	Denials    []record.Event
	MayDenials bool
}

// card is an app in the list.
type card struct {
	Name, Group, URL, Host string
	State                  state
	Errors                 []string
	Requests               requests
}

func (p *pages) showHome(v *page.Visit) error {
	q := v.R.URL.Query()
	from, _ := strconv.Atoi(q.Get("from")) // what is no number is the beginning
	h := home{Search: strings.TrimSpace(q.Get("q")), From: max(from, 0)}
	if len(h.Search) > 100 {
		h.Search = h.Search[:100]
	}
	found, err := find(v, &h)
	if err != nil {
		return err
	}
	if err := h.read(v, found); err != nil {
		return err
	}
	h.pages()
	c := page.Content{Title: v.Text.Plain("home.title"), Notice: place.Notice(v, ""), Data: h, Live: true}
	if v.Partial() {
		return v.ShowPart(p.home, "apps", c, nil)
	}
	return v.Show(p.home, c)
}

// found is an app as a search answers it.
type found struct {
	Name  string
	Group string `json:"resourceGroup"`
}

// find searches the apps that whoever is signed in may see.
func find(v *page.Visit, h *home) ([]found, error) {
	query := "resources | where type =~ 'microsoft.web/sites'"
	if h.Search != "" {
		query += " and name contains '" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(h.Search) + "'"
	}
	query += " | project name, resourceGroup"
	var answer struct {
		Data  []found
		Total int `json:"totalRecords"`
	}
	err := v.API().Do(v.Context(), http.MethodPost, "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01", map[string]any{
		"subscriptions": []string{v.Site().SubscriptionID}, "query": query, "options": map[string]any{"$top": perPage, "$skip": h.From},
	}, &answer)
	h.Total = answer.Total
	return answer.Data, err
}

// read asks after the apps of the page, and after what is worth a look of all.
func (h *home) read(v *page.Visit, list []found) error {
	h.Apps = make([]card, len(list))
	group, ctx := errgroup.WithContext(v.Context())
	group.SetLimit(together)
	api := v.API()
	group.Go(func() (err error) {
		h.Looks, err = readLooks(ctx, api, v.Site().SubscriptionID, url.Values{"$top": {strconv.Itoa(looksHome)}})
		return err
	})
	group.Go(func() (err error) {
		if h.Denials, err = denials(v, ""); errors.Is(err, problem.Denied) {
			return nil
		}
		h.MayDenials = err == nil
		return err
	})
	for i, f := range list {
		group.Go(func() (err error) {
			h.Apps[i], err = readCard(ctx, api, place.App{Subscription: v.Site().SubscriptionID, Group: f.Group, Name: f.Name})
			return err
		})
	}
	return group.Wait()
}

func readCard(ctx context.Context, api *client.Client, a place.App) (card, error) {
	c := card{Name: a.Name, Group: a.Group, URL: a.URL(), State: state{"state.unknown", ""}, Requests: requests{Hidden: true}}
	var s site
	err := api.Get(ctx, a.Path(), &s)
	if errors.Is(err, problem.NotFound) || errors.Is(err, problem.Denied) { // gone since, or not for this one to see
		return c, nil
	}
	if err != nil {
		return c, err
	}
	c.Name, c.State, c.Host = s.Name, s.state(), s.url()
	for _, i := range s.Properties.Latchkey.Instances {
		c.Errors = append(c.Errors, i.Errors...)
	}
	c.Requests, err = readRequests(ctx, api, a, small)
	return c, err
}

// pages finds the pages before and after.
func (h *home) pages() {
	at := func(from int) string {
		return page.Home + "?" + url.Values{"q": {h.Search}, "from": {strconv.Itoa(from)}}.Encode()
	}
	if h.From > 0 {
		h.Back = at(max(h.From-perPage, 0))
	}
	if h.To = h.From + len(h.Apps); h.To < h.Total {
		h.Next = at(h.To)
	}
}

// maxDenials is the number of denials on the first page.
const maxDenials = 5

// denials reads the newest about what is at a scope, "" for everything.
func denials(v *page.Visit, scope string) ([]record.Event, error) {
	q := url.Values{"category": {"Denied"}, "$top": {strconv.Itoa(maxDenials)}}
	if scope != "" {
		q.Set("scope", scope)
	}
	var answer struct{ Value []record.Event }
	err := v.API().Get(v.Context(), "/providers/Latchkey.Audit/events?"+q.Encode(), &answer)
	return answer.Value, err
}
