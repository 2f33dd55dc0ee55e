package containerapps

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// Environment is where apps are.
type Environment struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Location   string `json:"location"`
	Properties struct {
		State  string `json:"provisioningState"`
		Domain string `json:"defaultDomain"`
	} `json:"properties"`

	Group string          `json:"-"`
	Shown json.RawMessage `json:"-"`
}

// Environments lists the environments there are, or those of a group, by name.
func (c *Client) Environments(ctx context.Context, group string) ([]Environment, error) {
	raw, err := c.list(ctx, group, containerapp.EnvironmentType)
	if err != nil {
		return nil, err
	}
	list := make([]Environment, len(raw))
	for i, text := range raw {
		if list[i], err = readEnvironment(text); err != nil {
			return nil, err
		}
	}
	sort.Slice(list, func(i, j int) bool { return strings.ToLower(list[i].Name) < strings.ToLower(list[j].Name) })
	return list, nil
}

func readEnvironment(raw json.RawMessage) (Environment, error) {
	e := Environment{Shown: raw}
	err := json.Unmarshal(raw, &e)
	if id, wrong := resource.Parse(e.ID); wrong == nil {
		e.Group = id.Group()
	}
	return e, err
}

// Environment finds an environment by its name, in a group if one is said, or by
// its whole id. problem.NotFound says which there are.
func (c *Client) Environment(ctx context.Context, name, group string) (Environment, error) {
	if strings.HasPrefix(name, "/") {
		var raw json.RawMessage
		if err := c.arm.Do(ctx, http.MethodGet, path(name), nil, &raw); err != nil {
			return Environment{}, err
		}
		return readEnvironment(raw)
	}
	all, err := c.Environments(ctx, group)
	if err != nil {
		return Environment{}, err
	}
	names := []string{}
	all = slices.DeleteFunc(all, func(e Environment) bool {
		names = append(names, e.Name)
		return !strings.EqualFold(e.Name, name)
	})
	missing := problem.New(problem.NotFound, fmt.Sprintf("there is no environment %.100q", name))
	switch {
	case len(all) == 1:
		return all[0], nil
	case len(all) > 1:
		return Environment{}, problem.New(problem.Invalid, fmt.Sprintf("there are %d environments %.100q", len(all), name)).WithNext("name the environment by its whole id")
	case len(names) == 0:
		return Environment{}, missing.WithNext("there are none; latchkey containerapp env create makes one")
	}
	return Environment{}, missing.WithNext("the environments there are: " + strings.Join(names, ", "))
}

// CreateEnvironment makes an environment in a group, which is made if it is
// missing; problem.Exists if there is one.
func (c *Client) CreateEnvironment(ctx context.Context, group, name, location string, tags map[string]string) (Environment, error) {
	if err := c.EnsureGroup(ctx, group, location); err != nil {
		return Environment{}, err
	}
	body := map[string]any{"location": location, "tags": tags, "properties": map[string]any{
		"workloadProfiles": []any{map[string]any{"name": "Consumption", "workloadProfileType": "Consumption"}},
	}}
	var raw json.RawMessage
	answer, err := c.arm.Exchange(ctx, armclient.Request{Method: http.MethodPut, Path: path(c.EnvironmentID(group, name)), IfAbsent: true}, body, &raw)
	if answer.Status == http.StatusPreconditionFailed {
		err = problem.New(problem.Exists, fmt.Sprintf("there is an environment %q in group %s already", name, group))
	}
	if err != nil {
		return Environment{}, err
	}
	return readEnvironment(raw)
}

// DeleteEnvironment deletes an environment without apps.
func (c *Client) DeleteEnvironment(ctx context.Context, e Environment) error {
	return c.arm.Do(ctx, http.MethodDelete, path(e.ID), nil, nil)
}
