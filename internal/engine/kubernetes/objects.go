package kubernetes

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// wanted is one object that is to be there.
type wanted struct {
	kind   kind
	object fields
}

// name gives the object's name.
func (w wanted) name() string { return w.object["metadata"].(fields)["name"].(string) }

const maxSecret = 1 << 20 // bytes that the API server takes

// owner is what all other objects of a revision belong to: with it they go, also when
// Latchkey is not there any more.
func (r *revision) owner() wanted {
	object := fields{"metadata": r.meta(r.base, nil)}
	if ca := r.e.cfg.Sidecar.CA; len(ca) > 0 {
		object["data"] = fields{"ca.crt": string(ca)}
	}
	return wanted{configMap, object}
}

// owned makes an object belong to the owner.
func (r *revision) owned(uid string, w wanted) wanted {
	w.object["metadata"].(fields)["ownerReferences"] = []any{fields{"apiVersion": "v1", "kind": "ConfigMap", "name": r.base, "uid": uid}}
	return w
}

func secretOf(meta fields, form string, data map[string][]byte) wanted {
	out := fields{}
	for k, v := range data {
		out[k] = base64.StdEncoding.EncodeToString(v)
	}
	return wanted{secret, fields{"metadata": meta, "type": form, "data": out}}
}

// values are the secrets of a spec.
func (r *revision) values(s engine.Spec) (wanted, error) {
	data, size := map[string][]byte{}, 0
	s.Containers(func(_ engine.Role, c engine.Container) {
		for i, e := range c.Env {
			if e.Secret {
				data[envKey(c.Name, i)] = []byte(e.Value)
			}
		}
	})
	for i, v := range s.Volumes {
		for n, f := range v.Files {
			data[fileKey(i, n)] = f.Data
		}
	}
	for _, v := range data {
		size += len(v)
	}
	if size > maxSecret {
		return wanted{}, engine.Fail(engine.ReasonOther, problem.New(problem.TooLarge, fmt.Sprintf("the secrets of the revision have %d bytes, more than the %d that Kubernetes takes", size, maxSecret)))
	}
	return secretOf(r.meta(r.valuesName(s), map[string]string{labelDigest: digest(s)}), "Opaque", data), nil
}

func (r *revision) account() wanted {
	return wanted{serviceAccount, fields{"metadata": r.meta(r.base, nil), "automountServiceAccountToken": false}}
}

// deployment gives the Deployment; replicas below 0 are not said.
func (r *revision) deployment(s engine.Spec, replicas int, pull bool) wanted {
	spec := fields{
		"selector": r.podSelector(), "template": r.pod(s, pull), "revisionHistoryLimit": 0,
		"strategy": fields{"type": "RollingUpdate", "rollingUpdate": fields{"maxUnavailable": 0, "maxSurge": "25%"}},
	}
	if replicas >= 0 {
		spec["replicas"] = replicas
	}
	return wanted{deployment, fields{"metadata": r.meta(r.base, map[string]string{labelDigest: digest(s)}), "spec": spec}}
}

// service makes a revision's ports reachable in the cluster under one name.
func (r *revision) service(s engine.Spec) wanted {
	var ports []any
	for _, p := range s.AllPorts() {
		ports = append(ports, fields{"name": fmt.Sprint("port-", p.Number), "port": p.Number, "targetPort": p.Number, "protocol": "TCP"})
	}
	return wanted{service, fields{"metadata": r.meta(r.base, nil), "spec": fields{"selector": fields{labelRevision: r.base}, "ports": ports, "type": "ClusterIP"}}}
}

// budget lets one replica at a time go when machines are emptied.
func (r *revision) budget() wanted {
	return wanted{budget, fields{"metadata": r.meta(r.base, nil), "spec": fields{"maxUnavailable": 1, "selector": r.podSelector()}}}
}

// linkLocal is where clouds give the identity of a machine away.
var linkLocal = []any{"169.254.0.0/16"}

// policy lets Latchkey in and nobody else, and replicas out to what they may reach.
func (r *revision) policy(s engine.Spec) wanted {
	n := r.e.cfg.Network
	var ports, peers []any
	for _, p := range s.AllPorts() {
		ports = append(ports, fields{"port": p.Number, "protocol": "TCP"})
	}
	if len(n.Pods) > 0 {
		peers = append(peers, r.latchkey())
	}
	for _, block := range n.From {
		peers = append(peers, fields{"ipBlock": fields{"cidr": block}})
	}
	ingress := []any{}
	if len(ports) > 0 && len(peers) > 0 {
		ingress = append(ingress, fields{"from": peers, "ports": ports})
	}
	return wanted{networkPolicy, fields{"metadata": r.meta(r.base, nil), "spec": fields{
		"podSelector": r.podSelector(), "policyTypes": []any{"Ingress", "Egress"}, "ingress": ingress, "egress": r.egress()}}}
}

// latchkey is the peer that Latchkey is.
func (r *revision) latchkey() fields {
	n := r.e.cfg.Network
	ns := n.Namespace
	if ns == "" {
		ns = r.e.ns
	}
	return fields{"podSelector": fields{"matchLabels": n.Pods},
		"namespaceSelector": fields{"matchLabels": fields{"kubernetes.io/metadata.name": ns}}}
}

func (r *revision) egress() []any {
	n := r.e.cfg.Network
	everyPod := fields{"namespaceSelector": fields{}}
	if len(n.To) == 0 {
		return []any{fields{"to": []any{everyPod,
			fields{"ipBlock": fields{"cidr": "0.0.0.0/0", "except": linkLocal}},
			fields{"ipBlock": fields{"cidr": "::/0", "except": []any{"fe80::/10", "fd00:ec2::/32"}}}}}}
	}
	names := []any{fields{"port": 53, "protocol": "UDP"}, fields{"port": 53, "protocol": "TCP"}}
	out := []any{fields{"to": []any{everyPod}, "ports": names}}
	var to []any
	if len(n.Pods) > 0 {
		to = append(to, r.latchkey())
	}
	for _, block := range n.To {
		to = append(to, fields{"ipBlock": fields{"cidr": block}})
	}
	return append(out, fields{"to": to})
}
