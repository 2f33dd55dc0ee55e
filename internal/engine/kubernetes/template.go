package kubernetes

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	sidecarName   = "latchkey-sidecar"
	tokenPort     = 42356 // of the identity endpoint, on localhost
	healthPort    = 42357 // of the sidecar, for the kubelet
	tokenFolder   = "/run/latchkey/token"
	trustFolder   = "/run/latchkey/trust"
	audience      = "latchkey" // of the token that says which pod a sidecar is in
	sidecarUser   = 65532
	sidecarMemory = 32 << 20
	defaultGrace  = 30 * time.Second
)

// TokenEndpoint is where containers find the identity endpoint.
const TokenEndpoint = "http://localhost:42356/msi/token"

// supported refuses what a cluster does not have or nobody should ask of it.
func supported(s engine.Spec) error {
	refuse := func(field, why, next string) error {
		return problem.New(problem.Unsupported, "field '"+field+"' "+why).WithNext(next)
	}
	for _, p := range s.Ports {
		if p.Host != 0 {
			return refuse("ports", "asks for a port of the machine", "replicas are reached by the addresses of their pods; leave the host's port out")
		}
	}
	for _, v := range s.Volumes {
		for _, f := range v.Files {
			if strings.HasPrefix(f.Path, "..") {
				return refuse("volumes["+v.Name+"]", "has a file whose path begins with two dots, which Kubernetes keeps for itself", "give the file another path")
			}
		}
		if v.Kind == engine.VolumeFolder {
			return refuse("volumes["+v.Name+"]", "asks for a folder of the machine, which pods of Latchkey do not get", "use a volume of kind empty or secret")
		}
	}
	var err error
	s.Containers(func(_ engine.Role, c engine.Container) {
		if c.Name == sidecarName {
			err = problem.New(problem.Invalid, "a container has the name "+sidecarName+", which is the sidecar's")
		}
	})
	return err
}

// digest gives the label that tells replicas of a spec from others.
func digest(s engine.Spec) string { return s.Digest()[:12] }

func (r *revision) valuesName(s engine.Spec) string { return r.base + "-" + digest(s) }
func headersName(base, digest string) string        { return base + "-" + digest + "-id" }
func envKey(container string, n int) string         { return fmt.Sprintf("env.%s.%d", container, n) }
func fileKey(volume, n int) string                  { return fmt.Sprintf("file.%d.%d", volume, n) }
func (r *revision) podLabels(s engine.Spec) fields {
	return fields{labelRevision: r.base, labelDigest: digest(s), labelBy: Manager, labelInstallation: r.e.cfg.Installation}
}
func (r *revision) podSelector() fields { return fields{"matchLabels": fields{labelRevision: r.base}} }

// pod gives the template of a revision's pods.
func (r *revision) pod(s engine.Spec, pull bool) fields {
	grace := s.Grace
	if grace == 0 {
		grace = defaultGrace
	}
	spec := fields{
		"serviceAccountName": r.base, "automountServiceAccountToken": false, "enableServiceLinks": false,
		"terminationGracePeriodSeconds": seconds(grace),
		"securityContext": fields{
			"seccompProfile": fields{"type": "RuntimeDefault"},
			// Low ports need no capability then.
			"sysctls": []any{fields{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}},
		},
	}
	var init, main []any
	if r.e.cfg.Identity != nil {
		init = append(init, r.sidecar())
	}
	for _, c := range s.Init {
		init = append(init, r.container(s, c))
	}
	for _, c := range s.Main {
		main = append(main, r.container(s, c))
	}
	if spec["containers"] = main; len(init) > 0 {
		spec["initContainers"] = init
	}
	if volumes := r.volumes(s); len(volumes) > 0 {
		spec["volumes"] = volumes
	}
	if pull {
		spec["imagePullSecrets"] = []any{fields{"name": r.pullName()}}
	}
	notes := fields{noteApp: r.ref.App, noteRevision: r.ref.Revision}
	if s.Generation != "" {
		notes[noteGeneration] = s.Generation
	}
	return fields{
		"metadata": fields{"labels": r.podLabels(s), "annotations": notes},
		"spec":     spec,
	}
}

