package containerapp

import (
	"encoding/json"
	"slices"
	"strings"
)

// Defaults of what clients leave open.
const (
	defaultCPU         = 0.5
	defaultMemory      = "1Gi"
	defaultMaxReplicas = 10
	defaultCooldown    = 300 // seconds
	defaultPolling     = 30  // seconds
	defaultMaxInactive = 100
)

// normalize brings what a client said into one form, so that what it reads and
// sends back is the same as before.
func (p *Properties) normalize() {
	if p.EnvironmentID == "" {
		p.EnvironmentID = p.ManagedEnvironmentID
	}
	p.ManagedEnvironmentID = p.EnvironmentID
	if p.Configuration == nil {
		p.Configuration = &Configuration{}
	}
	p.Configuration.normalize()
	if p.Template != nil {
		p.Template.normalize()
	}
}

func (c *Configuration) normalize() {
	for _, m := range []Mode{Single, Multiple} {
		if strings.EqualFold(string(c.Mode), string(m)) || c.Mode == "" && m == Single {
			c.Mode = m
		}
	}
	for i, s := range c.IdentitySettings {
		s.Identity = systemSpelled(s.Identity)
		if s.Lifecycle == "" {
			s.Lifecycle = "All"
		}
		for _, known := range []string{"All", "Init", "Main", "None"} {
			if strings.EqualFold(s.Lifecycle, known) {
				s.Lifecycle = known
			}
		}
		c.IdentitySettings[i] = s
	}
	for i := range c.Registries {
		c.Registries[i].Identity = systemSpelled(c.Registries[i].Identity)
	}
	for i := range c.Secrets {
		c.Secrets[i].Identity = systemSpelled(c.Secrets[i].Identity)
		if v := c.Secrets[i].Value; v != nil && *v == "" {
			c.Secrets[i].Value = nil // what is read has no values
		}
	}
	if c.MaxInactive == nil {
		n := defaultMaxInactive
		c.MaxInactive = &n
	}
	noNulls(&c.Dapr, &c.Service, &c.Runtime, &c.TransitionPercent)
	if c.Ingress != nil {
		c.Ingress.normalize(c.Mode)
	}
}

// normalize gives everything to the latest revision where only one is active.
func (g *Ingress) normalize(mode Mode) {
	if g.Transport = spelled(g.Transport, "auto", "http", "http2", "tcp"); g.Transport == "" {
		g.Transport = "auto"
	}
	if mode == Single || len(g.Traffic) == 0 {
		label := ""
		if len(g.Traffic) == 1 && g.Traffic[0].LatestRevision {
			label = g.Traffic[0].Label
		}
		g.Traffic = []Traffic{{LatestRevision: true, Weight: 100, Label: label}}
	}
	noNulls(&g.CustomDomains, &g.IPRestrictions, &g.CORS, &g.AdditionalPorts)
}

func (t *Template) normalize() {
	for i := range t.Containers {
		t.Containers[i].normalize()
	}
	for i := range t.InitContainers {
		t.InitContainers[i].normalize()
	}
	t.Containers, t.InitContainers, t.Volumes = some(t.Containers), some(t.InitContainers), some(t.Volumes)
	for i := range t.Volumes {
		v := &t.Volumes[i]
		v.Secrets = some(v.Secrets)
		if v.StorageType = spelled(v.StorageType, "EmptyDir", "Secret", "AzureFile", "NfsAzureFile"); v.StorageType == "" {
			v.StorageType = "EmptyDir"
		}
	}
	if t.Scale == nil {
		t.Scale = &Scale{}
	}
	t.Scale.normalize()
	noNulls(&t.ServiceBinds)
}

func (c *Container) normalize() {
	if c.Resources == nil {
		c.Resources = &Resources{CPU: defaultCPU, Memory: defaultMemory}
	}
	if c.Resources.Memory == "" {
		c.Resources.Memory = defaultMemory
	}
	c.Command, c.Args, c.Env, c.Probes, c.VolumeMounts = some(c.Command), some(c.Args), some(c.Env), some(c.Probes), some(c.VolumeMounts)
	for i := range c.Probes {
		p := &c.Probes[i]
		p.Type = spelled(p.Type, "Liveness", "Readiness", "Startup")
		if p.HTTPGet != nil {
			p.HTTPGet.Headers = some(p.HTTPGet.Headers)
		}
	}
}

func (s *Scale) normalize() {
	for at, value := range map[**int]int{&s.MaxReplicas: defaultMaxReplicas, &s.CooldownPeriod: defaultCooldown, &s.PollingInterval: defaultPolling} {
		if *at == nil {
			*at = &value
		}
	}
	s.Rules = some(s.Rules)
	for i := range s.Rules {
		r := &s.Rules[i]
		for _, h := range []*HTTPRule{r.HTTP, r.TCP} {
			if h != nil {
				h.Auth, h.Identity = some(h.Auth), systemSpelled(h.Identity)
			}
		}
		if r.AzureQueue != nil {
			r.AzureQueue.Auth, r.AzureQueue.Identity = some(r.AzureQueue.Auth), systemSpelled(r.AzureQueue.Identity)
		}
		if r.Custom != nil {
			r.Custom.Auth, r.Custom.Identity = some(r.Custom.Auth), systemSpelled(r.Custom.Identity)
		}
	}
}

// systemSpelled gives the app's own identity the one spelling it is kept in.
func systemSpelled(text string) string {
	if strings.EqualFold(text, "system") {
		return "system"
	}
	return text
}

// spelled gives a known word its usual spelling, others as they are.
func spelled(text string, known ...string) string {
	if i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, text) }); i >= 0 {
		return known[i]
	}
	return text
}

// some makes no difference between an empty list and none.
func some[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}

func noNulls(texts ...*json.RawMessage) {
	for _, t := range texts {
		if string(*t) == "null" {
			*t = nil
		}
	}
}

// sameTemplate reports whether two normalized templates make the same revision. A
// template that leaves the suffix open does not ask for another one.
func sameTemplate(had, next Template) bool {
	if next.RevisionSuffix == "" {
		had.RevisionSuffix = ""
	}
	a, errA := json.Marshal(had)
	b, errB := json.Marshal(next)
	return errA == nil && errB == nil && string(a) == string(b)
}
