package sites

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/keyref"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
)

// References knows how resolving references went; *reference.Resolver does.
// Section is app.AppSettings or app.ConnectionStrings.
type References interface {
	// Report gives the references of a section in order of names, without resolving
	// any.
	Report(ctx context.Context, a app.App, s app.Section) ([]reference.Report, error)
	// Refresh resolves all references of an app anew; Report tells how that went.
	Refresh(ctx context.Context, a app.App) error
}

var _ References = (*reference.Resolver)(nil)

func (api *API) referenceOperations() []arm.Operation {
	var ops []arm.Operation
	for _, s := range []app.Section{app.AppSettings, app.ConnectionStrings} {
		path := "/config/configreferences/" + string(s)
		ops = append(ops,
			action("sites/config/read", api.at("GET", path, api.listReferences(s))),
			action("sites/config/read", api.at("GET", path+"/{setting}", api.getReference(s))),
			action("sites/config/write", api.at("POST", path+"/refresh", api.refresh(s))),
		)
	}
	return ops
}

// referenceProperties are a reference as clients see it. The platform has the
// first group of members.
type referenceProperties struct {
	Reference     string           `json:"reference"`
	Status        reference.Status `json:"status"`
	Vault         string           `json:"vaultName"`
	Secret        string           `json:"secretName"`
	Version       string           `json:"secretVersion"`
	ActiveVersion *string          `json:"activeVersion"`
	IdentityType  any              `json:"identityType"`
	Details       string           `json:"details"`
	Source        string           `json:"source"`
	Location      string           `json:"location,omitempty"` // only in the legacy form

	Why             string             `json:"why,omitempty"`
	InnerCode       string             `json:"innerCode,omitempty"`
	HTTPStatus      int                `json:"httpStatus,omitempty"`
	Identity        reference.Identity `json:"identity"`
	LastGoodVersion string             `json:"lastGoodVersion,omitempty"`
	Stale           bool               `json:"stale"`
	Since           time.Time          `json:"since,omitzero"`
	LastGoodSince   time.Time          `json:"lastGoodSince,omitzero"` // since when the version is in use
	Expires         time.Time          `json:"expires,omitzero"`       // of the secret
	LastAttempt     time.Time          `json:"lastAttempt,omitzero"`
	NextRefresh     time.Time          `json:"nextRefresh,omitzero"`
	// History has what became of the reference so far, the newest first; it is not in
	// lists.
	History []reference.Change `json:"history,omitempty"`
}

func propertiesOfReference(c *arm.Call, r reference.Report) referenceProperties {
	p := referenceProperties{
		Reference: r.Ref.Text, Status: r.Status, Vault: r.Ref.Vault, Secret: r.Ref.Secret, Version: r.Ref.Version,
		IdentityType: r.Identity.Type, Details: r.Details, Source: "KeyVault",
		Why: r.Why, InnerCode: r.InnerCode, HTTPStatus: r.HTTPStatus, Identity: r.Identity, LastGoodVersion: r.Version, Stale: r.Stale,
		Since: r.Since, LastGoodSince: r.GoodSince, Expires: r.Expires, LastAttempt: r.LastAttempt, NextRefresh: r.NextRefresh,
	}
	if r.Version != "" {
		p.ActiveVersion = &r.Version
	}
	if wantsObject(c) {
		p.IdentityType = map[string]string{"type": r.Identity.Type}
	}
	return p
}

// wantsObject reports whether the client is Azure's SDK for Go. It follows the
// published description, in which the identity's type is an object, and fails to
// read an answer with the text that the platform really gives.
func wantsObject(c *arm.Call) bool {
	return strings.Contains(c.HTTP.UserAgent(), "azsdk-go-")
}

// isLegacy reports whether a client asks for the form of versions up to 2019.
func isLegacy(c *arm.Call) bool { return c.APIVersion < "2020" }

