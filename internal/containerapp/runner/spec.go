package runner

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// defaultGrace is what the platform gives containers to end.
const defaultGrace = 30 * time.Second

// specOf makes what an engine is to run of a revision.
func specOf(a containerapp.App, rev containerapp.Revision, secrets map[string]string, more []engine.Env) (engine.Spec, error) {
	t := rev.Template
	s := engine.Spec{Ref: Ref(a, rev.Name), Generation: generation(a, rev), Grace: defaultGrace, Ports: portsOf(a.Properties.Configuration.Ingress, t)}
	if t.TerminationGrace != nil && *t.TerminationGrace > 0 {
		s.Grace = time.Duration(*t.TerminationGrace) * time.Second
	}
	var err error
	if s.Volumes, err = volumesOf(t.Volumes, secrets); err != nil {
		return s, err
	}
	secretVolumes := map[string]bool{}
	for _, v := range s.Volumes {
		secretVolumes[v.Name] = v.Kind == engine.VolumeSecret
	}
	if s.Init, err = containersOf("initContainers", t.InitContainers, secrets, more, secretVolumes, 0); err != nil {
		return s, err
	}
	target := targetOf(a, rev)
	if target == 0 && a.Properties.Configuration.Ingress != nil {
		return s, field("configuration.ingress.targetPort", "0", "which port the first container listens at could not be found out: say it here, in its variable PORT, or in one of its probes")
	}
	s.Main, err = containersOf("containers", t.Containers, secrets, more, secretVolumes, target)
	if err != nil {
		return s, err
	}
	if target > 0 {
		s.Main[0].Probes = withStartup(s.Main[0].Probes, target)
	}
	withFunctionKeys(&s, a, secrets)
	return s, nil
}

// Of an app with an ingress, the platform asks whether the port is there before it
// takes a container for started. We ask more often, for as long.
const (
	startupEvery = 100 * time.Millisecond
	startupTime  = 4 * time.Minute
)

func withStartup(list []engine.Probe, port int) []engine.Probe {
	if slices.ContainsFunc(list, func(p engine.Probe) bool { return p.Kind == engine.Startup }) {
		return list
	}
	return append(list, engine.Probe{Kind: engine.Startup, Port: port, Period: startupEvery, FailureThreshold: int(startupTime / startupEvery)})
}

// targetOf gives the port of a revision that its app's ingress leads to; 0 for none.
func targetOf(a containerapp.App, rev containerapp.Revision) int {
	return a.Properties.Configuration.Ingress.TargetPortOf(rev.Template)
}

func portsOf(g *containerapp.Ingress, t containerapp.Template) (ports []engine.Port) {
	for _, n := range g.Ports(t) {
		ports = append(ports, engine.Port{Number: n})
	}
	return ports
}

func volumesOf(list []containerapp.Volume, secrets map[string]string) (out []engine.Volume, err error) {
	for i, v := range list {
		one := engine.Volume{Name: v.Name, Kind: engine.VolumeEmpty}
		switch v.StorageType {
		case "EmptyDir":
		case "Secret":
			one.Kind = engine.VolumeSecret
			if one.Files, err = filesOf(v, secrets); err != nil {
				return nil, err
			}
		default:
			return nil, field(fmt.Sprintf("template.volumes[%d].storageType", i), v.StorageType, "storage of this type cannot be mounted here; EmptyDir and Secret can")
		}
		out = append(out, one)
	}
	return out, nil
}

// filesOf gives the files of a secret volume; one that lists none has all secrets.
func filesOf(v containerapp.Volume, secrets map[string]string) (files []engine.File, err error) {
	if len(v.Secrets) == 0 {
		for name, value := range secrets {
			files = append(files, engine.File{Path: name, Data: []byte(value)})
		}
		slices.SortFunc(files, func(x, y engine.File) int { return strings.Compare(x.Path, y.Path) })
		return files, nil
	}
	for _, s := range v.Secrets {
		value, there := secrets[s.SecretRef]
		if !there {
			return nil, field("template.volumes."+v.Name+".secrets", s.SecretRef, "the app has no secret of this name")
		}
		path := s.Path
		if path == "" {
			path = s.SecretRef
		}
		files = append(files, engine.File{Path: path, Data: []byte(value)})
	}
	return files, nil
}

