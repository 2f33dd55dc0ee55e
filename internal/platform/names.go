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
)

// kindOf tells what a host name (with or without port) is for, and which app.
func (n names) kindOf(host string) (hostKind, string) {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	first, ok := strings.CutSuffix(host, "."+n.domain)
	if !ok || first == "" {
		return hostOther, ""
	}
	if app, ok := strings.CutSuffix(first, ".scm"); ok && app != "" && !strings.Contains(app, ".") {
		return hostSCM, app
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

func withPort(host string, port, usual int) string {
	if port == usual {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}
