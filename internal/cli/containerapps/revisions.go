package containerapps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
)

// Revision is a revision as the API shows it.
type Revision struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Properties struct {
		Created  time.Time             `json:"createdTime"`
		FQDN     string                `json:"fqdn"`
		Active   bool                  `json:"active"`
		Replicas int                   `json:"replicas"`
		Weight   int                   `json:"trafficWeight"`
		Labels   []string              `json:"labels"`
		Health   string                `json:"healthState"`
		State    string                `json:"provisioningState"`
		Running  string                `json:"runningState"`
		Details  string                `json:"runningStateDetails"`
		Template containerapp.Template `json:"template"`
	} `json:"properties"`

	Shown json.RawMessage `json:"-"`
}

// Revisions lists the revisions of an app, the oldest first.
func (c *Client) Revisions(ctx context.Context, a App) ([]Revision, error) {
	raw, err := armclient.List[json.RawMessage](ctx, c.arm, path(a.ID+"/revisions"))
	if err != nil {
		return nil, err
	}
	list := make([]Revision, len(raw))
	for i, text := range raw {
		if err := json.Unmarshal(text, &list[i]); err != nil {
			return nil, err
		}
		list[i].Shown = text
	}
	return list, nil
}

// Revision reads one revision.
func (c *Client) Revision(ctx context.Context, a App, name string) (Revision, error) {
	var raw json.RawMessage
	if err := c.arm.Do(ctx, http.MethodGet, path(a.ID+"/revisions/"+name), nil, &raw); err != nil {
		if errors.Is(err, problem.NotFound) {
			err = problem.New(problem.NotFound, fmt.Sprintf("%s has no revision %.100q", a.Name, name)).WithNext("latchkey containerapp revision list " + a.Name)
		}
		return Revision{}, err
	}
	r := Revision{Shown: raw}
	return r, json.Unmarshal(raw, &r)
}

// ActOnRevision activates, deactivates or restarts a revision; action is that word.
func (c *Client) ActOnRevision(ctx context.Context, a App, name, action string) error {
	if _, err := c.Revision(ctx, a, name); err != nil {
		return err
	}
	return c.arm.Do(ctx, http.MethodPost, path(a.ID+"/revisions/"+name+"/"+action), nil, nil)
}

// Replica is a running copy of a revision.
type Replica struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Properties struct {
		Created    time.Time   `json:"createdTime"`
		Running    string      `json:"runningState"`
		Details    string      `json:"runningStateDetails"`
		Containers []Container `json:"containers"`
		Init       []Container `json:"initContainers"`
	} `json:"properties"`

	Shown json.RawMessage `json:"-"`
}

// Container is a container of a replica.
type Container struct {
	Name     string `json:"name"`
	Ready    bool   `json:"ready"`
	Started  bool   `json:"started"`
	Restarts int    `json:"restartCount"`
	Running  string `json:"runningState"`
	Details  string `json:"runningStateDetails"`
	Logs     string `json:"logStreamEndpoint"`
	Exec     string `json:"execEndpoint"`
}

// Replicas lists the replicas of a revision.
func (c *Client) Replicas(ctx context.Context, a App, revision string) ([]Replica, error) {
	raw, err := armclient.List[json.RawMessage](ctx, c.arm, path(a.ID+"/revisions/"+revision+"/replicas"))
	if errors.Is(err, problem.NotFound) {
		_, err = c.Revision(ctx, a, revision)
	}
	if err != nil {
		return nil, err
	}
	list := make([]Replica, len(raw))
	for i, text := range raw {
		if err := json.Unmarshal(text, &list[i]); err != nil {
			return nil, err
		}
		list[i].Shown = text
	}
	return list, nil
}
