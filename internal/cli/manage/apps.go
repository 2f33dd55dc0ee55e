package manage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// SiteType is the resource type of apps.
const SiteType = "Microsoft.Web/sites"

// App is a function app. Its JSON form is what commands print, a contract.
type App struct {
	Name          string     `json:"name"`
	ID            string     `json:"id"`
	ResourceGroup string     `json:"resourceGroup"`
	State         string     `json:"state"` // Running or Stopped, as is wanted
	URL           string     `json:"url"`
	Release       string     `json:"release,omitempty"` // the active one
	Instances     []Instance `json:"instances"`
}

// Instance is how an app does on a node.
type Instance struct {
	Node    string    `json:"node"`
	State   string    `json:"state"`
	Errors  []string  `json:"errors,omitempty"`
	Release string    `json:"release,omitempty"` // that is being served, if the server says so
	Since   time.Time `json:"since,omitzero"`
}

// site is an app on the wire.
type site struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Properties struct {
		State    string `json:"state"`
		Host     string `json:"defaultHostName"`
		Latchkey struct {
			Instances []Instance `json:"instances"`
			Release   string     `json:"release"`
		} `json:"latchkey"`
	} `json:"properties"`
}

func (s site) app() App {
	a := App{Name: s.Name, ID: s.ID, State: s.Properties.State, Release: s.Properties.Latchkey.Release, Instances: s.Properties.Latchkey.Instances}
	if id, err := resource.Parse(s.ID); err == nil {
		a.ResourceGroup = id.Group()
	}
	if s.Properties.Host != "" {
		a.URL = "http://" + s.Properties.Host
	}
	if a.Instances == nil {
		a.Instances = []Instance{}
	}
	return a
}

// Apps lists the apps there are, or those of a resource group, by name.
func (i *Installation) Apps(ctx context.Context, group string) ([]App, error) {
	path, err := i.subscriptionPath(ctx)
	if err != nil {
		return nil, err
	}
	if group != "" {
		path += "/resourceGroups/" + url.PathEscape(group)
	}
	sites, err := armclient.List[site](ctx, i.client, path+"/providers/"+SiteType)
	if err != nil {
		return nil, err
	}
	apps := make([]App, len(sites))
	for n, s := range sites {
		apps[n] = s.app()
	}
	sort.Slice(apps, func(a, b int) bool { return strings.ToLower(apps[a].Name) < strings.ToLower(apps[b].Name) })
	return apps, nil
}

// App finds an app by its name or its whole id. problem.NotFound says which apps
// there are.
func (i *Installation) App(ctx context.Context, name string) (App, error) {
	if strings.HasPrefix(name, "/") {
		return i.appByID(ctx, name)
	}
	apps, err := i.Apps(ctx, "")
	if errors.Is(err, problem.Denied) {
		return App{}, problem.Wrap(problem.Denied, "apps cannot be found by name without the right to list them", err).
			WithNext("name the app by its whole id: /subscriptions/…/providers/" + SiteType + "/NAME")
	}
	if err != nil {
		return App{}, err
	}
	var names []string
	for _, a := range apps {
		if strings.EqualFold(a.Name, name) {
			return i.appByID(ctx, a.ID)
		}
		names = append(names, a.Name)
	}
	missing := problem.New(problem.NotFound, fmt.Sprintf("there is no app %.100q", name))
	if i.isContainerApp(ctx, name) {
		return App{}, missing.WithNext("there is a container app of that name: see latchkey containerapp --help, and latchkey containerapp identity --help for its identities")
	}
	if len(names) == 0 {
		return App{}, missing.WithNext("there are no apps; latchkey app create makes one")
	}
	return App{}, missing.WithNext("the apps there are: " + strings.Join(names, ", "))
}

// isContainerApp reports whether there is a container app of the name. What cannot be
// found out is no.
func (i *Installation) isContainerApp(ctx context.Context, name string) bool {
	path, err := i.subscriptionPath(ctx)
	if err != nil {
		return false
	}
	list, err := armclient.List[site](ctx, i.client, path+"/providers/Microsoft.App/containerApps")
	return err == nil && slices.ContainsFunc(list, func(s site) bool { return strings.EqualFold(s.Name, name) })
}

func (i *Installation) appByID(ctx context.Context, text string) (App, error) {
	id, err := resource.Parse(text)
	if err != nil {
		return App{}, err
	}
	if !strings.EqualFold(id.Type(), SiteType) {
		return App{}, problem.New(problem.Invalid, fmt.Sprintf("%.200q is not the id of an app", text)).
			WithNext("write it as /subscriptions/ID/resourceGroups/GROUP/providers/" + SiteType + "/NAME")
	}
	var s site
	err = i.get(ctx, idPath(id.String()), &s)
	return s.app(), err
}

// NewApp says what app to create.
type NewApp struct {
	Name     string
	Group    string // made if it is missing
	Location string
	Settings map[string]string
}

// CreateApp creates an app. problem.Exists if there is one of that name.
func (i *Installation) CreateApp(ctx context.Context, n NewApp) (App, error) {
	group, err := i.ensureGroup(ctx, n.Group, n.Location)
	if err != nil {
		return App{}, err
	}
	settings := []map[string]string{}
	for name, value := range n.Settings {
		settings = append(settings, map[string]string{"name": name, "value": value})
	}
	body := map[string]any{
		"location": n.Location, "kind": "functionapp,linux",
		"properties": map[string]any{"siteConfig": map[string]any{"appSettings": settings}},
	}
	var s site
	path := group + "/providers/" + SiteType + "/" + url.PathEscape(n.Name)
	answer, err := i.client.Exchange(ctx, armclient.Request{Method: http.MethodPut, Path: path, IfAbsent: true}, body, &s)
	if answer.Status == http.StatusPreconditionFailed || answer.Status == http.StatusConflict {
		return App{}, problem.New(problem.Exists, fmt.Sprintf("there is an app %q already", n.Name)).
			WithNext("choose another name, or change that one with latchkey app settings and latchkey app deploy")
	}
	return s.app(), err
}

// ensureGroup makes a resource group unless it is there, and gives its path.
func (i *Installation) ensureGroup(ctx context.Context, name, location string) (string, error) {
	path, err := i.subscriptionPath(ctx)
	if err != nil {
		return "", err
	}
	path += "/resourceGroups/" + url.PathEscape(name)
	err = i.get(ctx, path, nil)
	if errors.Is(err, problem.NotFound) {
		err = i.client.Do(ctx, http.MethodPut, path, map[string]any{"location": location}, nil)
	}
	return path, err
}

// Act starts, stops or restarts an app; action is that word.
func (i *Installation) Act(ctx context.Context, a App, action string) error {
	return i.post(ctx, idPath(a.ID)+"/"+action, nil, nil)
}

// DeleteApp deletes an app with its releases, settings and keys.
func (i *Installation) DeleteApp(ctx context.Context, a App) error {
	return i.client.Do(ctx, http.MethodDelete, idPath(a.ID), nil, nil)
}
