package settings

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// EngineKubernetes is the one of Engines that Kubernetes is about.
const EngineKubernetes = "kubernetes"

// Kubernetes says how container apps run on a cluster.
type Kubernetes struct {
	Namespace    string   `json:"namespace"`    // of the replicas
	SidecarImage string   `json:"sidecarImage"` // has Latchkey as /latchkey
	Listen       string   `json:"listen"`       // host:port that sidecars are answered at
	URL          string   `json:"url"`          // https address of it, as sidecars reach it
	PodLabels    []string `json:"podLabels"`    // of Latchkey's own pods, as name=value
	PodNamespace string   `json:"podNamespace"` // theirs
	From         []string `json:"from"`         // networks that may connect to replicas
	To           []string `json:"to"`           // the only ones that replicas may connect to
	OpenNetwork  bool     `json:"openNetwork"`  // no NetworkPolicy is made
	Capabilities []string `json:"capabilities"` // that containers keep
}

// Check refuses what is missing for container apps to run on a cluster. It returns
// problem.Invalid.
func (k Kubernetes) Check() error {
	faults := k.missing()
	if len(faults) == 0 {
		return nil
	}
	return problem.New(problem.Invalid, "container apps cannot run on Kubernetes so:\n  "+strings.Join(faults, "\n  ")).
		WithNext("docs/container-apps-kubernetes.md shows all that is needed")
}

func (k Kubernetes) missing() (faults []string) {
	const at = "containers.kubernetes."
	if k.SidecarImage == "" {
		faults = append(faults, at+"sidecarImage: must name an image with Latchkey that the cluster can pull; deploy/kubernetes/Dockerfile makes one")
	}
	if k.URL == "" {
		faults = append(faults, at+"url: must say where sidecars reach this Latchkey, such as https://latchkey.latchkey.svc:7444")
	}
	if len(k.PodLabels) == 0 && len(k.From) == 0 && !k.OpenNetwork {
		faults = append(faults, at+"podLabels: nobody could connect to replicas; give the labels of Latchkey's pods, or its network in from, or set openNetwork")
	}
	return faults
}

// faults finds values that cannot be right.
func (k Kubernetes) faults() (faults []string) {
	const at = "containers.kubernetes."
	if host, port, err := net.SplitHostPort(k.Listen); k.Listen != "" && (err != nil || port == "" || strings.Contains(host, "/")) {
		faults = append(faults, fmt.Sprintf("%slisten: %q is not host:port", at, k.Listen))
	}
	if k.URL != "" {
		if what := sidecarURL(k.URL); what != "" {
			faults = append(faults, at+"url: "+what)
		}
	}
	for i, pair := range k.PodLabels {
		if name, _, ok := strings.Cut(pair, "="); !ok || name == "" {
			faults = append(faults, fmt.Sprintf("%spodLabels[%d]: %q is not such as app=latchkey", at, i, pair))
		}
	}
	if k.OpenNetwork && len(k.PodLabels)+len(k.From)+len(k.To) > 0 {
		faults = append(faults, at+"openNetwork: is true, and podLabels, from and to would say nothing")
	}
	for i, c := range k.Capabilities {
		if c == "" || strings.Trim(c, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" || strings.HasPrefix(c, "CAP_") || c == "ALL" {
			faults = append(faults, fmt.Sprintf("%scapabilities[%d]: %q is no capability such as CHOWN", at, i, c))
		}
	}
	return append(append(faults, checkNetworks(at+"from", k.From)...), checkNetworks(at+"to", k.To)...)
}

// sidecarURL tells what is wrong with the address that sidecars use. Certificates are
// made for names, and for addresses of this machine.
func sidecarURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Sprintf("%q is not such as https://latchkey.latchkey.svc:7444", text)
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil && !ip.IsLoopback() {
		return fmt.Sprintf("%q has an address; give a host name, for which a certificate can be made", text)
	}
	return ""
}
