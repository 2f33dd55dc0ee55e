// Package containerapp owns container apps and their environments as resources of
// the control plane: what clients may say about them, which changes make a
// revision, which revisions are active, their secrets, and whether an app is to
// run. It runs nothing: who does reads what is wanted here and reports back. It
// knows neither HTTP, engines, nor how tokens are made.
package containerapp

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/containerapp/identityrules"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// Types of resources of this package.
const (
	Type            = "Microsoft.App/containerApps"
	EnvironmentType = "Microsoft.App/managedEnvironments"
)

// App is a container app as it is wanted.
type App struct {
	Resource   inventory.Resource
	ID         resource.ID
	Name       string
	UID        string     // of this life of the app: one that is deleted and created again has another
	Properties Properties // without values of secrets
	// Latest is the revision made last, LatestReady the last one that came to be
	// ready; "" for none.
	Latest, LatestReady string
	Stopped             bool
	Deleting            bool // only watchers see this
	// Generation grows with every change that what runs must take up.
	Generation int64
	// Secrets are the values of secrets that were given by value, by name. They must
	// not leave through anything but listSecrets and the app's containers.
	Secrets map[string]string
}

// Environment gives the id of the environment that the app is in.
func (a App) Environment() resource.ID {
	id, _ := resource.Parse(a.Properties.EnvironmentID) // checked when it was stored
	return id
}

// Rules gives which containers may use which of the app's identities. noInit says
// that its environment lets init containers have no identities.
func (a App) Rules(noInit bool) identityrules.Rules {
	var list []identityrules.Setting
	for _, s := range a.Properties.Configuration.IdentitySettings {
		life, ok := identityrules.ParseLifecycle(s.Lifecycle)
		if !ok {
			life = identityrules.None
		}
		list = append(list, identityrules.Setting{Identity: s.Identity, Lifecycle: life})
	}
	return identityrules.New(list, noInit)
}

// private is what the document of an app keeps besides what clients see.
type private struct {
	UID         string            `json:"uid"`
	Generation  int64             `json:"generation"`
	Latest      string            `json:"latest,omitempty"`
	LatestReady string            `json:"latestReady,omitempty"`
	Stopped     bool              `json:"stopped,omitempty"`
	Deleting    bool              `json:"deleting,omitempty"`
	Secrets     map[string]string `json:"secrets,omitempty"`
}

// FromResource reads an app from its resource, as watchers of the state get it. It
// returns problem.Undecryptable for what is no container app.
func FromResource(r inventory.Resource) (App, error) {
	a := App{Resource: r}
	var p private
	id, err := resource.Parse(r.ID)
	if err == nil && !strings.EqualFold(id.Type(), Type) {
		err = problem.New(problem.Invalid, "its type is "+id.Type())
	}
	if err == nil {
		err = json.Unmarshal(r.Private, &p)
	}
	if err == nil {
		err = json.Unmarshal(r.Properties, &a.Properties)
	}
	if err == nil && (a.Properties.Configuration == nil || a.Properties.Template == nil) {
		err = problem.New(problem.Invalid, "it has no template")
	}
	if err != nil {
		return App{}, problem.Wrap(problem.Undecryptable, fmt.Sprintf("container app %q cannot be understood", r.ID), err)
	}
	a.ID, a.Name, a.UID = id, id.Name(), p.UID
	a.Latest, a.LatestReady, a.Stopped, a.Deleting = p.Latest, p.LatestReady, p.Stopped, p.Deleting
	a.Generation, a.Secrets = p.Generation, p.Secrets
	return a, nil
}

// Revision is one version of an app's template.
type Revision struct {
	Name     string    `json:"name"`
	Created  time.Time `json:"created"`
	Number   int64     `json:"number"` // grows with every revision of an app
	Active   bool      `json:"active"`
	Template Template  `json:"template"`
	// Restarts is how often a restart was asked for.
	Restarts int64  `json:"restarts,omitempty"`
	Status   Status `json:"status"`
}

// Status is how a revision is doing, as who runs it reported last.
type Status struct {
	Provisioning Provisioning `json:"provisioning"`
	Running      Running      `json:"running"`
	Healthy      bool         `json:"healthy,omitempty"`
	Replicas     int          `json:"replicas,omitempty"`
	// Code and Reason say why provisioning failed, without a secret.
	Code   string `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Provisioning says how far a revision has come.
type Provisioning string

// States of provisioning.
const (
	InProgress  Provisioning = "Provisioning"
	Provisioned Provisioning = "Provisioned"
	Failed      Provisioning = "Failed"
)

// Running says what runs of a revision.
type Running string

// States of running.
const (
	Processing    Running = "Processing"
	IsRunning     Running = "Running"
	Degraded      Running = "Degraded"
	ScaledToZero  Running = "ScaledToZero"
	IsStopped     Running = "Stopped"
	FailedRunning Running = "Failed"
)

// RevisionName gives the name of a revision by the app's and its suffix.
func RevisionName(app, suffix string) string { return app + "--" + suffix }
