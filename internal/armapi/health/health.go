// Package health serves Latchkey.Health, our own provider for what about apps
// somebody should look at. A caller sees of it what they could find out one by one:
// each kind needs the action of the operation that shows the same. It does not know
// how things to look at are found.
package health

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/concern"
	"github.com/latchkey/latchkey/internal/resource"
)

// Config is what the operations work with; all of it is required.
type Config struct {
	// Concerns gives the apps with something to look at, which must not be changed;
	// known is false until all were looked at.
	Concerns  func(ctx context.Context) (entries []*concern.Entry, known bool, err error)
	Authorize arm.Authorizer
}

// Provider has the operations.
type Provider struct{ cfg Config }

// New makes a provider.
func New(cfg Config) *Provider { return &Provider{cfg} }

// maxPage is the most concerns in one page.
const maxPage = 500

// Operations gives what is to be served. At whatever scope it is asked, the answer has
// what is within it and what the caller may know of.
func (p *Provider) Operations() []arm.Operation {
	return []arm.Operation{{
		Method: "GET", Pattern: "{scope}/providers/Latchkey.Health/concerns", Scope: 1, Action: arm.Open, Handler: p.list,
	}}
}

// Providers gives what the providers operations show of this package.
func Providers() []arm.Provider {
	return []arm.Provider{{Namespace: "Latchkey.Health", Types: []arm.ProviderType{{Name: "concerns", APIVersions: []string{"2026-01-01"}}}}}
}

// item is a concern as it is shown.
type item struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Type       string     `json:"type"`
	Properties properties `json:"properties"`
}

type properties struct {
	Kind     concern.Kind `json:"kind"`
	Resource string       `json:"resourceId"`
	App      string       `json:"app"`
	Group    string       `json:"resourceGroup"`
	Name     string       `json:"name,omitempty"` // of the key, setting or revision
	KeyKind  string       `json:"keyKind,omitempty"`
	Function string       `json:"function,omitempty"`
	Section  string       `json:"section,omitempty"` // of the setting
	Node     string       `json:"node,omitempty"`
	Why      string       `json:"why,omitempty"`
	Next     string       `json:"next,omitempty"`
	At       time.Time    `json:"at,omitzero"`
	LastUsed time.Time    `json:"lastUsed,omitzero"`
	Refused  time.Time    `json:"lastRefused,omitzero"`
}

// answer is a page of concerns, with what there is in all.
type answer struct {
	Value    []item               `json:"value"`
	NextLink *string              `json:"nextLink"`
	Total    int                  `json:"totalRecords"` // of all that the caller may know of
	Counts   map[concern.Kind]int `json:"counts"`       // likewise, by kind
	Apps     int                  `json:"apps"`         // that have any
	Complete bool                 `json:"complete"`     // all apps were looked at since the node was started
}

func (p *Provider) list(c *arm.Call) (arm.Reply, error) {
	wanted, err := kinds(c.Query.Get("kind"))
	if err != nil {
		return arm.Reply{}, err
	}
	most, err := c.Top(maxPage)
	if err != nil {
		return arm.Reply{}, err
	}
	after, err := c.SkipToken()
	if err != nil {
		return arm.Reply{}, err
	}
	entries, known, err := p.cfg.Concerns(c.Context())
	if err != nil {
		return arm.Reply{}, err
	}
	a := answer{Value: []item{}, Counts: map[concern.Kind]int{}, Complete: known}
	first := firsts{after: after, most: most + 1}
	for _, e := range entries {
		if !c.Scope.Contains(e.Resource) {
			continue
		}
		seen, err := p.seen(c, e, wanted)
		if err != nil {
			return arm.Reply{}, err
		}
		if a.add(e, seen) {
			first.take(e.Found, seen)
		}
	}
	for i, one := range first.list {
		if i == most {
			link := c.NextLink(first.list[i-1].Place)
			a.NextLink = &link
			break
		}
		a.Value = append(a.Value, show(*one))
	}
	return arm.OK(a), nil
}

// firsts picks the concerns that come first after a place.
type firsts struct {
	after string
	most  int
	list  []*concern.Concern // in order
}

