package platform

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/groups"
	"github.com/latchkey/latchkey/internal/portal/issuer"
	"github.com/latchkey/latchkey/internal/portal/session"
	"github.com/latchkey/latchkey/internal/portal/signin"
	"github.com/latchkey/latchkey/internal/problem"
)

// portalClient is the client id that tokens of users say, who have none of their
// own: that of the pages through which they call.
const portalClient = "6c617463-686b-4579-8000-706f7274616c"

// issuerPatience bounds each answer of the provider.
const issuerPatience = 15 * time.Second

// PortalIssuer is an OpenID Connect provider by which people sign in to the portal.
type PortalIssuer struct {
	Issuer, ClientID, ClientSecret string // no Issuer: there is none
	Name                           string // for people
	GroupsClaim                    string
	Scopes                         []string
	Groups                         map[string]string // by value of the claim: name or object id of a group of ours
	Client                         *http.Client      // nil: one that trusts what the machine trusts
}

// portalProvider gives the provider that is configured.
func (n *Node) portalProvider() signin.Provider {
	cfg := n.cfg.Portal.Issuer
	if cfg.Issuer == "" {
		return signin.Provider{}
	}
	client := cfg.Client
	if client == nil {
		client = &http.Client{Timeout: issuerPatience}
	}
	return signin.Provider{Find: n.findUser, Issuer: issuer.New(issuer.Config{
		Issuer: cfg.Issuer, ClientID: cfg.ClientID, ClientSecret: cfg.ClientSecret, Name: cfg.Name, GroupsClaim: cfg.GroupsClaim,
		Scopes: cfg.Scopes, Redirect: n.names.managementURL() + signin.Callback, Clock: n.cfg.Clock, Client: client,
	})}
}

// findUser gives the user that the provider's person is, and has it in the groups
// that the provider says.
func (n *Node) findUser(ctx context.Context, who issuer.Person, remote string) (session.Principal, error) {
	p, err := n.directory.UserByFederated(ctx, who.Issuer, who.Subject, who.ClientID)
	if err == nil {
		err = n.followGroups(ctx, p, who.Groups)
	}
	n.auditPortalSignIn(p, who, remote, err)
	return session.Principal{ObjectID: p.ObjectID, Name: p.Name, Epoch: p.Epoch}, err
}

// auditPortalLink records that somebody signed in by a link: whom it was for, and from
// where it was used, which need not be whoever asked for it.
func (n *Node) auditPortalLink(who session.Principal, remote string) {
	n.audit.Record(audit.Event{
		Time: n.cfg.Clock.Now(), Category: audit.SignIn, Action: "Latchkey.Platform/portal/signIn/action", Outcome: "Succeeded", Source: remote,
		Principal: audit.Principal{ObjectID: who.ObjectID, AppID: who.AppID, Name: who.Name}, Details: map[string]string{"method": "link"},
	})
}

func (n *Node) auditPortalSignIn(p identity.Principal, who issuer.Person, remote string, err error) {
	event := audit.Event{
		Time: n.cfg.Clock.Now(), Category: audit.SignIn, Action: "Latchkey.Platform/portal/signIn/action", Outcome: "Succeeded", Source: remote,
		Principal: audit.Principal{ObjectID: p.ObjectID, Name: p.Name}, Details: map[string]string{"issuer": who.Issuer, "subject": who.Subject},
	}
	if err != nil {
		event.Category, event.Outcome, event.Reason = audit.Denied, "Denied", err.Error()
	}
	n.audit.Record(event)
}

// followGroups puts a user into the groups that are tied to what the provider says,
// and takes it out of the others that are tied. Groups that are not tied to anything
// are none of the provider's business. Without a claim that is read nothing is done.
func (n *Node) followGroups(ctx context.Context, p identity.Principal, said []string) error {
	cfg := n.cfg.Portal.Issuer
	if cfg.GroupsClaim == "" {
		return nil
	}
	member := map[string]bool{} // by group; several values may lead to one
	for value, name := range cfg.Groups {
		g, err := n.groupOf(ctx, name)
		if err != nil {
			return problem.Wrap(problem.KindOf(err), "portal.oidc.groups: "+name+": "+err.Error(), err)
		}
		member[g.ObjectID] = member[g.ObjectID] || slices.Contains(said, value)
	}
	for group, is := range member {
		if err := n.setMember(ctx, group, p, is); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) groupOf(ctx context.Context, name string) (groups.Group, error) {
	g, err := n.groups.Get(ctx, strings.ToLower(name))
	if errors.Is(err, problem.NotFound) || errors.Is(err, problem.Invalid) {
		g, err = n.groups.ByName(ctx, name)
	}
	if errors.Is(err, problem.NotFound) { // that is not the person's fault, who would be told to register
		err = problem.Wrap(problem.Internal, "there is no such group", err)
	}
	return g, err
}

func (n *Node) setMember(ctx context.Context, group string, p identity.Principal, is bool) error {
	g, err := n.groups.Get(ctx, group)
	if err != nil || slices.Contains(g.Members, p.ObjectID) == is {
		return err
	}
	action := "add"
	if is {
		_, err = n.groups.AddMember(ctx, group, p.ObjectID)
	} else {
		action = "remove"
		_, err = n.groups.RemoveMember(ctx, group, p.ObjectID)
	}
	if errors.Is(err, problem.Exists) || !is && errors.Is(err, problem.NotFound) { // somebody was faster
		return nil
	}
	if err == nil {
		n.audit.Record(audit.Event{
			Time: n.cfg.Clock.Now(), Category: audit.Write, Action: "Latchkey.Directory/groups/members/" + action, Outcome: "Succeeded",
			Principal: audit.Principal{ObjectID: p.ObjectID, Name: p.Name},
			Details:   map[string]string{"group": group, "member": p.ObjectID, "by": "the portal's issuer"},
		})
	}
	return err
}
