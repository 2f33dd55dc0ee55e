package vaultsecrets

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// holders shows container apps to the resolver.
type holders struct{ apps *containerapp.Apps }

// Get implements reference.Apps.
func (h holders) Get(ctx context.Context, id resource.ID) (app.App, error) {
	a, err := h.apps.Get(ctx, id)
	return shown(a), err
}

// Snapshot implements reference.Apps.
func (h holders) Snapshot(ctx context.Context, id resource.ID) (app.Snapshot, error) {
	a, err := h.apps.Get(ctx, id)
	return shownWhole(a), err
}

// List implements reference.Apps.
func (h holders) List(ctx context.Context, scope resource.ID, after state.Key, limit int) ([]app.App, state.Key, error) {
	list, next, err := h.apps.List(ctx, scope, after, limit)
	out := make([]app.App, len(list))
	for i, a := range list {
		out[i] = shown(a)
	}
	return out, next, err
}

func decode(r inventory.Resource) (app.App, error) {
	a, err := containerapp.FromResource(r)
	return shown(a), err
}

// shown gives a container app as the resolver knows apps. Its ReferenceIdentity
// stands for the identities of all secrets, so that a change of any is seen.
func shown(a containerapp.App) app.App {
	out := app.App{
		Resource: a.Resource, ID: a.ID, Name: a.Name, UID: a.UID, State: app.Running, Enabled: true, Generation: a.Generation, Deleting: a.Deleting,
	}
	if a.Stopped {
		out.State = app.Stopped
	}
	readers := map[string]string{}
	for _, s := range inVaults(a) {
		readers[s.Name] = s.Identity
	}
	if text, err := json.Marshal(readers); err == nil && len(readers) > 0 {
		out.ReferenceIdentity = string(text)
	}
	return out
}

// shownWhole gives the secrets that are in vaults as settings.
func shownWhole(a containerapp.App) app.Snapshot {
	out := app.Snapshot{App: shown(a), Settings: map[string]string{}}
	for _, s := range inVaults(a) {
		out.Settings[s.Name] = "@Microsoft.KeyVault(SecretUri=" + s.KeyVaultURL + ")"
	}
	return out
}

func inVaults(a containerapp.App) (list []containerapp.Secret) {
	if a.Properties.Configuration == nil {
		return nil
	}
	for _, s := range a.Properties.Configuration.Secrets {
		if s.KeyVaultURL != "" {
			list = append(list, s)
		}
	}
	return list
}

// reader names the identity that reads a secret.
func reader(a app.Snapshot, _ app.Section, name string) string {
	readers := map[string]string{}
	if json.Unmarshal([]byte(a.ReferenceIdentity), &readers) != nil {
		return ""
	}
	if which := readers[name]; !strings.EqualFold(which, system) {
		return which
	}
	return ownIdentity
}

// ownIdentity is how the resolver names an app's own identity.
const ownIdentity = "SystemAssigned"
