package platform

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/installation"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/platform/fleet"
	"github.com/latchkey/latchkey/internal/portal"
	"github.com/latchkey/latchkey/internal/portal/session"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/token"
)

// Tokens of the portal for those who are signed in there.
const (
	portalTokenLife  = 10 * time.Minute
	portalTokenLeast = time.Minute // left of one that is used again
	portalTokens     = 512         // that are remembered
	portalSweep      = time.Hour   // between looks for sessions that are over
)

// openPortal makes the pages, unless they are switched off.
func (n *Node) openPortal(api, vaults http.Handler) (http.Handler, error) {
	if n.cfg.Portal.Off {
		return nil, nil
	}
	known, err := lru.New[session.Principal, token.Token](portalTokens)
	if err != nil {
		return nil, err
	}
	forVaults, err := lru.New[session.Principal, token.Token](portalTokens)
	if err != nil {
		return nil, err
	}
	p, err := portal.New(portal.Config{
		Provider: n.portalProvider(), Entered: n.auditPortalLink, Console: n.console(),
		Streams: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n.streams.ServeHTTP(w, r) }), // which are opened later
		Vaults:  vaults, VaultToken: n.portalToken(forVaults, n.names.vaultResource()),
		API: api, Token: n.portalToken(known, n.names.managementURL()), Endpoint: n.names.managementURL(), SubscriptionID: n.install.SubscriptionID,
		Store: n.store, Clock: n.cfg.Clock, Log: n.log, Version: n.cfg.Version,
	})
	if err != nil {
		return nil, err
	}
	n.portal.Store(p)
	n.beside(n.sweepPortal)
	n.beside(n.watchForPortal)
	return p, nil
}

func (n *Node) sweepPortal(ctx context.Context) {
	for {
		timer := n.cfg.Clock.NewTimer(portalSweep)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		}
		if err := n.portal.Load().Sweep(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("sessions of the portal that are over cannot be removed", "reason", err)
		}
	}
}

// appChanged takes a change of how an app does on this node. Where nobody else uses
// the state it is told to pages only.
func (n *Node) appChanged(st fleet.Status) {
	if st.State == fleet.Gone {
		n.logs.Forget(st.Name)
	}
	n.statuses.publish(st)
	if p := n.portal.Load(); p != nil {
		p.Notify()
	}
}

// shownPrefixes are the documents that pages of the portal show something of.
var shownPrefixes = []string{"/resources/", "/sites/", "/status/", "/references/", "/keys/", "/roles/", "/audit/"}

// watchForPortal tells pages that are open when something they may show has changed,
// on whichever node.
func (n *Node) watchForPortal(ctx context.Context) {
	p := n.portal.Load()
	n.heed(ctx, p.Notify, func(key state.Key) {
		if slices.ContainsFunc(shownPrefixes, func(prefix string) bool { return strings.HasPrefix(string(key), prefix) }) {
			p.Notify()
		}
	})
}

// portalToken gives tokens for those who are signed in to the portal. Whether they
// are still welcome is asked every time, and again by whom they are for.
func (n *Node) portalToken(known *lru.Cache[session.Principal, token.Token], audience string) func(context.Context, session.Principal) (string, error) {
	return func(ctx context.Context, p session.Principal) (string, error) {
		if _, err := n.directory.Accepts(ctx, p.ObjectID, p.Epoch); err != nil {
			known.Remove(p)
			return "", err
		}
		if t, ok := known.Get(p); ok && t.Expires.Sub(n.cfg.Clock.Now()) > portalTokenLeast && n.authority.Signs(ctx, t.KeyID) {
			return t.Raw, nil
		}
		client := p.AppID
		if client == "" {
			client = portalClient
		}
		life := portalTokenLife
		if left := time.Unix(p.Until, 0).Sub(n.cfg.Clock.Now()); p.Until != 0 && left < life {
			life = max(left, time.Second)
		}
		t, err := n.authority.Mint(ctx, token.Claims{
			Audience: audience, ObjectID: p.ObjectID, AppID: client, Proof: token.ProofNone, Method: token.Method(p.Method), Epoch: p.Epoch,
		}, life)
		if err == nil {
			known.Add(p, t)
		}
		return t.Raw, err
	}
}

// portalLink makes a link by which the caller of the management API signs in to the
// portal.
func (n *Node) portalLink(ctx context.Context, c arm.Caller) (installation.PortalLink, error) {
	if n.portal.Load() == nil {
		return installation.PortalLink{}, problem.New(problem.Unsupported, "this installation has no portal").WithNext("take portal.disabled out of latchkey.yaml, or LATCHKEY_PORTAL_DISABLED out of the node's environment")
	}
	p, err := n.directory.Get(ctx, c.ObjectID)
	if errors.Is(err, problem.NotFound) || err == nil && p.Kind == identity.ManagedIdentity {
		return installation.PortalLink{}, problem.New(problem.Denied, "identities of apps do not sign in to the portal")
	}
	if err != nil {
		return installation.PortalLink{}, err
	}
	return n.linkFor(ctx, p, sessionEnd(c.Token, n.cfg.Clock.Now()))
}

// Bounds of sessions that begin with a link, by the proof it was asked for with.
const (
	freshProof       = 10 * time.Minute // a token as young as that stands for the secret or certificate it was got with
	federatedSession = time.Hour
)

// sessionEnd gives when a session must end that begins with a link asked for with a
// token; the zero time leaves it to sessions. Who has just shown a secret or a
// certificate could ask again at any time. Any other token must not buy more than it
// is itself: whoever found one would have a session instead, and a workload's proof of
// another issuer is good for a short job.
func sessionEnd(t arm.Token, now time.Time) time.Time {
	own := t.Method == token.BySecret || t.Method == token.ByCertificate
	if own && now.Sub(t.Issued) <= freshProof {
		return time.Time{}
	}
	if end := now.Add(federatedSession); !own && end.Before(t.Expires) {
		return end
	}
	return t.Expires
}

func (n *Node) linkFor(ctx context.Context, p identity.Principal, end time.Time) (installation.PortalLink, error) {
	who := session.Principal{ObjectID: p.ObjectID, AppID: p.AppID, Name: p.Name, Epoch: p.Epoch}
	if !end.IsZero() {
		who.Until = end.Unix()
	}
	url, until, err := n.portal.Load().Link(ctx, who)
	return installation.PortalLink{URL: url, Expires: until}, err
}

// OwnerLink makes a link by which the owner signs in to the portal, for who started
// the node and may read the owner's credential beside it. It returns
// problem.Unsupported where there is no portal, and problem.NotFound where the owner
// is gone.
func (n *Node) OwnerLink(ctx context.Context) (string, error) {
	if n.portal.Load() == nil {
		return "", problem.New(problem.Unsupported, "this installation has no portal")
	}
	p, err := n.directory.Get(ctx, n.install.OwnerID)
	if err != nil {
		return "", err
	}
	link, err := n.linkFor(ctx, p, time.Time{})
	return link.URL, err
}
