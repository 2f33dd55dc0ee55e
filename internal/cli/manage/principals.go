package manage

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/problem"
)

const principals = "/providers/Latchkey.Directory/principals"

// Principal is one who can sign in. Its JSON form is what commands print, a
// contract.
type Principal struct {
	Name     string   `json:"name"`
	ObjectID string   `json:"objectId"`
	AppID    string   `json:"appId,omitempty"` // "client id"
	Kind     string   `json:"kind"`
	Resource string   `json:"resourceId,omitempty"` // that a managed identity belongs to
	Disabled bool     `json:"disabled"`
	Secrets  []Secret `json:"secrets,omitempty"`
}

// Secret is what is known of a client secret.
type Secret struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Hint     string    `json:"hint"`
	Expires  time.Time `json:"expires"`
	LastUsed string    `json:"lastUsed,omitempty"`
}

// Principals lists the principals there are.
func (i *Installation) Principals(ctx context.Context) ([]Principal, error) {
	return armclient.List[Principal](ctx, i.client, principals)
}

// Principal finds a principal by object id, client id, or name if that is unique.
func (i *Installation) Principal(ctx context.Context, who string) (Principal, error) {
	var p Principal
	err := i.get(ctx, principals+"/"+url.PathEscape(who), &p)
	if !errors.Is(err, problem.NotFound) {
		return p, err
	}
	filter := "name eq '" + strings.ReplaceAll(who, "'", "''") + "'"
	named, err := armclient.List[Principal](ctx, i.client, query(principals, "$filter", filter))
	switch {
	case err != nil:
		return p, err
	case len(named) == 0:
		return p, problem.New(problem.NotFound, fmt.Sprintf("there is no principal %.120q", who)).
			WithNext("latchkey principal list shows those there are")
	case len(named) > 1:
		return p, problem.New(problem.Conflict, fmt.Sprintf("%d principals have the name %.120q", len(named), who)).
			WithNext("name it by its object id: latchkey principal list")
	}
	return named[0], nil
}

// CreatePrincipal makes a service principal.
func (i *Installation) CreatePrincipal(ctx context.Context, name string) (Principal, error) {
	var p Principal
	err := i.post(ctx, principals, map[string]string{"name": name}, &p)
	return p, err
}

// OIDC is who somebody is at an OpenID Connect provider.
type OIDC struct{ Issuer, Client, Subject string }

// CreateUser makes a user without secrets, who signs in to the portal by a provider.
func (i *Installation) CreateUser(ctx context.Context, name string, as OIDC) (Principal, error) {
	var p Principal
	err := i.post(ctx, principals, map[string]string{"name": name, "kind": "User"}, &p)
	if err != nil {
		return p, err
	}
	credential := map[string]any{"issuer": as.Issuer, "subject": as.Subject, "audiences": []string{as.Client}}
	path := principals + "/" + url.PathEscape(p.ObjectID) + "/federatedCredentials/portal"
	return p, i.client.Do(ctx, http.MethodPut, path, credential, nil)
}

// NewSecret is a client secret that was just made. The value cannot be had again.
type NewSecret struct {
	ID       string    `json:"id"`
	Expires  time.Time `json:"expires"`
	Value    string    `json:"secret"`
	TenantID string    `json:"tenantId"`
}

// AddSecret makes a client secret that is good for a number of days; 0 is as long
// as the server likes.
func (i *Installation) AddSecret(ctx context.Context, p Principal, name string, days int) (NewSecret, error) {
	var s NewSecret
	err := i.post(ctx, principals+"/"+url.PathEscape(p.ObjectID)+"/addSecret", map[string]any{"name": name, "days": days}, &s)
	return s, err
}

// RemoveSecret takes a client secret away.
func (i *Installation) RemoveSecret(ctx context.Context, p Principal, id string) error {
	return i.post(ctx, principals+"/"+url.PathEscape(p.ObjectID)+"/removeSecret", map[string]string{"id": id}, nil)
}

// SetDisabled switches a principal off or on.
func (i *Installation) SetDisabled(ctx context.Context, p Principal, disabled bool) (Principal, error) {
	word := "enable"
	if disabled {
		word = "disable"
	}
	var out Principal
	err := i.post(ctx, principals+"/"+url.PathEscape(p.ObjectID)+"/"+word, nil, &out)
	return out, err
}

// DeletePrincipal deletes a principal with its roles.
func (i *Installation) DeletePrincipal(ctx context.Context, p Principal) error {
	return i.client.Do(ctx, http.MethodDelete, principals+"/"+url.PathEscape(p.ObjectID), nil, nil)
}

// ExpireTokens ends all tokens of a principal.
func (i *Installation) ExpireTokens(ctx context.Context, p Principal) error {
	return i.post(ctx, principals+"/"+url.PathEscape(p.ObjectID)+"/expireTokens", nil, nil)
}
