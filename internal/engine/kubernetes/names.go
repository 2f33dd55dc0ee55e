package kubernetes

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/latchkey/latchkey/internal/engine"
)

// Labels and annotations of all that is made. What strangers wrote is in annotations
// only, which hold any text; labels and names have digests of it.
const (
	labelBy           = "app.kubernetes.io/managed-by"
	labelInstallation = "latchkey/installation"
	labelRevision     = "latchkey/revision" // the base name
	labelDigest       = "latchkey/digest"   // of the spec, on pods and secrets
	noteApp           = "latchkey/app"
	noteRevision      = "latchkey/revision-name"
	noteGeneration    = "latchkey/generation" // of the spec, on pods
)

// base gives the name that a revision's objects begin with: a DNS label that leaves
// room for what Kubernetes puts behind it in names of pods.
func (e *Engine) base(ref engine.Ref) string {
	ref = ref.Key()
	sum := sha256.Sum256([]byte(e.cfg.Installation + "\x00" + ref.App + "\x00" + ref.Revision))
	short := strings.TrimRight(ref.Revision[:min(len(ref.Revision), 28)], "-")
	return "lk-" + short + "-" + hex.EncodeToString(sum[:5])
}

func (e *Engine) selector() string { return labelInstallation + "=" + e.cfg.Installation }

// meta gives the metadata of an object of a revision.
func (r *revision) meta(name string, more map[string]string) fields {
	labels := fields{labelBy: Manager, labelInstallation: r.e.cfg.Installation, labelRevision: r.base}
	for k, v := range more {
		labels[k] = v
	}
	return fields{"name": name, "namespace": r.e.ns, "labels": labels,
		"annotations": fields{noteApp: r.ref.App, noteRevision: r.ref.Revision}}
}

// kind is a kind of object.
type kind struct {
	name     string
	group    string // with its version
	plural   string
	full     bool // all of it is read, not the metadata only
	optional bool // the cluster may not have it
}

var (
	configMap      = kind{name: "ConfigMap", group: "v1", plural: "configmaps"}
	secret         = kind{name: "Secret", group: "v1", plural: "secrets"}
	service        = kind{name: "Service", group: "v1", plural: "services"}
	serviceAccount = kind{name: "ServiceAccount", group: "v1", plural: "serviceaccounts"}
	pods           = kind{name: "Pod", group: "v1", plural: "pods", full: true}
	deployment     = kind{name: "Deployment", group: "apps/v1", plural: "deployments", full: true}
	networkPolicy  = kind{name: "NetworkPolicy", group: "networking.k8s.io/v1", plural: "networkpolicies"}
	budget         = kind{name: "PodDisruptionBudget", group: "policy/v1", plural: "poddisruptionbudgets"}
	scaler         = kind{name: "HorizontalPodAutoscaler", group: "autoscaling/v2", plural: "horizontalpodautoscalers"}
	scaledObject   = kind{name: "ScaledObject", group: "keda.sh/v1alpha1", plural: "scaledobjects", optional: true}
	triggerAuth    = kind{name: "TriggerAuthentication", group: "keda.sh/v1alpha1", plural: "triggerauthentications", optional: true}
)

// kinds are all that are watched.
var kinds = []kind{deployment, pods, configMap, secret, service, serviceAccount, networkPolicy, budget, scaler, scaledObject, triggerAuth}

// path gives the address of the objects of a kind, or of one of them.
func (k kind) path(ns, name string) string {
	at := "/apis/" + k.group
	if k.group == "v1" {
		at = "/api/v1"
	}
	at += "/namespaces/" + ns + "/" + k.plural
	if name != "" {
		at += "/" + name
	}
	return at
}
