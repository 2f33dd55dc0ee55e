package platform

import (
	"net"
	"net/http"

	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/identity/federation"
	"github.com/latchkey/latchkey/internal/tokenapi"
)

// newSTS makes the token service.
func (n *Node) newSTS() http.Handler {
	issuers := federation.New(federation.Config{Clock: n.cfg.Clock, Log: n.log, Allow: n.cfg.IssuerNetworks})
	return tokenapi.New(tokenapi.Config{
		Directory: n.directory, Authority: n.authority, TenantID: n.install.TenantID,
		Clock: n.cfg.Clock, Log: n.log, AllowHost: n.allowHost, Issuers: issuers, OnEvent: n.auditSignIn,
	})
}

// allowHost reports whether this installation goes by a host name: what it is told
// by clients ends up in what it tells them.
func (n *Node) allowHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return n.names.vouches(host) || n.extraHost(host) || n.certified(host)
}

// extraHost reports whether a host is the address the listener was given.
func (n *Node) extraHost(host string) bool {
	own, _, err := net.SplitHostPort(n.cfg.Management)
	return err == nil && own != "" && own == host
}

// auditSignIn records tokens given out and refused. It does not wait.
func (n *Node) auditSignIn(e tokenapi.Event) {
	event := audit.Event{
		Time: e.Time, Category: audit.SignIn, Action: "token", Outcome: "Succeeded", Source: e.Source, CorrelationID: e.CorrelationID,
		Principal: audit.Principal{ObjectID: e.ObjectID, AppID: e.AppID, Name: e.Name},
		Details:   map[string]string{"method": e.Method, "credential": e.CredentialID, "audience": e.Audience, "token": e.TokenID},
	}
	if !e.Granted {
		event.Category, event.Outcome, event.Reason = audit.Denied, "Denied", e.Reason
	}
	n.audit.Record(event)
}
