package platform

import (
	"context"
	"net"
	"strings"

	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/containerapp/registries"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/token"
)

// openContainerRegistries makes what gives the credentials of container apps' images.
func (n *Node) openContainerRegistries() {
	n.containers.registry = registries.New(registries.Config{
		App: func(ctx context.Context, name string) (containerapp.App, error) {
			id, err := resource.Parse(name)
			if err != nil {
				return containerapp.App{}, err
			}
			return n.containers.apps.Get(ctx, id)
		},
		Secret: n.containers.vaults.Value, Token: n.registryToken, Allow: n.mayHaveToken, Clock: n.outside(), Log: n.log,
	})
}

// registryToken gives a token of a container app's identity for the control plane
// itself, whatever the identity's lifecycle.
func (n *Node) registryToken(ctx context.Context, a containerapp.App, which, audience string) (string, error) {
	who, err := n.containerIdentity(ctx, a, which)
	if err != nil {
		return "", err
	}
	t, err := n.tokens.Get(ctx, who, audience)
	n.auditContainerToken("registryToken", a, who, audience, t, err)
	return t.Raw, err
}

// auditContainerToken records a token that the control plane got for itself with an
// identity of a container app.
func (n *Node) auditContainerToken(action string, a containerapp.App, who identity.Assigned, audience string, t token.Token, err error) {
	event := audit.Event{
		Time: n.cfg.Clock.Now(), Category: audit.SignIn, Action: action, Scope: a.ID.String(), Outcome: "Succeeded",
		Principal: audit.Principal{ObjectID: who.ObjectID, AppID: who.AppID, Name: who.ResourceID},
		Details:   map[string]string{"audience": audience, "token": t.ID},
	}
	if err != nil {
		event.Category, event.Outcome, event.Reason = audit.Denied, "Denied", problem.KindOf(err).Error()
	}
	n.audit.Record(event)
}

// cloudRegistries end the hosts of the cloud's registries.
var cloudRegistries = []string{".azurecr.io", ".azurecr.cn", ".azurecr.us"}

// mayHaveToken keeps tokens of the cloud, which identities that are mapped there get,
// from servers that are not the cloud's: who runs one could use them in the cloud.
// Tokens that we make are of use only to who trusts us.
func (n *Node) mayHaveToken(ctx context.Context, a containerapp.App, which, server string) error {
	who, err := n.containerIdentity(ctx, a, which)
	if err != nil {
		return nil // that there is no token is told in other words
	}
	if _, mapped := n.upstream.Credential(who); !mapped {
		return nil
	}
	host := server
	if h, port, err := net.SplitHostPort(server); err == nil && port == "443" {
		host = h
	}
	for _, end := range cloudRegistries {
		if strings.HasSuffix(host, end) {
			return nil
		}
	}
	return problem.New(problem.Denied, "its tokens are the cloud's, and the server is none of the cloud's registries").
		WithNext("use a registry of Azure, an identity that is not mapped to the cloud, or a username with passwordSecretRef")
}
