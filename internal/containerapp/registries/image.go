package registries

import (
	"net"
	"strings"
)

// hub is Docker Hub, which images without a server's name are of.
const hub = "docker.io"

// hubs are the names it goes by.
var hubs = map[string]bool{hub: true, "index.docker.io": true, "registry-1.docker.io": true, "registry.hub.docker.com": true, "hub.docker.com": true}

// Server gives the registry that an image is of: a host in lower case, with its
// port unless that is 443; "docker.io" for all names of Docker Hub.
func Server(image string) string {
	server, _ := split(image)
	return normal(server)
}

// split parts an image's name into server and the rest.
func split(image string) (server, rest string) {
	first, rest, found := strings.Cut(image, "/")
	if found && (strings.ContainsAny(first, ".:") || first == "localhost") {
		return first, rest
	}
	return hub, image
}

// repository gives an image's repository in its registry, without tag and digest.
func repository(image string) string {
	_, rest := split(image)
	rest, _, _ = strings.Cut(rest, "@")
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		rest = rest[:i]
	}
	return rest
}

// normal gives a server's name as servers are compared.
func normal(server string) string {
	server = strings.ToLower(strings.TrimSpace(server))
	server = strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://")
	server, _, _ = strings.Cut(server, "/")
	server = strings.TrimSuffix(server, ":443")
	if hubs[server] {
		return hub
	}
	return server
}

// isLoopback reports whether a server, with or without port, is on this machine by
// its name.
func isLoopback(server string) bool {
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		host = strings.Trim(server, "[]")
	}
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}