func containersOf(in string, list []containerapp.Container, secrets map[string]string, more []engine.Env, secretVolumes map[string]bool, target int) (out []engine.Container, err error) {
	for _, c := range list {
		memory, ok := containerapp.MemoryBytes(c.Resources.Memory)
		if !ok {
			return nil, field("template."+in+"."+c.Name+".resources.memory", c.Resources.Memory, "is no amount of memory")
		}
		one := engine.Container{Name: c.Name, Image: c.Image, Command: c.Command, Args: c.Args, CPU: c.Resources.CPU, Memory: memory}
		if one.Env, err = envOf("template."+in+"."+c.Name+".env", c.Env, secrets, more); err != nil {
			return nil, err
		}
		for _, m := range c.VolumeMounts {
			one.Mounts = append(one.Mounts, engine.Mount{Volume: m.VolumeName, Path: m.MountPath, SubPath: m.SubPath, ReadOnly: secretVolumes[m.VolumeName]})
		}
		for _, p := range c.Probes {
			one.Probes = append(one.Probes, probeOf(p, target))
		}
		out = append(out, one)
	}
	return out, nil
}

// envOf puts an app's own variables above those that the platform gives.
func envOf(at string, list []containerapp.EnvVar, secrets map[string]string, more []engine.Env) (out []engine.Env, err error) {
	for _, e := range more {
		if !slices.ContainsFunc(list, func(v containerapp.EnvVar) bool { return replaces(v.Name, e.Name) }) {
			out = append(out, e)
		}
	}
	for _, v := range list {
		if v.SecretRef == "" {
			out = append(out, engine.Env{Name: v.Name, Value: v.Value})
			continue
		}
		value, there := secrets[v.SecretRef]
		if !there {
			return nil, field(at+"."+v.Name+".secretRef", v.SecretRef, "the app has no secret of this name")
		}
		out = append(out, engine.Env{Name: v.Name, Value: value, Secret: true})
	}
	return out, nil
}

// replaces reports whether a variable of an app takes the place of one that the
// platform gives. Programs read those of proxies in either case.
func replaces(own, given string) bool {
	return own == given || strings.HasSuffix(given, "_PROXY") && strings.EqualFold(own, given)
}

// probeOf reads a probe; one without a port asks the target of the ingress.
func probeOf(p containerapp.Probe, target int) engine.Probe {
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	out := engine.Probe{
		Kind: engine.ProbeKind(strings.ToLower(p.Type)), Port: target,
		InitialDelay: seconds(p.InitialDelaySeconds), Period: seconds(p.PeriodSeconds), Timeout: seconds(p.TimeoutSeconds),
		SuccessThreshold: p.SuccessThreshold, FailureThreshold: p.FailureThreshold,
	}
	if p.TCPSocket != nil && p.TCPSocket.Port != 0 {
		out.Port = p.TCPSocket.Port
	}
	if g := p.HTTPGet; g != nil {
		if g.Port != 0 {
			out.Port = g.Port
		}
		out.HTTP = &engine.HTTPProbe{Path: g.Path, Host: g.Host, HTTPS: strings.EqualFold(g.Scheme, "HTTPS")}
		for _, h := range g.Headers {
			if out.HTTP.Headers == nil {
				out.HTTP.Headers = map[string]string{}
			}
			out.HTTP.Headers[h.Name] = h.Value
		}
	}
	return out
}

// field makes the fault of a field in the platform's words.
func field(name, value, why string) error {
	return &placingFault{code: containerapp.CodeTemplate, err: problem.New(problem.Invalid,
		fmt.Sprintf("Field '%s' is invalid with details: 'Invalid value: %q: %s';", name, value, why))}
}
