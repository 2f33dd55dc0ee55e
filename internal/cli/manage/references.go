package manage

import (
	"context"
	"net/url"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
)

// Reference is a setting that refers to a secret, and how that stands. Its JSON
// form is what commands print, a contract.
type Reference struct {
	App         string    `json:"app"`
	Kind        string    `json:"kind"` // appsettings or connectionstrings
	Setting     string    `json:"setting"`
	Status      string    `json:"status"`
	Details     string    `json:"details,omitempty"`
	Why         string    `json:"why,omitempty"`
	InnerCode   string    `json:"innerCode,omitempty"`
	HTTPStatus  int       `json:"httpStatus,omitempty"`
	Vault       string    `json:"vault,omitempty"`
	Secret      string    `json:"secret,omitempty"`
	Pinned      string    `json:"pinned,omitempty"`  // the version the reference names
	Version     string    `json:"version,omitempty"` // in use; "" for none
	Stale       bool      `json:"stale"`             // what is in use is not up to date
	Identity    string    `json:"identity,omitempty"`
	Since       time.Time `json:"since,omitzero"`
	LastAttempt time.Time `json:"lastAttempt,omitzero"`
	NextRefresh time.Time `json:"nextRefresh,omitzero"`

	// Of a single reference only.
	GoodSince time.Time          `json:"lastGoodSince,omitzero"` // since when the version is in use
	History   []reference.Change `json:"history,omitempty"`      // the newest first
}

// configReference is a reference on the wire.
type configReference struct {
	Name       string `json:"name"`
	Properties struct {
		Status      string    `json:"status"`
		Details     string    `json:"details"`
		Vault       string    `json:"vaultName"`
		Secret      string    `json:"secretName"`
		Pinned      string    `json:"secretVersion"`
		Active      string    `json:"activeVersion"`
		Identity    string    `json:"identityType"`
		Why         string    `json:"why"`
		InnerCode   string    `json:"innerCode"`
		HTTPStatus  int       `json:"httpStatus"`
		Stale       bool      `json:"stale"`
		Since       time.Time `json:"since"`
		LastAttempt time.Time `json:"lastAttempt"`
		NextRefresh time.Time `json:"nextRefresh"`

		GoodSince time.Time          `json:"lastGoodSince"`
		History   []reference.Change `json:"history"`
	} `json:"properties"`
}

func (c configReference) reference(app App, kind string) Reference {
	p := c.Properties
	return Reference{
		App: app.Name, Kind: kind, Setting: c.Name, Status: p.Status, Details: p.Details, Why: p.Why, InnerCode: p.InnerCode, HTTPStatus: p.HTTPStatus,
		Vault: p.Vault, Secret: p.Secret, Pinned: p.Pinned, Version: p.Active, Stale: p.Stale, Identity: p.Identity,
		Since: p.Since, LastAttempt: p.LastAttempt, NextRefresh: p.NextRefresh,
	}
}

// References gives the references of an app as they stand.
func (i *Installation) References(ctx context.Context, app App) ([]Reference, error) {
	list := []Reference{}
	for _, kind := range []string{"appsettings", "connectionstrings"} {
		found, err := armclient.List[configReference](ctx, i.client, idPath(app.ID)+"/config/configreferences/"+kind)
		if err != nil {
			return nil, err
		}
		for _, c := range found {
			list = append(list, c.reference(app, kind))
		}
	}
	return list, nil
}

// Reference gives the reference of one setting of an app, with what became of it so
// far; problem.NotFound if there is none.
func (i *Installation) Reference(ctx context.Context, app App, setting string) (Reference, error) {
	for _, kind := range []string{"appsettings", "connectionstrings"} {
		var c configReference
		err := i.get(ctx, idPath(app.ID)+"/config/configreferences/"+kind+"/"+url.PathEscape(setting), &c)
		if err == nil {
			r := c.reference(app, kind)
			r.GoodSince, r.History = c.Properties.GoodSince, c.Properties.History
			return r, nil
		}
		if problem.KindOf(err) != problem.NotFound {
			return Reference{}, err
		}
	}
	return Reference{}, problem.New(problem.NotFound, "the app "+app.Name+" has no reference of that name").
		WithNext("latchkey references list " + app.Name + " shows those it has")
}

// RefreshReferences reads the secrets of an app anew and gives how that went.
func (i *Installation) RefreshReferences(ctx context.Context, app App) ([]Reference, error) {
	if err := i.post(ctx, idPath(app.ID)+"/config/configreferences/appsettings/refresh", nil, nil); err != nil {
		return nil, err
	}
	return i.References(ctx, app)
}
