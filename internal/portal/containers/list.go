package containers

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
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	perPage  = 25
	together = 8    // calls at a time
	most     = 1000 // items of a list that are looked at
)

// list is what the list of apps shows.
type list struct {
	Search     string
	From, To   int
	Total      int
	Back, Next string
	Apps       []card
}

// card is an app in the list.
type card struct {
	Name, Group, URL string
	State            state
	Revision         string
	Replicas         int
	Known            bool // the number of replicas
	Address          string
}

func (p *pages) showList(v *page.Visit) error {
	q := v.R.URL.Query()
	l := list{Search: strings.TrimSpace(q.Get("q"))}
	if l.From, _ = strconv.Atoi(q.Get("from")); l.From < 0 { // what is no number is the beginning
		l.From = 0
	}
	found, err := l.find(v)
	if err == nil {
		err = l.read(v, found)
	}
	if err != nil {
		return err
	}
	l.pages()
	return v.Show(p.list, page.Content{Title: v.Text.Plain("containers.title"), Data: l, Live: true})
}

type found struct {
	Name  string
	Group string `json:"resourceGroup"`
}

// find searches the apps that whoever is signed in may see.
func (l *list) find(v *page.Visit) ([]found, error) {
	query := "resources | where type =~ 'microsoft.app/containerapps'"
	if l.Search != "" {
		query += " and name contains '" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(l.Search) + "'"
	}
	var answer struct {
		Data  []found
		Total int `json:"totalRecords"`
	}
	err := v.API().Do(v.Context(), http.MethodPost, "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01", map[string]any{
		"subscriptions": []string{v.Site().SubscriptionID}, "query": query + " | project name, resourceGroup", "options": map[string]any{"$top": perPage, "$skip": l.From},
	}, &answer)
	l.Total = answer.Total
	return answer.Data, err
}

func (l *list) read(v *page.Visit, list []found) error {
	l.Apps = make([]card, len(list))
	group, ctx := errgroup.WithContext(v.Context())
	group.SetLimit(together)
	api := v.API()
	for i, f := range list {
		group.Go(func() (err error) {
			l.Apps[i], err = readCard(ctx, api, at{v.Site().SubscriptionID, f.Group, f.Name})
			return err
		})
	}
	return group.Wait()
}

func readCard(ctx context.Context, api *client.Client, a at) (card, error) {
	c := card{Name: a.Name, Group: a.Group, URL: a.URL(), State: state{"state.unknown", ""}}
	var x app
	err := api.Get(ctx, a.path(), &x)
	if unseen(err) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	c.State, c.Revision, c.Address = x.state(), x.Properties.Latest, x.url()
	revisions, _, err := client.List[revision](ctx, api, a.path("revisions"), most)
	if unseen(err) {
		return c, nil
	}
	for _, r := range revisions {
		c.Replicas += r.Properties.Replicas
	}
	c.Known = err == nil
	return c, err
}

// unseen reports whether something is not there any more or not for this viewer.
func unseen(err error) bool {
	return errors.Is(err, problem.NotFound) || errors.Is(err, problem.Denied)
}

// pages finds the pages before and after.
func (l *list) pages() {
	to := func(from int) string {
		return List + "?" + url.Values{"q": {l.Search}, "from": {strconv.Itoa(from)}}.Encode()
	}
	if l.From > 0 {
		l.Back = to(max(l.From-perPage, 0))
	}
	if l.To = l.From + len(l.Apps); l.To < l.Total {
		l.Next = to(l.To)
	}
}
