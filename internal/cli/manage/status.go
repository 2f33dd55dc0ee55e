package manage

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/problem"
)

// Status is what is worth a look of all apps. Its JSON form is what commands print, a
// contract.
type Status struct {
	Total    int            `json:"total"`  // of all that whoever asks may know of
	Apps     int            `json:"apps"`   // that have any
	Counts   map[string]int `json:"counts"` // by kind
	Complete bool           `json:"complete"`
	Concerns []Concern      `json:"concerns"`
}

// Concern is one thing to look at.
type Concern struct {
	Kind     string    `json:"kind"`
	Resource string    `json:"resourceId"`
	App      string    `json:"app"`
	Group    string    `json:"resourceGroup"`
	Name     string    `json:"name,omitempty"` // of the key, setting or revision
	KeyKind  string    `json:"keyKind,omitempty"`
	Function string    `json:"function,omitempty"`
	Section  string    `json:"section,omitempty"`
	Node     string    `json:"node,omitempty"`
	Why      string    `json:"why,omitempty"`
	Next     string    `json:"next,omitempty"`
	At       time.Time `json:"at,omitzero"`
	LastUsed time.Time `json:"lastUsed,omitzero"`
	Refused  time.Time `json:"lastRefused,omitzero"`
}

// Fails reports whether something does not work already.
func (c Concern) Fails() bool {
	switch c.Kind {
	case "keyEnds", "formerValueInUse", "referenceStale":
		return false
	}
	return true
}

// Status gives what is worth a look, of kinds only if some are named, and of one app
// only if one is, by name or id; problem.NotFound if there is none of that name.
func (i *Installation) Status(ctx context.Context, app string, kinds []string) (Status, error) {
	scope, err := i.subscriptionPath(ctx)
	if app != "" && err == nil {
		scope, err = i.scopeOf(ctx, app)
	}
	if err != nil {
		return Status{}, err
	}
	whole := Status{Concerns: []Concern{}}
	path := query(scope+"/providers/Latchkey.Health/concerns", "api-version", "2026-01-01", "kind", strings.Join(kinds, ","))
	for path != "" {
		var page struct {
			Value []struct {
				Properties Concern `json:"properties"`
			} `json:"value"`
			Next     string         `json:"nextLink"`
			Total    int            `json:"totalRecords"`
			Apps     int            `json:"apps"`
			Counts   map[string]int `json:"counts"`
			Complete bool           `json:"complete"`
		}
		if err := i.get(ctx, path, &page); err != nil {
			return Status{}, err
		}
		whole.Total, whole.Apps, whole.Counts, whole.Complete = page.Total, page.Apps, page.Counts, page.Complete
		for _, v := range page.Value {
			whole.Concerns = append(whole.Concerns, v.Properties)
		}
		path = page.Next
	}
	return whole, nil
}

// scopeOf gives the path of an app or, if there is none of that name, a container app.
func (i *Installation) scopeOf(ctx context.Context, name string) (string, error) {
	if strings.HasPrefix(name, "/") {
		return idPath(name), nil
	}
	a, err := i.App(ctx, name)
	if !errors.Is(err, problem.NotFound) {
		return idPath(a.ID), err
	}
	sub, bad := i.subscriptionPath(ctx)
	if bad != nil {
		return "", bad
	}
	type app struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	list, bad := armclient.List[app](ctx, i.client, sub+"/providers/Microsoft.App/containerApps")
	for _, c := range list {
		if strings.EqualFold(c.Name, name) {
			return idPath(c.ID), nil
		}
	}
	if bad != nil {
		return "", bad
	}
	return "", err
}