func (r *revision) container(s engine.Spec, c engine.Container) fields {
	amounts := fields{"cpu": strconv.Itoa(int(math.Ceil(c.CPU*1000))) + "m", "memory": strconv.FormatInt(c.Memory, 10)}
	out := fields{"name": c.Name, "image": c.Image, "resources": fields{"requests": amounts, "limits": amounts},
		"securityContext": r.confined()}
	if len(c.Command) > 0 {
		out["command"] = literals(c.Command)
	}
	if len(c.Args) > 0 {
		out["args"] = literals(c.Args)
	}
	if c.WorkingDir != "" {
		out["workingDir"] = c.WorkingDir
	}
	if env := r.environment(s, c); len(env) > 0 {
		out["env"] = env
	}
	var mounts []any
	for _, m := range c.Mounts {
		mount := fields{"name": volumeName(s, m.Volume), "mountPath": m.Path}
		if m.SubPath != "" {
			mount["subPath"] = m.SubPath
		}
		if m.ReadOnly {
			mount["readOnly"] = true
		}
		mounts = append(mounts, mount)
	}
	if len(mounts) > 0 {
		out["volumeMounts"] = mounts
	}
	for _, p := range c.Probes {
		out[string(p.Kind)+"Probe"] = probe(p)
	}
	return out
}

// confined is how each container runs.
func (r *revision) confined() fields {
	capabilities := fields{"drop": []any{"ALL"}}
	if len(r.e.cfg.Capabilities) > 0 {
		capabilities["add"] = r.e.cfg.Capabilities
	}
	return fields{"allowPrivilegeEscalation": false, "capabilities": capabilities}
}

// literal keeps Kubernetes from putting variables into a text.
func literal(text string) string { return strings.ReplaceAll(text, "$", "$$") }

func literals(texts []string) []any {
	out := make([]any, len(texts))
	for i, t := range texts {
		out[i] = literal(t)
	}
	return out
}

// environment gives a container's variables: of those with the same name the last one
// counts, and those of the identity endpoint before all.
func (r *revision) environment(s engine.Spec, c engine.Container) []any {
	var out []any
	at := map[string]int{}
	put := func(name string, value fields) {
		value["name"] = name
		if i, had := at[name]; had {
			out[i] = value
			return
		}
		at[name] = len(out)
		out = append(out, value)
	}
	from := func(secret, key string) fields {
		return fields{"valueFrom": fields{"secretKeyRef": fields{"name": secret, "key": key}}}
	}
	for i, e := range c.Env {
		if e.Secret {
			put(e.Name, from(r.valuesName(s), envKey(c.Name, i)))
		} else {
			put(e.Name, fields{"value": literal(e.Value)})
		}
	}
	if r.e.cfg.Identity != nil {
		for _, name := range []string{"IDENTITY_ENDPOINT", "MSI_ENDPOINT"} {
			put(name, fields{"value": TokenEndpoint})
		}
		for _, name := range []string{"IDENTITY_HEADER", "MSI_SECRET"} {
			put(name, from(headersName(r.base, digest(s)), c.Name))
		}
	}
	return out
}

