// Package containerapps owns what the commands about container apps do through the
// management API: finding apps and environments, changing what an app is the way
// other clients do (read it, change it, put it back), waiting for what comes of
// it, and reading its streams. It does not know commands, flags or how results are
// shown, and has no rules of its own about what the API accepts.
package containerapps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

const (
	version = "?api-version=2025-07-01"
	// putTries bounds how often a change is made anew because others change the
	// same app.
	putTries = 20
)

// Client calls the management API about container apps.
type Client struct {
	arm *armclient.Client
	sub string
}

// New makes a client for a subscription.
func New(arm *armclient.Client, subscriptionID string) *Client { return &Client{arm, subscriptionID} }

// App is a container app as the API shows it.
type App struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Kind       string            `json:"kind,omitempty"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags,omitempty"`
	Identity   *Identity         `json:"identity,omitempty"`
	Properties Properties        `json:"properties"`

	// Group is the resource group, FQDN the host name with the port, "" without
	// ingress, and Shown the whole document.
	Group string          `json:"-"`
	FQDN  string          `json:"-"`
	Shown json.RawMessage `json:"-"`

	etag string
}

// URL gives where the app answers; "" without ingress.
func (a App) URL() string {
	if a.FQDN == "" {
		return ""
	}
	return "http://" + a.FQDN
}

// Properties are those that can be set, and what the API tells.
type Properties struct {
	containerapp.Properties
	State       string `json:"provisioningState,omitempty"`
	Running     string `json:"runningStatus,omitempty"`
	Latest      string `json:"latestRevisionName,omitempty"`
	LatestReady string `json:"latestReadyRevisionName,omitempty"`
	Events      string `json:"eventStreamEndpoint,omitempty"`
	Errors      string `json:"deploymentErrors,omitempty"`
	Scaling     struct {
		Error string `json:"error"`
		Rules []struct {
			Name  string `json:"name"`
			Error string `json:"error"`
		} `json:"rules"`
	} `json:"scaling,omitzero"`
}

// ScaleProblem tells what is wrong with the scale rules; "" for nothing.
func (p Properties) ScaleProblem() string {
	var all []string
	for _, r := range p.Scaling.Rules {
		if r.Error != "" {
			all = append(all, r.Error)
		}
	}
	if p.Scaling.Error != "" {
		all = append(all, p.Scaling.Error)
	}
	return strings.Join(all, "; ")
}

// Identity is which identities an app has.
type Identity struct {
	Type        string                  `json:"type"`
	PrincipalID string                  `json:"principalId,omitempty"`
	TenantID    string                  `json:"tenantId,omitempty"`
	Users       map[string]UserIdentity `json:"userAssignedIdentities,omitempty"`
}

// UserIdentity is an identity that was assigned.
type UserIdentity struct {
	PrincipalID string `json:"principalId,omitempty"`
	ClientID    string `json:"clientId,omitempty"`
}

// GroupPath gives the id of a resource group.
func (c *Client) GroupPath(group string) string {
	return resource.Group(c.sub, group).String()
}

// AppID gives the id of an app.
func (c *Client) AppID(group, name string) string {
	return c.GroupPath(group) + "/providers/" + containerapp.Type + "/" + name
}

// EnvironmentID gives the id of an environment.
func (c *Client) EnvironmentID(group, name string) string {
	return c.GroupPath(group) + "/providers/" + containerapp.EnvironmentType + "/" + name
}

// Apps lists the apps there are, or those of a group, by name.
func (c *Client) Apps(ctx context.Context, group string) ([]App, error) {
	raw, err := c.list(ctx, group, containerapp.Type)
	if err != nil {
		return nil, err
	}
	apps := make([]App, len(raw))
	for i, text := range raw {
		if apps[i], err = readApp(text); err != nil {
			return nil, err
		}
	}
	sort.Slice(apps, func(i, j int) bool { return strings.ToLower(apps[i].Name) < strings.ToLower(apps[j].Name) })
	return apps, nil
}