// reports gives the references of a section as they stand.
func (api *API) reports(c *arm.Call, a app.App, s app.Section) ([]reference.Report, error) {
	if api.References != nil {
		list, err := api.References.Report(c.Context(), a, s)
		return list, missing(err, a.ID)
	}
	values, err := api.values(c, a, s)
	if err != nil {
		return nil, missing(err, a.ID)
	}
	var list []reference.Report
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if ref, is, fault := keyref.Parse(values[name]); is {
			list = append(list, unresolved(a, s, name, ref, fault))
		}
	}
	return list, nil
}

// unresolved is a reference that nobody resolves.
func unresolved(a app.App, s app.Section, name string, ref keyref.Ref, fault *keyref.SyntaxError) reference.Report {
	r := reference.Report{Section: s, Setting: name, Ref: ref, Status: reference.Initialized, Identity: reference.Identity{Type: identityOfReferences(a)}}
	if fault != nil {
		r.Status, r.Why = reference.InvalidSyntax, fault.Error()
	}
	r.Details = r.Status.Details()
	return r
}

func (api *API) values(c *arm.Call, a app.App, s app.Section) (map[string]string, error) {
	if s == app.AppSettings {
		values, _, err := api.Apps.Settings(c.Context(), a.ID)
		return values, err
	}
	connections, _, err := api.Apps.Connections(c.Context(), a.ID)
	values := make(map[string]string, len(connections))
	for name, conn := range connections {
		values[name] = conn.Value
	}
	return values, err
}

func shownReference(c *arm.Call, a app.App, r reference.Report) child {
	return child{a.ID.String() + "/config/configreferences/" + string(r.Section) + "/" + r.Setting, r.Setting,
		app.SiteType + "/config/configreferences", a.Resource.Location, propertiesOfReference(c, r)}
}

func (api *API) listReferences(s app.Section) siteHandler {
	return func(c *arm.Call, a app.App) (arm.Reply, error) {
		list, err := api.reports(c, a, s)
		if err != nil {
			return arm.Reply{}, err
		}
		if isLegacy(c) {
			return arm.OK(legacyReferences(c, a, s, list)), nil
		}
		shown := make([]child, 0, len(list))
		for _, r := range list {
			shown = append(shown, shownReference(c, a, r))
		}
		return arm.List(c, shown, ""), nil
	}
}

// legacyReferences is one resource with all references of a section.
func legacyReferences(c *arm.Call, a app.App, s app.Section, list []reference.Report) child {
	byName := make(map[string]referenceProperties, len(list))
	for _, r := range list {
		p := propertiesOfReference(c, r)
		p.Location = locationOf(s)
		byName[r.Setting] = p
	}
	return child{a.ID.String() + "/config/configreferences/" + string(s), string(s), app.SiteType + "/config/configreferences",
		a.Resource.Location, map[string]any{"keyToReferenceStatuses": byName}}
}

func locationOf(s app.Section) string {
	if s == app.AppSettings {
		return "ApplicationSetting"
	}
	return "ConnectionString"
}

func (api *API) getReference(s app.Section) siteHandler {
	return func(c *arm.Call, a app.App) (arm.Reply, error) {
		list, err := api.reports(c, a, s)
		if err != nil {
			return arm.Reply{}, err
		}
		for _, r := range list {
			if !strings.EqualFold(r.Setting, c.Params["setting"]) {
				continue
			}
			p, shown := propertiesOfReference(c, r), shownReference(c, a, r)
			p.History = r.History
			if isLegacy(c) {
				p.Location = locationOf(s)
			}
			shown.Properties = p
			return arm.OK(shown), nil
		}
		return arm.Reply{}, arm.Faultf(http.StatusNotFound, "NotFound", "The site has no reference in its %s with this name.", s)
	}
}

// refresh resolves anew and answers how that went. Waiting too long is no failure:
// the status says what is known by then.
func (api *API) refresh(s app.Section) siteHandler {
	list := api.listReferences(s)
	return func(c *arm.Call, a app.App) (arm.Reply, error) {
		if api.References != nil {
			err := api.References.Refresh(c.Context(), a)
			if err != nil && !errors.Is(err, problem.Timeout) {
				return arm.Reply{}, missing(err, a.ID)
			}
		}
		return list(c, a)
	}
}
