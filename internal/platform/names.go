package platform

import (
	"net"
	"strconv"
	"strings"
)

// names are the host names of an installation.
type names struct {
	domain                string
	functions, management int // ports
}

// kinds of hosts.
type hostKind uint8

const (
	hostOther hostKind = iota // the management API answers: addresses, the domain itself
	hostApp                   // <app>.<domain>
	hostSCM                   // <app>.scm.<domain>
	hostVault                 // <vault>.vault.<domain>
)

// lowerHosts are the kinds of hosts below a label of their own. They never change.
var lowerHosts = [...]struct {
	suffix string
	kind   hostKind
}{{".scm", hostSCM}, {".vault", hostVault}}

// kindOf tells what a host name (with or without port) is for, and which app or vault.
func (n names) kindOf(host string) (hostKind, string) {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	first, ok := strings.CutSuffix(host, "."+n.domain)
	if !ok || first == "" {
		return hostOther, ""
	}
	for _, below := range lowerHosts {
		if name, ok := strings.CutSuffix(first, below.suffix); ok && name != "" && !strings.Contains(name, ".") {
			return below.kind, name
		}
	}
	if strings.Contains(first, ".") {
		return hostOther, ""
	}
	return hostApp, first
}

// vouches reports whether the installation's authority signs for a host.
func (n names) vouches(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	if host != n.domain && !strings.HasSuffix(host, "."+n.domain) {
		return false
	}
	return strings.Count(strings.TrimSuffix(host, n.domain), ".") <= 3
}

func (n names) managementURL() string {
	return "https://" + withPort(n.domain, n.management, 443)
}

// vaultResource gives what tokens for vaults are made for.
func (n names) vaultResource() string {
	return "https://" + withPort("vault."+n.domain, n.management, 443)
}

// vaultURL gives the address of a vault, with a slash at the end.
func (n names) vaultURL(vault string) string {
	return "https://" + withPort(strings.ToLower(vault)+".vault."+n.domain, n.management, 443) + "/"
}

func withPort(host string, port, usual int) string {
	if port == usual {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}