// sidecar is an init container that stays: its endpoint answers before the next one
// starts, and until the last main container ended.
func (r *revision) sidecar() fields {
	amounts := fields{"cpu": "10m", "memory": strconv.Itoa(sidecarMemory)}
	confined := r.confined()
	delete(confined["capabilities"].(fields), "add")
	confined["readOnlyRootFilesystem"], confined["runAsNonRoot"], confined["runAsUser"] = true, true, sidecarUser
	env := []any{
		fields{"name": "LATCHKEY_SIDECAR_UPSTREAM", "value": literal(r.e.cfg.Sidecar.Upstream)},
		fields{"name": "LATCHKEY_SIDECAR_TOKEN_FILE", "value": tokenFolder + "/token"},
		fields{"name": "LATCHKEY_SIDECAR_LISTEN", "value": fmt.Sprint("127.0.0.1:", tokenPort)},
		fields{"name": "LATCHKEY_SIDECAR_HEALTH", "value": fmt.Sprint(":", healthPort)},
	}
	mounts := []any{fields{"name": "latchkey-token", "mountPath": tokenFolder, "readOnly": true}}
	if len(r.e.cfg.Sidecar.CA) > 0 {
		env = append(env, fields{"name": "LATCHKEY_SIDECAR_CA_FILE", "value": trustFolder + "/ca.crt"})
		mounts = append(mounts, fields{"name": "latchkey-trust", "mountPath": trustFolder, "readOnly": true})
	}
	out := fields{"name": sidecarName, "image": r.e.cfg.Sidecar.Image, "restartPolicy": "Always", "env": env, "volumeMounts": mounts,
		"resources": fields{"requests": amounts, "limits": fields{"memory": amounts["memory"]}}, "securityContext": confined,
		"startupProbe": fields{"httpGet": fields{"path": "/healthz", "port": healthPort}, "periodSeconds": 1, "failureThreshold": 120},
	}
	if len(r.e.cfg.Sidecar.Command) > 0 {
		out["command"] = literals(r.e.cfg.Sidecar.Command)
	}
	return out
}

// volumeName gives the name of a volume in a pod, where ours have other ones.
func volumeName(s engine.Spec, name string) string {
	for i, v := range s.Volumes {
		if v.Name == name {
			return fmt.Sprint("volume-", i)
		}
	}
	return ""
}

func (r *revision) volumes(s engine.Spec) []any {
	var out []any
	for i, v := range s.Volumes {
		one := fields{"name": volumeName(s, v.Name), "emptyDir": fields{}}
		if v.Kind == engine.VolumeSecret {
			items := []any{}
			for n, f := range v.Files {
				items = append(items, fields{"key": fileKey(i, n), "path": f.Path})
			}
			if delete(one, "emptyDir"); len(items) > 0 {
				one["secret"] = fields{"secretName": r.valuesName(s), "items": items, "defaultMode": 0o444}
			} else {
				one["emptyDir"] = fields{}
			}
		}
		out = append(out, one)
	}
	if r.e.cfg.Identity == nil {
		return out
	}
	out = append(out, fields{"name": "latchkey-token", "projected": fields{"defaultMode": 0o444, "sources": []any{
		fields{"serviceAccountToken": fields{"audience": audience, "expirationSeconds": 3600, "path": "token"}}}}})
	if len(r.e.cfg.Sidecar.CA) > 0 {
		out = append(out, fields{"name": "latchkey-trust", "configMap": fields{"name": r.base, "items": []any{fields{"key": "ca.crt", "path": "ca.crt"}}}})
	}
	return out
}

// seconds rounds up: 0 would be another wish.
func seconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

func probe(p engine.Probe) fields {
	out := fields{}
	if h := p.HTTP; h != nil {
		get := fields{"port": p.Port, "path": h.Path, "scheme": "HTTP"}
		if h.Path == "" {
			get["path"] = "/"
		}
		if h.HTTPS {
			get["scheme"] = "HTTPS"
		}
		if list := probeHeaders(h); len(list) > 0 {
			get["httpHeaders"] = list
		}
		out["httpGet"] = get
	} else {
		out["tcpSocket"] = fields{"port": p.Port}
	}
	for name, d := range map[string]time.Duration{"initialDelaySeconds": p.InitialDelay, "periodSeconds": p.Period, "timeoutSeconds": p.Timeout} {
		if d > 0 {
			out[name] = seconds(d)
		}
	}
	if p.FailureThreshold > 0 {
		out["failureThreshold"] = p.FailureThreshold
	}
	if p.SuccessThreshold > 0 && p.Kind == engine.Readiness { // others succeed at once
		out["successThreshold"] = p.SuccessThreshold
	}
	return out
}

func probeHeaders(h *engine.HTTPProbe) []any {
	var out []any
	host := h.Host
	if host == "" {
		host = "localhost"
	}
	out = append(out, fields{"name": "Host", "value": host})
	for _, name := range sorted(h.Headers) {
		out = append(out, fields{"name": name, "value": h.Headers[name]})
	}
	return out
}
