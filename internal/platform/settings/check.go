package settings

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// check finds values that contradict each other.
func check(f File) []string {
	var faults []string
	if k := f.State.Kind; k != "" && k != "bolt" && k != "etcd" {
		faults = append(faults, fmt.Sprintf("state.kind: %q is neither bolt nor etcd", k))
	}
	if f.State.Kind == "etcd" && len(f.State.Etcd.Endpoints) == 0 {
		faults = append(faults, "state.etcd.endpoints: must be given with state.kind etcd")
	}
	if f.State.Kind != "etcd" && len(f.State.Etcd.Endpoints) > 0 {
		faults = append(faults, "state.etcd: is given, but state.kind is not etcd")
	}
	if (f.State.Etcd.CertFile == "") != (f.State.Etcd.KeyFile == "") {
		faults = append(faults, "state.etcd: certFile and keyFile go together")
	}
	if (f.Management.CertFile == "") != (f.Management.KeyFile == "") {
		faults = append(faults, "management: certFile and keyFile go together")
	}
	for name, l := range map[string]Listen{"functions": f.Functions, "metrics": f.Metrics} {
		if l.CertFile != "" || l.KeyFile != "" {
			faults = append(faults, name+": is served without TLS; put a proxy with TLS in front")
		}
	}
	faults = append(faults, checkNetworks("federation.networks", f.Federation.Networks)...)
	if i := f.Workers.Isolation; i != "" && i != "auto" && i != "off" && i != "required" {
		faults = append(faults, fmt.Sprintf("workers.isolation: %q is none of auto, off, required", i))
	}
	if id := f.Workers.FirstID; id != 0 && (id < 1000 || id > maxFirstID) {
		faults = append(faults, fmt.Sprintf("workers.firstId: %d is not between 1000 and %d", id, int64(maxFirstID)))
	}
	if e := f.Containers.Engine; e != "" && !slices.Contains(Engines, e) {
		faults = append(faults, fmt.Sprintf("containers.engine: %q is none of %s", e, strings.Join(Engines, ", ")))
	}
	faults = append(faults, f.Containers.Kubernetes.faults()...)
	if f.Containers.Engine == EngineKubernetes {
		faults = append(faults, f.Containers.Kubernetes.missing()...)
	}
	for i, pair := range f.Containers.QueueServices {
		if name, address, _ := strings.Cut(pair, "="); name == "" || !strings.HasPrefix(address, "https://") && !strings.HasPrefix(address, "http://") {
			faults = append(faults, fmt.Sprintf("containers.queueServices[%d]: %q is not such as orders=https://orders.queue.example.net", i, pair))
		}
	}
	if f.Packages.MaxBytes < 0 {
		faults = append(faults, "packages.maxBytes: must not be negative")
	}
	return slices.Concat(faults, checkApps(f.Apps), checkIdentity(f), checkReferences(f.References), f.Portal.OIDC.faults())
}

func checkApps(a Apps) (faults []string) {
	for path, n := range map[string]int64{
		"maxBodyBytes": a.MaxBodyBytes, "maxOrchestrations": a.MaxOrchestrations, "maxOrchestrationBytes": a.MaxOrchestrationBytes,
	} {
		if n < 0 || n > maxOfApp {
			faults = append(faults, fmt.Sprintf("apps.%s: %d is not between 1 and %d", path, n, int64(maxOfApp)))
		}
	}
	slices.Sort(faults)
	return append(faults, checkNetworks("apps.networks", a.Networks)...)
}

func checkNetworks(name string, networks []string) (faults []string) {
	for i, n := range networks {
		if _, err := netip.ParsePrefix(n); err != nil {
			faults = append(faults, fmt.Sprintf("%s[%d]: %q is no network such as 10.0.0.0/8", name, i, n))
		}
	}
	return faults
}

// maxOfApp keeps sums of what apps use far from overflowing.
const maxOfApp = 1 << 40

func checkIdentity(f File) (faults []string) {
	if a := f.Tokens.Algorithm; a != "" && a != "RS256" && a != "ES256" {
		faults = append(faults, fmt.Sprintf("tokens.algorithm: %q is neither RS256 nor ES256", a))
	}
	faults = append(faults, checkDuration("identity.tokenLifetime", f.Identity.TokenLifetime, time.Minute, 24*time.Hour)...)
	for i, u := range f.Identity.Upstream {
		at := fmt.Sprintf("identity.upstream[%d]", i)
		if u.Identity == "" {
			faults = append(faults, at+".identity: must name an app or a user-assigned identity")
		}
		needs := map[string]string{"workload": u.TokenFile, "secret": u.SecretFile, "certificate": u.CertificateFile, "machine": "-"}
		switch file, known := needs[u.Mode]; {
		case !known:
			faults = append(faults, fmt.Sprintf("%s.mode: %q is none of workload, secret, certificate, machine", at, u.Mode))
		case file == "":
			faults = append(faults, fmt.Sprintf("%s: mode %s needs its file: tokenFile, secretFile or certificateFile", at, u.Mode))
		case u.Mode != "machine" && (u.TenantID == "" || u.ClientID == ""):
			faults = append(faults, at+": tenantId and clientId must be given")
		}
	}
	return faults
}

func checkReferences(r References) (faults []string) {
	faults = checkDuration("references.interval", r.Interval, 10*time.Second, 7*24*time.Hour)
	if o := r.OnFailure; o != "" && o != "literal" && o != "refuse" {
		faults = append(faults, fmt.Sprintf("references.onFailure: %q is neither literal nor refuse", o))
	}
	if r.Webhook != "" {
		u, err := url.Parse(r.Webhook)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
			faults = append(faults, "references.webhook: is no https:// address")
		}
	}
	if r.Webhook == "" && r.WebhookSecretFile != "" {
		faults = append(faults, "references.webhookSecretFile: is given, but references.webhook is not")
	}
	return faults
}

func checkDuration(path, text string, least, most time.Duration) []string {
	if text == "" {
		return nil
	}
	if d, err := time.ParseDuration(text); err != nil || d < least || d > most {
		return []string{fmt.Sprintf("%s: %q is no duration between %s and %s", path, text, least, most)}
	}
	return nil
}
