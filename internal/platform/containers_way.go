package platform

import (
	"context"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trust/connect"
)

// containerWay gives containers what workers have to reach the installation's own
// hosts, such as vaults: its authority, and a proxy where its names are not known.
// Containers of Docker have the proxy in their sidecar: on Kubernetes, the cluster's
// DNS and volumes are for that.
func (n *Node) containerWay() (env []engine.Env) {
	switch n.cfg.Containers.Engine {
	case EngineDocker, EngineAuto:
		return []engine.Env{
			{Name: "HTTPS_PROXY", Value: "http://" + SidecarProxy}, {Name: "NODE_EXTRA_CA_CERTS", Value: path.Join(trustFolder, CAFile)},
			{Name: "NO_PROXY", Value: "127.0.0.1,::1"}, {Name: "REQUESTS_CA_BUNDLE", Value: path.Join(trustFolder, BundleFile)},
			{Name: "SSL_CERT_FILE", Value: path.Join(trustFolder, BundleFile)},
		}
	case EngineProcess:
	default:
		return nil
	}
	for name, value := range n.baseEnv(nil) {
		if !slices.Contains(passed, name) && !slices.Contains(personal, name) {
			env = append(env, engine.Env{Name: name, Value: value})
		}
	}
	slices.SortFunc(env, func(x, y engine.Env) int { return strings.Compare(x.Name, y.Name) })
	return env
}

// The way of containers with a sidecar: the proxy in it reaches the installation's
// names by a socket of the node, and others from the network of the replica.
const (
	SidecarProxy   = "127.0.0.1:42357"
	SidecarWay     = sidecarFolder + "/" + waySocket
	SidecarTunnels = 512             // at a time
	waySocket      = "way.sock"      // beside that of the identity endpoint
	trustFolder    = "/etc/latchkey" // in containers, with what the data folder has under the same names
)

// maxTrust is the most that a file of authorities may have.
const maxTrust = 16 << 20

// containerTrust gives the files by which clients in containers trust the
// installation's authority. The bundle has what this machine trusts besides, as usual
// clients read one bundle only.
func (n *Node) containerTrust() (files []engine.File, err error) {
	for _, name := range []string{CAFile, BundleFile} {
		text, err := atomicfile.Read(n.path(name), maxTrust)
		if err != nil {
			return nil, problem.Wrap(problem.Unavailable, "the certificate of the authority cannot be read", err)
		}
		files = append(files, engine.File{Path: path.Join(trustFolder, name), Data: text})
	}
	return files, nil
}

// openWay lets sidecars reach the management port, which vaults are on too, and
// nothing else. What is reached asks for tokens as it does anybody.
func (n *Node) openWay(ctx context.Context) error {
	at := filepath.Join(n.path(identityFolder), waySocket)
	_ = os.Remove(at) // of the process before
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", at)
	if err == nil {
		err = os.Chmod(at, 0o666) // see listenSocket
	}
	if err != nil {
		return problem.Wrap(problem.Unavailable, "the way from containers to vaults cannot be served at "+at, err)
	}
	p := connect.New(connect.Config{
		Domain: n.cfg.Domain, Node: dialable(n.management), Ports: []int{n.names.management}, Tunnels: workerTunnels, Log: n.log,
	})
	n.beside(func(ctx context.Context) {
		if err := p.Serve(ctx, l, n.cfg.Grace); err != nil {
			n.log.Error("the way from containers to vaults ended", "reason", err)
		}
	})
	return nil
}
