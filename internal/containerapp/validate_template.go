package containerapp

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
)

var memoryText = regexp.MustCompile(`^([0-9]{1,6}(?:\.[0-9]{1,3})?)(Mi|Gi|Ki)$`)

// MemoryBytes reads an amount of memory such as "1Gi" or "0.5Gi"; ok is false for
// what is none or is nothing.
func MemoryBytes(text string) (n int64, ok bool) {
	m := memoryText.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	f, err := strconv.ParseFloat(m[1], 64)
	n = int64(f * float64(map[string]int64{"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}[m[2]]))
	return n, err == nil && n > 0
}

func (c *check) template(t Template) {
	if s := t.RevisionSuffix; s != "" && (!partName.MatchString(s) || strings.Contains(s, "--") || len(RevisionName(c.name, s)) > maxRevision) {
		c.field("template.revisionsuffix", s, "it must consist of lower case alphanumeric characters or '-', start and end with an alphanumeric character, "+
			"have no '--', and make a revision name of at most %d characters", maxRevision)
	}
	if g := t.TerminationGrace; g != nil && (*g < 0 || *g > maxGrace) {
		c.field("template.terminationGracePeriodSeconds", fmt.Sprint(*g), "it must be from 0 to %d", maxGrace)
	}
	volumes := c.volumes(t.Volumes)
	names := map[string]bool{}
	if len(t.Containers) == 0 {
		c.field("template.containers", "", "there must be at least one container")
	}
	if len(t.Containers)+len(t.InitContainers) > maxContainers {
		c.field("template.containers", "", "there are more than %d containers", maxContainers)
		return
	}
	for i, one := range t.Containers {
		c.container(fmt.Sprintf("template.containers[%d]", i), one, names, volumes)
	}
	for i, one := range t.InitContainers {
		field := fmt.Sprintf("template.initContainers[%d]", i)
		c.container(field, one, names, volumes)
		if len(one.Probes) > 0 {
			c.field(field+".probes", one.Name, "init containers have no probes")
		}
	}
	c.scale(*t.Scale)
}

func (c *check) volumes(list []Volume) map[string]bool {
	known := map[string]bool{}
	for i, v := range list {
		field := fmt.Sprintf("template.volumes[%d]", i)
		c.partName(field+".name", v.Name, known)
		switch v.StorageType {
		case "EmptyDir", "Secret":
		case "AzureFile", "NfsAzureFile":
			c.field(field+".storageType", v.StorageType, "environments have no storages here: use EmptyDir or Secret")
		default:
			c.field(field+".storageType", v.StorageType, "it must be EmptyDir or Secret")
		}
		if len(v.Secrets) > 0 && v.StorageType != "Secret" {
			c.field(field+".secrets", v.Name, "only volumes of storageType Secret have secrets")
		}
		paths := map[string]bool{}
		for j, s := range v.Secrets {
			at := fmt.Sprintf("%s.secrets[%d]", field, j)
			c.secretRef(at+".secretRef", s.SecretRef, "volume '"+clip(v.Name)+"'")
			file := s.Path
			if file == "" {
				file = s.SecretRef
			}
			if path.IsAbs(file) || path.Clean("/"+file) != "/"+file || strings.ContainsAny(file, "\\\x00") {
				c.field(at+".path", s.Path, "it must be a path below the volume, without '..'")
			}
			if paths[file] {
				c.field(at+".path", s.Path, "the path is there twice")
			}
			paths[file] = true
		}
	}
	return known
}

// partName checks the name of a part and that there is no other of it.
func (c *check) partName(field, name string, known map[string]bool) {
	switch {
	case len(name) > maxPart || !partName.MatchString(name):
		c.field(field, name, "it must consist of lower case alphanumeric characters or '-', start and end with an alphanumeric character, and have at most %d characters", maxPart)
	case known[name]:
		c.field(field, name, "the name is there twice")
	}
	known[name] = true
}

func (c *check) container(field string, one Container, names, volumes map[string]bool) {
	c.partName(field+".name", one.Name, names)
	if one.Image == "" || strings.ContainsAny(one.Image, " \t\n\x00") {
		c.add(CodeImage, field+".image", fmt.Sprintf("Container with name '%s' must have an 'Image' property specified.", clip(one.Name)))
	}
	if r := one.Resources; r.CPU <= 0 || r.CPU > 1024 {
		c.field(field+".resources.cpu", strconv.FormatFloat(r.CPU, 'g', -1, 64), "it must be more than 0 cores")
	}
	if _, ok := MemoryBytes(one.Resources.Memory); !ok {
		c.field(field+".resources.memory", one.Resources.Memory, "it must be an amount such as 0.5Gi or 512Mi")
	}
	who, seen := "container '"+clip(one.Name)+"'", map[string]bool{}
	for i, e := range one.Env {
		at := fmt.Sprintf("%s.env[%d]", field, i)
		switch {
		case !envName.MatchString(e.Name):
			c.field(at+".name", e.Name, "it must be the name of a variable")
		case seen[e.Name]:
			c.field(at+".name", e.Name, "the name is there twice")
		case e.Value != "" && e.SecretRef != "":
			c.field(at, e.Name, "it must have either a value or a secretRef")
		}
		seen[e.Name] = true
		if e.SecretRef != "" {
			c.secretRef(at+".secretRef", e.SecretRef, who)
		}
	}
	for i, m := range one.VolumeMounts {
		at := fmt.Sprintf("%s.volumeMounts[%d]", field, i)
		if !volumes[m.VolumeName] {
			c.field(at+".volumeName", m.VolumeName, "the template has no such volume")
		}
		if !path.IsAbs(m.MountPath) || strings.ContainsAny(m.MountPath, ":\x00") {
			c.field(at+".mountPath", m.MountPath, "it must be an absolute path without ':'")
		}
		if m.SubPath != "" && (path.IsAbs(m.SubPath) || path.Clean("/"+m.SubPath) != "/"+m.SubPath) {
			c.field(at+".subPath", m.SubPath, "it must be a path below the volume, without '..'")
		}
	}
	c.probes(field+".probes", one.Probes)
}

func (c *check) probes(field string, list []Probe) {
	seen := map[string]bool{}
	for i, p := range list {
		at, port := fmt.Sprintf("%s[%d]", field, i), 0
		switch p.Type {
		case "Liveness", "Readiness", "Startup":
		default:
			c.field(at+".type", p.Type, "it must be Liveness, Readiness or Startup")
		}
		if seen[p.Type] {
			c.field(at+".type", p.Type, "there is another probe of this type")
		}
		seen[p.Type] = true
		if (p.HTTPGet == nil) == (p.TCPSocket == nil) {
			c.field(at, p.Type, "it must have either httpGet or tcpSocket")
			continue
		}
		if p.HTTPGet != nil {
			port = p.HTTPGet.Port
		} else {
			port = p.TCPSocket.Port
		}
		if port < 1 || port > 65535 {
			c.field(at+".port", strconv.Itoa(port), "it must be from 1 to 65535")
		}
		if min(p.InitialDelaySeconds, p.PeriodSeconds, p.TimeoutSeconds, p.SuccessThreshold, p.FailureThreshold, p.TerminationGracePeriodSeconds) < 0 {
			c.field(at, p.Type, "its times and thresholds must not be below 0")
		}
	}
}

func (c *check) scale(s Scale) {
	const field = "template.scale"
	least := 0
	if s.MinReplicas != nil {
		least = *s.MinReplicas
	}
	if least < 0 || least > maxReplicas {
		c.field(field+".minReplicas", strconv.Itoa(least), "it must be from 0 to %d", maxReplicas)
	}
	if most := *s.MaxReplicas; most < 1 || most > maxReplicas || most < least {
		c.field(field+".maxReplicas", strconv.Itoa(most), "it must be from 1 to %d and not below minReplicas", maxReplicas)
	}
	if *s.CooldownPeriod < 0 {
		c.field(field+".cooldownPeriod", strconv.Itoa(*s.CooldownPeriod), "it must not be below 0")
	}
	if *s.PollingInterval < 1 {
		c.field(field+".pollingInterval", strconv.Itoa(*s.PollingInterval), "it must be at least 1")
	}
	names := map[string]bool{}
	for i, r := range s.Rules {
		at := fmt.Sprintf("%s.rules[%d]", field, i)
		c.partName(at+".name", r.Name, names)
		c.rule(at, r)
	}
}

func (c *check) rule(at string, r ScaleRule) {
	kinds := 0
	who := "scale rule '" + clip(r.Name) + "'"
	for name, h := range map[string]*HTTPRule{"http": r.HTTP, "tcp": r.TCP} {
		if h == nil {
			continue
		}
		kinds++
		c.scaler(at+"."+name, who, h.Identity, h.Auth)
		for _, key := range []string{"concurrentRequests", "concurrentConnections"} {
			if text, there := h.Metadata[key]; there {
				if n, err := strconv.Atoi(text); err != nil || n < 1 {
					c.field(at+"."+name+".metadata."+key, text, "it must be a number above 0")
				}
			}
		}
	}
	if q := r.AzureQueue; q != nil {
		kinds++
		c.scaler(at+".azureQueue", who, q.Identity, q.Auth)
		if q.QueueName == "" {
			c.field(at+".azureQueue.queueName", "", "there must be one")
		}
		if q.QueueLength < 1 {
			c.field(at+".azureQueue.queueLength", strconv.Itoa(q.QueueLength), "it must be above 0")
		}
		if q.Identity != "" && q.AccountName == "" {
			c.field(at+".azureQueue.accountName", "", "an identity needs one")
		}
		if q.Identity == "" && len(q.Auth) == 0 {
			c.field(at+".azureQueue", r.Name, "it needs an identity with an accountName, or auth")
		}
	}
	if k := r.Custom; k != nil {
		kinds++
		c.scaler(at+".custom", who, k.Identity, k.Auth)
		c.custom(at+".custom", *k)
	}
	if kinds != 1 {
		c.field(at, r.Name, "it must have exactly one of http, tcp, azureQueue and custom")
	}
}

func (c *check) scaler(at, who, identity string, auth []ScaleAuth) {
	if identity != "" {
		c.identity(at+".identity", identity)
	}
	for i, a := range auth {
		field := fmt.Sprintf("%s.auth[%d]", at, i)
		c.secretRef(field+".secretRef", a.SecretRef, who)
		if a.TriggerParameter == "" {
			c.field(field+".triggerParameter", "", "there must be one")
		}
	}
}
