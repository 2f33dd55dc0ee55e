// Package app owns function apps as resources of the control plane: what a site
// and a service plan are, their settings and configuration sections, whether an
// app is to run, which package it runs, and which app has which name. It does not
// run anything, and knows neither HTTP nor how clients spell an app.
package app

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// Types of resources of this package.
const (
	SiteType = "Microsoft.Web/sites"
	PlanType = "Microsoft.Web/serverfarms"
)

// State is what an operator wants of an app.
type State string

// States an app can be wanted in.
const (
	Running State = "Running"
	Stopped State = "Stopped"
)

// App is a function app as it is wanted. A running copy is up to date when it was
// made from the same UID and Generation.
type App struct {
	Resource inventory.Resource
	ID       resource.ID
	Name     string // as spelled when it was created; no two apps of an installation have the same, ignoring case
	UID      string // of this life of the app: an app that is deleted and created again has another one
	State    State  // what start and stop set
	Enabled  bool   // properties.enabled; an app that is not enabled does not run
	// Generation grows with every change that a running copy must take up:
	// settings, configuration, run state, package, restart.
	Generation int64
	Restarts   int64  // how often a restart was asked for
	Release    string // the active package; "" before the first deployment
	Plan       string // resource id of the service plan
	// ReferenceIdentity is the identity that reads vault references: a resource id
	// or "SystemAssigned".
	ReferenceIdentity string
	Deleting          bool // it is being deleted; only watchers ever see this
}

// Wanted reports whether the app is to run.
func (a App) Wanted() bool { return a.State == Running && a.Enabled && !a.Deleting }

// private is what the document of a site keeps besides what clients see.
type private struct {
	UID        string `json:"uid"`
	Serial     int64  `json:"serial"` // of the last write of the site or a section of it
	Generation int64  `json:"generation"`
	Restarts   int64  `json:"restarts,omitempty"`
	Stopped    bool   `json:"stopped,omitempty"`
	Release    string `json:"release,omitempty"`
	Deleting   bool   `json:"deleting,omitempty"`
}

// FromResource reads an app from its resource, as watchers of the state get it.
// It returns problem.Undecryptable for what is no app.
func FromResource(r inventory.Resource) (App, error) {
	a, _, err := fromResource(r)
	return a, err
}

func fromResource(r inventory.Resource) (App, private, error) {
	var p private
	seen := struct {
		Enabled           *bool  `json:"enabled"`
		Plan              string `json:"serverFarmId"`
		ReferenceIdentity string `json:"keyVaultReferenceIdentity"`
	}{}
	id, err := resource.Parse(r.ID)
	if err == nil && !strings.EqualFold(id.Type(), SiteType) {
		err = problem.New(problem.Invalid, "its type is "+id.Type())
	}
	for text, into := range map[*json.RawMessage]any{&r.Private: &p, &r.Properties: &seen} {
		if err == nil {
			err = json.Unmarshal(*text, into)
		}
	}
	if err != nil {
		return App{}, p, problem.Wrap(problem.Undecryptable, fmt.Sprintf("app %q cannot be understood", r.ID), err)
	}
	a := App{
		Resource: r, ID: id, Name: id.Name(), UID: p.UID, State: Running, Enabled: seen.Enabled == nil || *seen.Enabled,
		Generation: p.Generation, Restarts: p.Restarts, Release: p.Release, Plan: seen.Plan,
		ReferenceIdentity: seen.ReferenceIdentity, Deleting: p.Deleting,
	}
	if p.Stopped {
		a.State = Stopped
	}
	return a, p, nil
}
