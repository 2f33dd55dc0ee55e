package containerapps

import (
	"context"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/reference"
)

// Secrets tell how secrets of apps stand that are in vaults. They must be safe for
// concurrent use.
type Secrets interface {
	// Report gives them in order of names, without waiting for vaults.
	Report(ctx context.Context, a containerapp.App) ([]reference.Report, error)
	// Refresh reads all secrets of an app anew; Report tells how that went.
	Refresh(ctx context.Context, a containerapp.App) error
}

// secretReferenceOperations are ours: the platform does not tell how secrets of
// vaults stand.
func (api *API) secretReferenceOperations() []arm.Operation {
	if api.cfg.Secrets == nil {
		return nil
	}
	refresh := api.at("POST", "/secretReferences/refresh", api.refreshSecrets)
	refresh.Action = "Microsoft.App/containerApps/secretReferences/refresh/action"
	return []arm.Operation{
		refresh,
		api.at("GET", "/secretReferences", api.listSecretReferences),
		api.at("GET", "/secretReferences/{secret}", api.getSecretReference),
	}
}

// secretReference is a secret of a vault as clients see it.
type secretReference struct {
	ID         string                    `json:"id"`
	Name       string                    `json:"name"`
	Type       string                    `json:"type"`
	Properties secretReferenceProperties `json:"properties"`
}

type secretReferenceProperties struct {
	KeyVaultURL string             `json:"keyVaultUrl"`
	Identity    string             `json:"identity"` // as the app has it
	Principal   reference.Identity `json:"principal"`
	Status      reference.Status   `json:"status"`
	Why         string             `json:"why,omitempty"`
	InnerCode   string             `json:"innerCode,omitempty"`
	HTTPStatus  int                `json:"httpStatus,omitempty"`
	Version     string             `json:"activeVersion,omitempty"`
	Stale       bool               `json:"stale"`
	Since       time.Time          `json:"since,omitzero"`
	GoodSince   time.Time          `json:"goodSince,omitzero"`
	LastAttempt time.Time          `json:"lastAttempt,omitzero"`
	NextRefresh time.Time          `json:"nextRefresh,omitzero"`
	Expires     time.Time          `json:"expires,omitzero"`
}

func (api *API) secretReferences(c *arm.Call, a containerapp.App) ([]secretReference, error) {
	reports, err := api.cfg.Secrets.Report(c.Context(), a)
	if err != nil {
		return nil, missing(err, a.ID)
	}
	of := map[string]containerapp.Secret{}
	for _, s := range a.Properties.Configuration.Secrets {
		of[s.Name] = s
	}
	list := []secretReference{}
	for _, r := range reports {
		s := of[r.Setting]
		list = append(list, secretReference{
			ID: a.ID.String() + "/secretReferences/" + r.Setting, Name: r.Setting, Type: containerapp.Type + "/secretReferences",
			Properties: secretReferenceProperties{
				KeyVaultURL: s.KeyVaultURL, Identity: s.Identity, Principal: r.Identity, Status: r.Status, Why: r.Why, InnerCode: r.InnerCode,
				HTTPStatus: r.HTTPStatus, Version: r.Version, Stale: r.Stale, Since: r.Since, GoodSince: r.GoodSince,
				LastAttempt: r.LastAttempt, NextRefresh: r.NextRefresh, Expires: r.Expires,
			},
		})
	}
	return list, nil
}

func (api *API) listSecretReferences(c *arm.Call, a containerapp.App) (arm.Reply, error) {
	list, err := api.secretReferences(c, a)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.List(c, list, ""), nil
}

func (api *API) getSecretReference(c *arm.Call, a containerapp.App) (arm.Reply, error) {
	list, err := api.secretReferences(c, a)
	if err != nil {
		return arm.Reply{}, err
	}
	name := c.Params["secret"]
	for _, one := range list {
		if one.Name == name {
			return arm.OK(one), nil
		}
	}
	return arm.Reply{}, arm.Faultf(http.StatusNotFound, "NotFound", "Container app '%s' has no secret '%s' in a vault.", a.Name, name)
}

func (api *API) refreshSecrets(c *arm.Call, a containerapp.App) (arm.Reply, error) {
	if err := api.cfg.Secrets.Refresh(c.Context(), a); err != nil {
		return arm.Reply{}, missing(err, a.ID)
	}
	return api.listSecretReferences(c, a)
}
