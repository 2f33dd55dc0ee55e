package platform

import (
	"net"
	"net/http"
	"strconv"
	"strings"

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

// allowHost reports whether this installation goes by a host name, with or without
// port: what it is told by clients ends up in what it tells them, and in what
// tokens and assertions it accepts as meant for itself. Hosts of apps and others
// below the domain are somebody else's.
func (n *Node) allowHost(hostPort string) bool {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		host, port = strings.Trim(hostPort, "[]"), "443"
	}
	host = strings.ToLower(host)
	known := host == n.names.domain || isLoopback(host) || n.extraHost(host) || n.certified(host)
	return known && n.isOurPort(host, port)
}

// isOurPort reports whether a port can be this listener's. Loopback names belong
// to every program of the machine, each by its port: a token that was meant for
// another must not open the management API. Only where the listener is reached
// from elsewhere can the port that clients see be another one: that of a container
// or a proxy.
func (n *Node) isOurPort(host, port string) bool {
	tcp, ok := n.management.Addr().(*net.TCPAddr)
	if !ok || !tcp.IP.IsLoopback() || !isLoopback(host) && host != "localhost" && !strings.HasSuffix(host, ".localhost") {
		return true
	}
	return port == strconv.Itoa(n.names.management)
}

// isLoopback reports whether a host is an address of this machine itself.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
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
