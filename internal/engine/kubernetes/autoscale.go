package kubernetes

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

var _ engine.AutoScaler = (*Engine)(nil)

// AutoScale implements engine.AutoScaler: cpu and memory with at least one replica are
// a HorizontalPodAutoscaler, everything else is a ScaledObject of KEDA. Rules about
// requests and connections, which Latchkey counts, and rules with an identity, whose
// tokens KEDA cannot get, are problem.Unsupported.
func (e *Engine) AutoScale(_ context.Context, ref engine.Ref, by *engine.AutoScale) error {
	r, err := e.find(ref)
	if err != nil {
		return err
	}
	if by != nil {
		if err := scalable(*by); err != nil {
			return err
		}
		if !plain(*by) && !e.seen.has(scaledObject) {
			return problem.New(problem.Unsupported, "the cluster has no KEDA, which rule "+by.Rules[0].Name+" needs").WithNext("install KEDA, or let Latchkey scale")
		}
	}
	r.autoscale(by)
	return nil
}

func scalable(by engine.AutoScale) error {
	if by.Max < 1 || by.Min < 0 || by.Min > by.Max || len(by.Rules) == 0 || by.Max > math.MaxInt32 {
		return problem.New(problem.Invalid, "field 'scale' needs rules, and 'maxReplicas' at least 1 and 'minReplicas'")
	}
	for _, rule := range by.Rules {
		refuse := func(why string) error {
			return problem.New(problem.Unsupported, "rule "+rule.Name+" "+why).WithNext("let Latchkey scale the revision")
		}
		switch {
		case rule.Type == "http" || rule.Type == "tcp":
			return refuse("counts what goes through Latchkey")
		case rule.Identity != "":
			return refuse("reads its source with an identity, whose tokens KEDA cannot get")
		case rule.Type == "":
			return problem.New(problem.Invalid, "rule "+rule.Name+" has no type")
		}
	}
	return nil
}

// plain reports whether Kubernetes can do it by itself: its autoscaler neither goes to
// none nor reads anything but what pods use.
func plain(by engine.AutoScale) bool {
	for _, rule := range by.Rules {
		if _, ok := usage(rule); !ok {
			return false
		}
	}
	return by.Min > 0
}

// usage gives the metric of a rule about cpu or memory.
func usage(rule engine.AutoScaleRule) (fields, bool) {
	value := rule.Metadata["value"]
	n, err := strconv.Atoi(value)
	if rule.Type != "cpu" && rule.Type != "memory" || err != nil || n < 1 {
		return nil, false
	}
	switch cmp.Or(rule.Metadata["type"], rule.Metadata["metricType"], "Utilization") {
	case "Utilization":
		return fields{"type": "Resource", "resource": fields{"name": rule.Type, "target": fields{"type": "Utilization", "averageUtilization": n}}}, true
	}
	return nil, false
}

// scaling gives the objects by which the cluster scales a revision.
func (r *revision) scaling(by engine.AutoScale) []wanted {
	target := fields{"apiVersion": "apps/v1", "kind": "Deployment", "name": r.base}
	if plain(by) {
		var metrics []any
		for _, rule := range by.Rules {
			metric, _ := usage(rule)
			metrics = append(metrics, metric)
		}
		return []wanted{{scaler, fields{"metadata": r.meta(r.base, nil), "spec": fields{
			"scaleTargetRef": target, "minReplicas": by.Min, "maxReplicas": by.Max, "metrics": metrics,
			"behavior": fields{"scaleDown": fields{"stabilizationWindowSeconds": seconds(min(cmp.Or(by.Cooldown, 300*time.Second), time.Hour))}}}}}}
	}
	var out []wanted
	var triggers []any
	for i, rule := range by.Rules {
		trigger := fields{"type": rule.Type, "name": fmt.Sprint("rule-", i), "metadata": texts(rule)}
		if kind := rule.Metadata["type"]; (rule.Type == "cpu" || rule.Type == "memory") && kind != "" {
			trigger["metricType"] = kind
		}
		if len(rule.Auth) > 0 {
			name := fmt.Sprint(r.base, "-rule-", i)
			out = append(out, r.ruleSecret(name, rule), r.ruleAuth(name, rule))
			trigger["authenticationRef"] = fields{"name": name}
		}
		triggers = append(triggers, trigger)
	}
	return append(out, wanted{scaledObject, fields{"metadata": r.meta(r.base, nil), "spec": fields{
		"scaleTargetRef": target, "minReplicaCount": by.Min, "maxReplicaCount": by.Max,
		"pollingInterval": seconds(cmp.Or(by.Polling, 30*time.Second)), "cooldownPeriod": seconds(cmp.Or(by.Cooldown, 300*time.Second)),
		"triggers": triggers}}})
}

// texts gives a rule's metadata as KEDA wants them: the kind of a cpu or memory metric
// is beside them.
func texts(rule engine.AutoScaleRule) fields {
	metadata := maps.Clone(rule.Metadata)
	if rule.Type == "cpu" || rule.Type == "memory" {
		delete(metadata, "type")
	}
	out := fields{}
	for k, v := range metadata {
		out[k] = v
	}
	return out
}

func (r *revision) ruleSecret(name string, rule engine.AutoScaleRule) wanted {
	data := map[string][]byte{}
	for i, a := range rule.Auth {
		data[fmt.Sprint("auth.", i)] = []byte(a.Value)
	}
	return secretOf(r.meta(name, nil), "Opaque", data)
}

func (r *revision) ruleAuth(name string, rule engine.AutoScaleRule) wanted {
	var refs []any
	for i, a := range rule.Auth {
		refs = append(refs, fields{"parameter": a.Parameter, "name": name, "key": fmt.Sprint("auth.", i)})
	}
	return wanted{triggerAuth, fields{"metadata": r.meta(name, nil), "spec": fields{"secretTargetRef": refs}}}
}
