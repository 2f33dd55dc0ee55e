package platform

import (
	"context"

	"net/http"

	"github.com/latchkey/latchkey/internal/containerstream"
	"github.com/latchkey/latchkey/internal/portal"
	"github.com/latchkey/latchkey/internal/tokenapi"
	"github.com/latchkey/latchkey/internal/web"
)

// openManagement makes the handler of the TLS listener: the token service and the
// management API at the domain and at addresses, deployment endpoints, vaults and apps at
// host names of their own.
func (n *Node) openManagement(context.Context) error {
	sts := n.newSTS()
	api, err := n.newAPI()
	if err != nil {
		return err
	}
	scm := n.newSCM()
	vaults, err := n.newVaultAPI()
	if err != nil {
		return err
	}
	pages, err := n.openPortal(api, vaults)
	if err != nil {
		return err
	}
	if err := n.openStreams(); err != nil {
		return err
	}
	n.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch kind, name := n.names.kindOf(r.Host); {
		case kind == hostSCM:
			scm.ServeHTTP(w, r)
		case kind == hostVault:
			vaults.ServeHTTP(w, r)
		case kind == hostApp:
			answer := apart(w, r)
			defer answer.end()
			if !n.fleet.Serve(name, answer, r) {
				web.WriteText(w, http.StatusNotFound, "404 Site not found: no app has this host name.\n")
			}
		case kind == hostOther && n.serveContainerTLS(w, r):
		case pages != nil && portal.Owns(r.URL.Path) && n.allowHost(r.Host):
			pages.ServeHTTP(w, r)
		case r.URL.Path == "/":
			n.serveHome(w, r)
		case tokenapi.Owns(r.URL.Path):
			sts.ServeHTTP(w, r)
		case containerstream.Owns(r.URL.Path):
			n.streams.ServeHTTP(w, r)
		default:
			api.ServeHTTP(w, r)
		}
	})
	return nil
}

// serveHome tells people who open the management address in a browser what it is.
func (n *Node) serveHome(w http.ResponseWriter, _ *http.Request) {
	web.WriteText(w, http.StatusOK, "Latchkey "+n.cfg.Version+": management API and token service.\n"+
		"Clients: see /metadata/endpoints?api-version=2022-09-01 and docs/clients.md.\n")
}