// take takes concerns of one app, which are in order.
func (f *firsts) take(list []concern.Concern, seen map[concern.Kind]bool) {
	for i := range list {
		c := &list[i]
		full := len(f.list) == f.most
		if full && c.Place >= f.list[f.most-1].Place {
			return
		}
		if c.Place <= f.after || !seen[c.Kind] {
			continue
		}
		at, _ := slices.BinarySearchFunc(f.list, c, func(a, b *concern.Concern) int { return concern.Compare(*a, *b) })
		if full {
			f.list = f.list[:f.most-1]
		}
		f.list = slices.Insert(f.list, at, c)
	}
}

// kinds reads which kinds are asked for; nil is all.
func kinds(text string) (map[concern.Kind]bool, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	wanted := map[concern.Kind]bool{}
	for name := range strings.SplitSeq(text, ",") {
		i := slices.IndexFunc(concern.Kinds(), func(k concern.Kind) bool { return strings.EqualFold(string(k), strings.TrimSpace(name)) })
		if i < 0 {
			return nil, arm.Faultf(http.StatusBadRequest, "InvalidFilter", "There is no kind %.60q; these are: %v.", name, concern.Kinds())
		}
		wanted[concern.Kinds()[i]] = true
	}
	return wanted, nil
}

// add counts what is seen of an app and reports whether that is anything.
func (a *answer) add(e *concern.Entry, seen map[concern.Kind]bool) bool {
	any := false
	for kind := range seen {
		a.Total += e.Counts[kind]
		a.Counts[kind] += e.Counts[kind]
		any = any || e.Counts[kind] > 0
	}
	if any {
		a.Apps++
	}
	return any
}

// seen gives the kinds of an app's concerns that are wanted and that the caller may
// know of.
func (p *Provider) seen(c *arm.Call, e *concern.Entry, wanted map[concern.Kind]bool) (map[concern.Kind]bool, error) {
	seen, asked := map[concern.Kind]bool{}, map[string]bool{}
	for kind := range e.Counts {
		if wanted != nil && !wanted[kind] {
			continue
		}
		all := true
		for _, action := range actionsOf(kind, e.Resource) {
			allowed, known := asked[action]
			if known {
				all = all && allowed
				continue
			}
			d, err := p.cfg.Authorize.Allow(c.Context(), authz.Request{Principal: c.Caller.ObjectID, Groups: c.Caller.Groups, Action: action, Scope: e.Resource})
			if err != nil {
				return nil, err
			}
			all, asked[action] = all && d.Allowed, d.Allowed
		}
		if all {
			seen[kind] = true
		}
	}
	return seen, nil
}

// actionsOf gives the actions of what shows the same of one app. Keys that end are of the
// host and of functions, and counted together.
func actionsOf(kind concern.Kind, id resource.ID) []string {
	switch kind {
	case concern.ReferenceFails, concern.ReferenceStale:
		if strings.EqualFold(id.Type(), "Microsoft.Web/sites") {
			return []string{id.Type() + "/config/read"}
		}
	case concern.KeysUnreadable: // it says where the keys are
		return []string{id.Type() + "/host/keymetadata/read"}
	case concern.KeyEnded, concern.KeyEnds, concern.FormerInUse:
		return []string{id.Type() + "/host/keymetadata/read", id.Type() + "/functions/keymetadata/read"}
	}
	return []string{id.Type() + "/read"}
}

func idOf(c concern.Concern) string {
	return c.Resource.String() + "/providers/Latchkey.Health/concerns/" + c.ID()
}

func show(c concern.Concern) item {
	i := item{ID: idOf(c), Name: c.ID(), Type: "Latchkey.Health/concerns", Properties: properties{
		Kind: c.Kind, Resource: c.Resource.String(), App: c.Resource.Name(), Group: c.Resource.Group(), Name: c.Name, KeyKind: c.KeyKind, Function: c.Function,
		Section: c.Section, Why: c.Why, Next: c.Next, At: c.At.UTC(), LastUsed: c.LastUsed.UTC(), Refused: c.Refused.UTC(),
	}}
	if p := &i.Properties; c.Kind == concern.AppFails || c.Kind == concern.KeysUnreadable {
		p.Node, p.Section = p.Section, ""
	}
	return i
}
