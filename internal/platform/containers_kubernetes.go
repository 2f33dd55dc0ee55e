package platform

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"

	"crypto/tls"

	"golang.org/x/net/netutil"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/kubernetes"
	"github.com/latchkey/latchkey/internal/kubeapi"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/web"
	"github.com/latchkey/latchkey/internal/web/localca"
)

// DefaultSidecars is where sidecars of a cluster's pods are answered.
const DefaultSidecars = ":7444"

// sidecarConns bounds connections of sidecars; each has few for all of its pod.
const sidecarConns = 8192

// KubernetesConfig says how container apps run on the cluster that the node is in, or
// that KUBECONFIG names.
type KubernetesConfig struct {
	Namespace    string // of the replicas; "" is that of the cluster's access
	SidecarImage string // has Latchkey as /latchkey
	// Listen is host:port that sidecars are answered at, over TLS; default
	// DefaultSidecars. Nothing else is served there. URL is how they reach it.
	Listen, URL string
	// PodLabels are those of Latchkey's own pods, as name=value; PodNamespace is
	// theirs, "" is that of this pod.
	PodLabels    []string
	PodNamespace string
	From, To     []string // networks, see kubernetes.Network
	OpenNetwork  bool
	Capabilities []string // that containers keep
}

// sidecars is what answers those of a cluster's pods.
type sidecars struct {
	answer atomic.Pointer[http.Handler] // nil while this node has no engine
	trust  []byte                       // PEM of the authority
}

// sidecarAuthorities is where the authority for a host of sidecars' requests is. It is
// no other's: pods trust it with this one name.
const sidecarAuthorities state.Key = "/platform/sidecars/"

// listenForSidecars makes the endpoint that sidecars of pods hand requests on to.
func (n *Node) listenForSidecars(ctx context.Context) error {
	k := n.cfg.Containers.Kubernetes
	u, err := url.Parse(k.URL)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" {
		return problem.New(problem.Unsupported, "container apps cannot run on Kubernetes: containers.kubernetes.url does not say where sidecars reach this node").
			WithNext("set it to the https address of Latchkey's Service, such as https://latchkey.latchkey.svc:7444, and start Latchkey again")
	}
	config, err := n.sidecarTLS(ctx, strings.ToLower(u.Hostname()))
	if err != nil {
		return err
	}
	host, port, err := splitAddress("containers.kubernetes.listen", cmp.Or(k.Listen, DefaultSidecars))
	if err != nil {
		return err
	}
	l, err := web.Listen(ctx, host, port)
	if err != nil {
		return problem.Wrap(problem.KindOf(err), "sidecars of containers cannot be answered at "+cmp.Or(k.Listen, DefaultSidecars), err).
			WithNext("choose another address with containers.kubernetes.listen, and start Latchkey again")
	}
	n.containers.url = kubernetes.TokenEndpoint
	server := web.NewTLSServer(netutil.LimitListener(l, sidecarConns), http.HandlerFunc(n.serveSidecars), config, n.log)
	n.beside(func(ctx context.Context) {
		if err := server.Run(ctx, n.cfg.Grace); err != nil {
			n.log.Error("the endpoint for sidecars of containers failed", "reason", err)
		}
	})
	return nil
}

// sidecarTLS gives the certificate for the host that sidecars ask for, whatever they
// say: those that reach an address say nothing.
func (n *Node) sidecarTLS(ctx context.Context, host string) (*tls.Config, error) {
	doc, err := createOnce(ctx, n.store, sidecarAuthorities+state.Key(host), func() ([]byte, error) {
		return localca.Generate("Latchkey "+n.install.TenantID[:8]+" sidecars", []string{host}, n.outside().Now())
	})
	if err != nil {
		return nil, err
	}
	authority, err := localca.Open(doc.Value, n.outside(), func(name string) bool { return name == host })
	if err != nil {
		return nil, err
	}
	n.containers.sidecars.trust = authority.PEM()
	config := authority.TLS()
	config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return authority.For(host) }
	return config, nil
}

// serveSidecars answers sidecars while this node runs container apps. They ask again
// after 503.
func (n *Node) serveSidecars(w http.ResponseWriter, r *http.Request) {
	if h := n.containers.sidecars.answer.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	web.WriteText(w, http.StatusServiceUnavailable, "Container apps do not run on this node now.\n")
}

func (n *Node) openKubernetesEngine(ctx context.Context, cfg engine.Config) (engine.Engine, error) {
	k := n.cfg.Containers.Kubernetes
	if k.SidecarImage == "" {
		return nil, problem.New(problem.Unsupported, "container apps cannot run on Kubernetes: containers.kubernetes.sidecarImage names no image").
			WithNext("make one with deploy/kubernetes/Dockerfile, push it to a registry of the cluster, set containers.kubernetes.sidecarImage and start Latchkey again")
	}
	access, way, err := n.clusterAccess()
	if err != nil {
		return nil, err
	}
	namespace := podNamespace(k, access)
	if k.Namespace != "" {
		access.Namespace, access.NamespaceFile = k.Namespace, ""
	}
	e, err := kubernetes.Open(ctx, kubernetes.Config{
		Config: cfg, Access: access, Capabilities: k.Capabilities,
		Sidecar: kubernetes.Sidecar{Image: k.SidecarImage, Command: []string{"/latchkey", SidecarCommand}, Upstream: k.URL, CA: n.containers.sidecars.trust},
		Network: kubernetes.Network{Open: k.OpenNetwork, Pods: labels(k.PodLabels), Namespace: namespace, From: k.From, To: k.To},
	})
	if err != nil {
		return nil, triedCluster(err, way, access)
	}
	h := e.Handler(n.containers.endpoint)
	n.containers.sidecars.answer.Store(&h)
	return e, nil
}

// clusterAccess finds the cluster, and says how.
func (n *Node) clusterAccess() (a kubeapi.Access, way string, err error) {
	get := func(name string) string { return lookup(n.cfg.Environ, name) }
	way = "the service account of this pod"
	if file := get("KUBECONFIG"); file != "" {
		way = "KUBECONFIG=" + file
	}
	if a, err = kubeapi.Find(get); err != nil {
		return a, way, problem.Wrap(problem.KindOf(err), "container apps find no Kubernetes cluster by "+way, err).WithNext(problem.NextOf(err))
	}
	return a, way, nil
}

// triedCluster says of a cluster that does not do how it was found.
func triedCluster(err error, way string, a kubeapi.Access) error {
	return engine.Fail(engine.ReasonOf(err), problem.Wrap(problem.KindOf(err), fmt.Sprintf("container apps cannot run on the Kubernetes cluster at %s, found by %s", a.Server, way), err).
		WithNext(problem.NextOf(err)))
}

// podNamespace gives the namespace of Latchkey's own pods: the setting, else this
// pod's. Outside of a cluster there is none.
func podNamespace(k KubernetesConfig, a kubeapi.Access) string {
	if k.PodNamespace != "" || a.NamespaceFile == "" {
		return k.PodNamespace
	}
	text, err := os.ReadFile(a.NamespaceFile)
	if err != nil {
		return "" // which is the replicas'
	}
	return strings.TrimSpace(string(text))
}

func labels(pairs []string) map[string]string {
	out := map[string]string{}
	for _, pair := range pairs {
		if name, value, ok := strings.Cut(pair, "="); ok {
			out[name] = value
		}
	}
	return out
}

// lookup gives a variable of an environment; of several the last one counts.
func lookup(environ []string, name string) (value string) {
	for _, entry := range environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}
