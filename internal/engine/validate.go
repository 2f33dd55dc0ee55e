package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

var label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// Key gives a form of the reference that compares without case.
func (r Ref) Key() Ref {
	return Ref{App: strings.ToLower(r.App), Revision: strings.ToLower(r.Revision)}
}

// String gives the reference for messages.
func (r Ref) String() string { return r.App + " revision " + r.Revision }

// Containers gives all containers of a replica with their roles, in the order in
// which they start.
func (s Spec) Containers(each func(Role, Container)) {
	for _, c := range s.Init {
		each(RoleInit, c)
	}
	for _, c := range s.Main {
		each(RoleMain, c)
	}
}

// Digest tells specs apart whose replicas must differ. Values of secrets and
// contents of files are not part of it, so that it can be a label: whoever changes
// them sets another Generation. Neither is the number of replicas.
func (s Spec) Digest() string {
	s.Ref, s.Replicas = s.Ref.Key(), 0
	bare := func(c Container) Container {
		c.Env = append([]Env(nil), c.Env...)
		for i, e := range c.Env {
			if e.Secret {
				c.Env[i].Value = ""
			}
		}
		return c
	}
	all := func(cs []Container) (out []Container) {
		for _, c := range cs {
			out = append(out, bare(c))
		}
		return out
	}
	s.Init, s.Main = all(s.Init), all(s.Main)
	volumes := append([]Volume(nil), s.Volumes...)
	for i, v := range volumes {
		volumes[i].Files = nil
		for _, f := range v.Files {
			volumes[i].Files = append(volumes[i].Files, File{Path: f.Path})
		}
	}
	s.Volumes = volumes
	text, _ := json.Marshal(s) // plain values only
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// Validate says what is wrong with a spec, as problem.Invalid that names the field.
func (s Spec) Validate() error {
	switch {
	case s.App == "":
		return invalid("app", "is empty")
	case !label.MatchString(s.Revision):
		return invalid("revision", "must be a DNS label")
	case s.Replicas < 0:
		return invalid("replicas", "must not be negative")
	case len(s.Main) == 0:
		return invalid("containers", "must not be empty")
	case s.Grace < 0:
		return invalid("terminationGracePeriodSeconds", "must not be negative")
	}
	volumes, err := s.volumes()
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	s.Containers(func(role Role, c Container) {
		if err == nil {
			err = c.validate(fieldOf(role, c.Name), role, volumes, seen)
		}
	})
	if err != nil {
		return err
	}
	return s.ports()
}

func fieldOf(role Role, name string) string {
	field := map[Role]string{RoleInit: "initContainers", RoleMain: "containers"}[role]
	return field + "[" + name + "]"
}

func invalid(field, what string) error {
	return problem.New(problem.Invalid, "field '"+field+"' "+what)
}

func (s Spec) volumes() (map[string]bool, error) {
	known := map[string]bool{}
	for _, v := range s.Volumes {
		field := "volumes[" + v.Name + "]"
		switch {
		case !label.MatchString(v.Name):
			return nil, invalid(field, "must have a DNS label as its name")
		case known[v.Name]:
			return nil, invalid(field, "is there twice")
		case v.Kind != VolumeEmpty && v.Kind != VolumeSecret && v.Kind != VolumeFolder:
			return nil, invalid(field, "is of an unknown kind")
		case v.Kind == VolumeFolder && !path.IsAbs(v.Folder):
			return nil, invalid(field, "needs an absolute folder")
		}
		for _, f := range v.Files {
			if !local(f.Path) || f.Path == "" {
				return nil, invalid(field, "has a file whose path leaves the volume")
			}
		}
		known[v.Name] = true
	}
	return known, nil
}

func local(p string) bool {
	return !path.IsAbs(p) && path.Clean("/"+p) == "/"+strings.TrimSuffix(p, "/") || p == ""
}

func (c Container) validate(field string, role Role, volumes, seen map[string]bool) error {
	switch {
	case !label.MatchString(c.Name):
		return invalid(field, "must have a DNS label as its name")
	case seen[c.Name]:
		return invalid(field, "has the name of another container")
	case c.Image == "":
		return invalid(field+".image", "is empty")
	case !(c.CPU > 0):
		return invalid(field+".resources.cpu", "must be more than 0")
	case c.Memory <= 0:
		return invalid(field+".resources.memory", "must be more than 0")
	case role != RoleMain && len(c.Probes) > 0:
		return invalid(field+".probes", "is for main containers only")
	}
	seen[c.Name] = true
	for _, e := range c.Env {
		if e.Name == "" || strings.ContainsAny(e.Name, "=\x00") || strings.Contains(e.Value, "\x00") {
			return invalid(field+".env", "has a name or value that no environment can hold")
		}
	}
	for _, m := range c.Mounts {
		switch {
		case !volumes[m.Volume]:
			return invalid(field+".volumeMounts", fmt.Sprintf("names volume %q, which there is not", m.Volume))
		case !path.IsAbs(m.Path) || path.Clean(m.Path) == "/":
			return invalid(field+".volumeMounts", "needs an absolute mountPath below the root")
		case !local(m.SubPath):
			return invalid(field+".volumeMounts", "has a subPath that leaves the volume")
		}
	}
	return c.probes(field)
}

func (c Container) probes(field string) error {
	kinds := map[ProbeKind]bool{}
	for _, p := range c.Probes {
		switch {
		case p.Kind != Liveness && p.Kind != Readiness && p.Kind != Startup:
			return invalid(field+".probes", "has one of an unknown type")
		case kinds[p.Kind]:
			return invalid(field+".probes", "has two of type "+string(p.Kind))
		case p.Port < 1 || p.Port > 65535:
			return invalid(field+".probes.port", "must be from 1 to 65535")
		case p.Period < 0 || p.Timeout < 0 || p.InitialDelay < 0 || p.SuccessThreshold < 0 || p.FailureThreshold < 0:
			return invalid(field+".probes", "must not have negative numbers")
		}
		kinds[p.Kind] = true
	}
	return nil
}

func (s Spec) ports() error {
	seen := map[int]bool{}
	for _, p := range s.Ports {
		switch {
		case p.Number < 1 || p.Number > 65535 || p.Host < 0 || p.Host > 65535:
			return invalid("ports", "must be from 1 to 65535")
		case seen[p.Number]:
			return invalid("ports", fmt.Sprintf("has %d twice", p.Number))
		}
		seen[p.Number] = true
	}
	return nil
}

// AllPorts gives the ports that must be reachable from here: those of the spec, and
// those of probes that are not among them.
func (s Spec) AllPorts() []Port {
	out, seen := append([]Port(nil), s.Ports...), map[int]bool{}
	for _, p := range out {
		seen[p.Number] = true
	}
	for _, c := range s.Main {
		for _, p := range c.Probes {
			if !seen[p.Port] {
				out, seen[p.Port] = append(out, Port{Number: p.Port}), true
			}
		}
	}
	return out
}
