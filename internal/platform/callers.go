package platform

import (
	"context"
	"errors"
	"net/http"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/token"
)

// audiences are what tokens for the management API may be made for: its own
// address, the one the client uses if it is one of ours, and the names the cloud's
// has, which clients built for the cloud ask for whatever the address.
func (n *Node) audiences(host string) []string {
	list := []string{n.names.managementURL(), "https://management.azure.com", "https://management.core.windows.net"}
	if n.allowHost(host) {
		list = append(list, "https://"+host)
	}
	return list
}

// authenticate tells who sends a request, by its bearer token.
func (n *Node) authenticate(ctx context.Context, r *http.Request) (token.Verified, error) {
	raw, err := bearer(r)
	if err != nil {
		return token.Verified{}, err
	}
	return n.authority.Verify(ctx, raw, token.Expect{Audiences: n.audiences(r.Host)})
}

// armCaller is authenticate for the management API.
func (n *Node) armCaller(ctx context.Context, r *http.Request) (arm.Caller, error) {
	v, err := n.authenticate(ctx, r)
	var refused *token.Refused
	switch {
	case errors.As(err, &refused) && refused.Reason == token.Expired && n.drill == nil:
		return arm.Caller{}, arm.ExpiredToken(refused.Error())
	case token.IsRevoked(err):
		return arm.Caller{}, arm.RevokedToken(err.Error())
	case errors.As(err, &refused):
		return arm.Caller{}, arm.InvalidToken(refused.Error())
	case err != nil:
		return arm.Caller{}, err
	}
	in, err := n.groups.Of(ctx, v.ObjectID)
	return arm.Caller{ObjectID: v.ObjectID, AppID: v.AppID, TenantID: v.TenantID, Name: v.Name, Groups: in, Token: arm.Token{Method: v.Method, Issued: v.Issued, Expires: v.Expires}}, err
}

// scmCaller is authenticate for the deployment endpoints.
func (n *Node) scmCaller(ctx context.Context, r *http.Request) (principal string, groups []string, err error) {
	v, err := n.authenticate(ctx, r)
	if err != nil {
		return "", nil, err
	}
	groups, err = n.groups.Of(ctx, v.ObjectID)
	return v.ObjectID, groups, err
}