// App finds an app by its name, in a group if one is said, or by its whole id.
// problem.NotFound says which apps there are.
func (c *Client) App(ctx context.Context, name, group string) (App, error) {
	if strings.HasPrefix(name, "/") {
		return c.get(ctx, name)
	}
	if group != "" {
		a, err := c.get(ctx, c.AppID(group, name))
		if errors.Is(err, problem.NotFound) {
			err = problem.New(problem.NotFound, fmt.Sprintf("there is no container app %.100q in group %.100q", name, group)).WithNext("latchkey containerapp list shows which there are")
		}
		return a, err
	}
	apps, err := c.Apps(ctx, "")
	if errors.Is(err, problem.Denied) {
		return App{}, problem.Wrap(problem.Denied, "container apps cannot be found by name without the right to list them", err).WithNext("say --resource-group, or name the app by its whole id")
	}
	if err != nil {
		return App{}, err
	}
	var found, names []string
	for _, a := range apps {
		if names = append(names, a.Name); strings.EqualFold(a.Name, name) {
			found = append(found, a.ID)
		}
	}
	switch {
	case len(found) == 1:
		return c.get(ctx, found[0])
	case len(found) > 1:
		return App{}, problem.New(problem.Invalid, fmt.Sprintf("there are %d container apps %.100q", len(found), name)).WithNext("say which with --resource-group")
	case len(names) == 0:
		return App{}, problem.New(problem.NotFound, fmt.Sprintf("there is no container app %.100q", name)).WithNext("there are none; latchkey containerapp up makes one")
	}
	return App{}, problem.New(problem.NotFound, fmt.Sprintf("there is no container app %.100q", name)).WithNext("the container apps there are: " + strings.Join(names, ", "))
}

// get reads an app by its id.
func (c *Client) get(ctx context.Context, id string) (App, error) {
	var raw json.RawMessage
	answer, err := c.arm.Exchange(ctx, armclient.Request{Method: http.MethodGet, Path: path(id)}, nil, &raw)
	if err != nil {
		return App{}, err
	}
	a, err := readApp(raw)
	a.etag = answer.ETag
	return a, err
}

func readApp(raw json.RawMessage) (App, error) {
	a := App{Shown: raw}
	var more struct {
		Properties struct {
			Configuration struct {
				Ingress *struct {
					FQDN string `json:"fqdn"`
				} `json:"ingress"`
			} `json:"configuration"`
		} `json:"properties"`
	}
	if err := errors.Join(json.Unmarshal(raw, &a), json.Unmarshal(raw, &more)); err != nil {
		return a, problem.Wrap(problem.Unavailable, "what the API says of the container app cannot be understood", err)
	}
	if id, err := resource.Parse(a.ID); err == nil {
		a.Group = id.Group()
	}
	if g := more.Properties.Configuration.Ingress; g != nil {
		a.FQDN = g.FQDN
	}
	if a.Properties.Configuration == nil {
		a.Properties.Configuration = &containerapp.Configuration{}
	}
	if a.Properties.Template == nil {
		a.Properties.Template = &containerapp.Template{}
	}
	return a, nil
}

// sent is what is put of an app.
type sent struct {
	Kind       string                  `json:"kind,omitempty"`
	Location   string                  `json:"location"`
	Tags       map[string]string       `json:"tags,omitempty"`
	Identity   *Identity               `json:"identity,omitempty"`
	Properties containerapp.Properties `json:"properties"`
}

// Create makes an app. problem.Exists if there is one of that name.
func (c *Client) Create(ctx context.Context, group, name string, a App) (App, error) {
	now, err := c.put(ctx, c.AppID(group, name), a, armclient.Request{IfAbsent: true})
	if errors.Is(err, errChanged) {
		return now, problem.New(problem.Exists, fmt.Sprintf("there is a container app %q in group %s already", name, group)).
			WithNext("choose another name, or change that one with latchkey containerapp update")
	}
	return now, err
}

// errChanged says that an app is not any more what it was when it was read.
var errChanged = errors.New("the container app was changed by somebody else")

// Change reads an app, lets it be changed and puts it back, with what secrets it
// has: their values are kept by the API and need not be read. change may run more
// than once.
func (c *Client) Change(ctx context.Context, id string, change func(a *App) error) (App, error) {
	for range putTries {
		a, err := c.get(ctx, id)
		if err == nil {
			err = change(&a)
		}
		if err != nil {
			return a, err
		}
		if a, err = c.put(ctx, id, a, armclient.Request{IfMatch: a.etag}); !errors.Is(err, errChanged) {
			return a, err
		}
	}
	return App{}, problem.New(problem.Conflict, "the container app was changed by others all the time").WithNext("try again")
}

func (c *Client) put(ctx context.Context, id string, a App, r armclient.Request) (App, error) {
	var raw json.RawMessage
	r.Method, r.Path = http.MethodPut, path(id)
	answer, err := c.arm.Exchange(ctx, r, sent{a.Kind, a.Location, a.Tags, bare(a.Identity), a.Properties.Properties}, &raw)
	if answer.Status == http.StatusPreconditionFailed {
		return a, errChanged
	}
	if err != nil {
		return a, err
	}
	return readApp(raw)
}

