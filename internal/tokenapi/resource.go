package tokenapi

import (
	"context"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/problem"
)

// maxResource bounds the name of a resource, in bytes.
const maxResource = 1024

// defaultScope ends the one kind of scope that clients without a user may ask for.
const defaultScope = "/.default"

// wellKnown are app ids of the cloud's own services that clients name instead of
// their URIs: the management API, Graph, Key Vault.
func wellKnown(appID string) bool {
	switch appID {
	case "797f4846-ba00-4fd7-ba43-dac1f8f63013", "00000003-0000-0000-c000-000000000000", "cfa8b339-82a2-471a-a3c9-0fc0be7a4093":
		return true
	}
	return false
}

// scopeResource gives the resource of a v2 scope. The scopes that libraries add
// for users do not count.
func scopeResource(scope string) (string, error) {
	resource := ""
	for s := range strings.FieldsSeq(scope) {
		switch {
		case s == "openid" || s == "offline_access" || s == "profile" || s == "email":
		case !strings.HasSuffix(s, defaultScope) || s == defaultScope:
			return "", faultf(1002012, "The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", clip(scope))
		case resource != "":
			return "", faultf(70011, "The provided value for the input parameter 'scope' is not valid. The scope %s names more than one resource.", clip(scope))
		default:
			resource = strings.TrimSuffix(s, defaultScope)
		}
	}
	if resource == "" {
		return "", faultf(70011, "The provided value for the input parameter 'scope' is not valid. The scope %s names no resource.", clip(scope))
	}
	return resource, nil
}

// audience gives the aud claim and the token version for a resource, which is a
// URI with https or api, or the app id of a principal or a well-known service.
// Which URIs there are is not kept anywhere: a token is of use only where its
// audience is accepted.
func (s *service) audience(ctx context.Context, resource string) (aud string, version int, err error) {
	if id, err := uuid.Parse(resource); err == nil && len(resource) == 36 {
		return s.appAudience(ctx, id.String())
	}
	if !isResourceURI(resource) {
		return "", 0, unknownResource(resource, s.TenantID)
	}
	return resource, 1, nil
}

func (s *service) appAudience(ctx context.Context, appID string) (string, int, error) {
	if wellKnown(appID) {
		return appID, 1, nil
	}
	_, err := s.Directory.ByAppID(ctx, appID)
	if err != nil && problem.KindOf(err) == problem.NotFound {
		return "", 0, unknownResource(appID, s.TenantID)
	}
	return appID, 2, err
}

func isResourceURI(resource string) bool {
	u, err := url.Parse(resource)
	if err != nil || len(resource) > maxResource || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.ContainsAny(resource, "#\\ ") {
		return false
	}
	return (u.Scheme == "https" || u.Scheme == "api") && clip(u.Host) == u.Host
}

func unknownResource(resource, tenant string) error {
	return faultf(500011, "The resource principal named %s was not found in the tenant named %s. A resource is an https:// or api:// URI, or the app id of a principal.", clip(resource), tenant)
}
