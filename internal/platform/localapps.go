package platform

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/trigger/durable"
)

// localParameter names the app that a worker's call to its own host is for. Names
// below the domain are not resolved on many machines, so that workers call the
// address of the functions' listener, where they need no other webhook.
const localParameter = "app"

func localQuery(app string) string { return localParameter + "=" + url.QueryEscape(app) }

// localURL gives the address of the functions' listener for this machine.
func (n *Node) localURL() string {
	return "http://" + net.JoinHostPort(dialable(n.functions), strconv.Itoa(n.names.functions))
}

// localApp gives the app that a call of a worker is for; "" for any other call. The
// app's own host names it as well as any client could: it opens nothing.
func localApp(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil || net.ParseIP(host) == nil || !strings.HasPrefix(r.URL.Path, durable.Base+"/") {
		return ""
	}
	return r.URL.Query().Get(localParameter)
}

// serveLocal serves a call of a worker to its own host, and reports whether it was one.
func (n *Node) serveLocal(w http.ResponseWriter, r *http.Request) bool {
	name := localApp(r)
	if name == "" {
		return false
	}
	r = r.Clone(r.Context())
	r.Host = n.apps.Hosts(name).App // links in the answer are for everybody
	return n.fleet.Serve(name, w, r)
}