// bare leaves out what the API says of identities and does not want to be told.
func bare(i *Identity) *Identity {
	if i == nil {
		return nil
	}
	b := &Identity{Type: i.Type}
	for id := range i.Users {
		if b.Users == nil {
			b.Users = map[string]UserIdentity{}
		}
		b.Users[id] = UserIdentity{}
	}
	return b
}

// Act starts or stops an app; action is that word.
func (c *Client) Act(ctx context.Context, a App, action string) error {
	return c.arm.Do(ctx, http.MethodPost, path(a.ID+"/"+action), nil, nil)
}

// Delete deletes an app.
func (c *Client) Delete(ctx context.Context, a App) error {
	return c.arm.Do(ctx, http.MethodDelete, path(a.ID), nil, nil)
}

// Await waits until the change that was made last is done and gives the app as it
// is then. tell is told of each step. A revision that failed is problem.Conflict
// with the reason.
func (c *Client) Await(ctx context.Context, id string, tell func(step string)) (App, error) {
	const period = 200 * time.Millisecond
	last := ""
	for {
		a, err := c.get(ctx, id)
		if err != nil {
			return a, err
		}
		step := "revision " + a.Properties.Latest + ": " + strings.ToLower(a.Properties.State)
		if r, err := c.Revision(ctx, a, a.Properties.Latest); err == nil && a.Properties.State == "InProgress" {
			if step = "revision " + r.Name + ": " + strings.ToLower(r.Properties.Running); r.Properties.Details != "" {
				step += ": " + r.Properties.Details
			}
		}
		switch a.Properties.State {
		case "Succeeded":
			return a, nil
		case "Failed", "Canceled":
			return a, failed(a)
		}
		if step != last {
			tell(step)
			last = step
		}
		select {
		case <-ctx.Done():
			return a, ctx.Err()
		case <-time.After(period):
		}
	}
}

func failed(a App) error {
	text := "revision " + a.Properties.Latest + " failed"
	if a.Properties.Errors != "" {
		text += ": " + a.Properties.Errors
	}
	next := "latchkey containerapp logs show " + a.Name + " --revision " + a.Properties.Latest
	if ready := a.Properties.LatestReady; ready != "" && ready != a.Properties.Latest {
		next = "revision " + ready + " goes on serving; see " + next
	}
	return problem.New(problem.Conflict, text).WithNext(next)
}

// Secret is a secret with its value, if it has one of its own.
type Secret struct {
	Name        string  `json:"name"`
	Value       *string `json:"value,omitempty"`
	KeyVaultURL string  `json:"keyVaultUrl,omitempty"`
	Identity    string  `json:"identity,omitempty"`

	// How one of a vault stands: see Standing.
	Status  string `json:"status,omitempty"`
	Version string `json:"activeVersion,omitempty"`
	Stale   bool   `json:"stale,omitempty"` // it is the last good value
	Why     string `json:"why,omitempty"`
}

// Standing adds to secrets of an app how those of vaults stand.
func (c *Client) Standing(ctx context.Context, a App, list []Secret) error {
	if !slices.ContainsFunc(list, func(s Secret) bool { return s.KeyVaultURL != "" }) {
		return nil
	}
	type reference struct {
		Name       string `json:"name"`
		Properties Secret `json:"properties"`
	}
	all, err := armclient.List[reference](ctx, c.arm, path(a.ID+"/secretReferences"))
	for _, r := range all {
		for i := range list {
			if s := &list[i]; s.Name == r.Name {
				s.Status, s.Version, s.Stale, s.Why = r.Properties.Status, r.Properties.Version, r.Properties.Stale, r.Properties.Why
			}
		}
	}
	return err
}

// Secrets reads the secrets of an app with their values.
func (c *Client) Secrets(ctx context.Context, a App) ([]Secret, error) {
	var answer struct {
		Value []Secret `json:"value"`
	}
	return answer.Value, c.arm.Do(ctx, http.MethodPost, path(a.ID+"/listSecrets"), nil, &answer)
}

// EnsureGroup makes a resource group unless it is there.
func (c *Client) EnsureGroup(ctx context.Context, name, location string) error {
	at := path(c.GroupPath(name))
	err := c.arm.Do(ctx, http.MethodGet, at, nil, nil)
	if errors.Is(err, problem.NotFound) {
		err = c.arm.Do(ctx, http.MethodPut, at, map[string]any{"location": location}, nil)
	}
	return err
}

func (c *Client) list(ctx context.Context, group, typ string) ([]json.RawMessage, error) {
	at := "/subscriptions/" + c.sub
	if group != "" {
		at = c.GroupPath(group)
	}
	return armclient.List[json.RawMessage](ctx, c.arm, path(at+"/providers/"+typ))
}

// path makes a resource id the path of a call.
func path(id string) string {
	parts := strings.Split(id, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/") + version
}
