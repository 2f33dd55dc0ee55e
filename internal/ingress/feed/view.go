package feed

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/ingress"
	"github.com/latchkey/latchkey/internal/ingress/policy"
	"github.com/latchkey/latchkey/internal/problem"
)

// View gives an app as its callers meet it; domain is its environment's, without a
// port. ok is false for an app without ingress. An error names a setting that
// cannot be understood; the view then lets nobody in.
func View(a containerapp.App, revisions []containerapp.Revision, domain string) (v ingress.App, ok bool, err error) {
	c := a.Properties.Configuration
	if a.Deleting || c == nil || c.Ingress == nil {
		return v, false, nil
	}
	g := c.Ingress
	v = ingress.App{
		ID: a.ID.String(), Name: a.Name, Domain: domain, Created: a.Resource.Created, External: g.External, AllowInsecure: g.AllowInsecure,
		Transport: ingress.Transport(g.Transport), TLS: strings.EqualFold(g.TargetScheme, "https"),
		Sticky: g.StickySessions != nil && strings.EqualFold(g.StickySessions.Affinity, "sticky"),
	}
	if !a.Stopped {
		for _, r := range revisions {
			if r.Active {
				v.Revisions = append(v.Revisions, ingress.Revision{Name: r.Name, Failed: r.Status.Provisioning == containerapp.Failed})
			}
		}
	}
	v.Port = targetOf(g, latest(a, v.Revisions), revisions)
	for _, t := range g.Traffic {
		name := t.RevisionName
		if t.LatestRevision {
			name = latest(a, v.Revisions)
		}
		v.Traffic = append(v.Traffic, ingress.Share{Revision: name, Weight: t.Weight, Label: t.Label})
	}
	if err = read(&v, g); err != nil {
		v.Closed = true
	}
	return v, true, err
}

// targetOf gives the port that requests go to; where none is named, that of a
// revision.
func targetOf(g *containerapp.Ingress, name string, revisions []containerapp.Revision) int {
	for _, r := range revisions {
		if strings.EqualFold(r.Name, name) {
			return g.TargetPortOf(r.Template)
		}
	}
	return g.TargetPort
}

// latest gives the revision that stands for the latest one: that which was ready
// last, as a newer one gets no requests before it is.
func latest(a containerapp.App, active []ingress.Revision) string {
	for _, r := range active {
		if strings.EqualFold(r.Name, a.LatestReady) {
			return r.Name
		}
	}
	return a.Latest
}

// read takes up the settings that are stored as the client sent them.
func read(v *ingress.App, g *containerapp.Ingress) (err error) {
	if v.Policy, err = policy.New(policy.Settings{IPRestrictions: g.IPRestrictions, CORS: g.CORS, ClientCertificateMode: g.ClientCertificateMode}); err != nil {
		return err
	}
	var domains []struct {
		Name string `json:"name"`
	}
	if err := understand("customDomains", g.CustomDomains, &domains); err != nil {
		return err
	}
	for _, d := range domains {
		v.CustomDomains = append(v.CustomDomains, d.Name)
	}
	var more []containerapp.PortMapping
	if err := understand("additionalPortMappings", g.AdditionalPorts, &more); err != nil {
		return err
	}
	if v.Transport == ingress.TCP && v.Port > 0 {
		v.Ports = append(v.Ports, ingress.TCPPort{Exposed: cmp.Or(g.ExposedPort, v.Port), Target: v.Port, External: g.External})
	}
	for i, m := range more {
		exposed := cmp.Or(m.ExposedPort, m.TargetPort)
		if m.TargetPort < 1 || m.TargetPort > 65535 || exposed < 1 || exposed > 65535 {
			return problem.New(problem.Invalid, fmt.Sprintf("ingress.additionalPortMappings[%d] has no port from 1 to 65535", i))
		}
		v.Ports = append(v.Ports, ingress.TCPPort{Exposed: exposed, Target: m.TargetPort, External: m.External && g.External})
	}
	return nil
}

func understand(field string, text json.RawMessage, into any) error {
	if len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return problem.Wrap(problem.Invalid, "ingress."+field+" cannot be understood", err)
	}
	return nil
}
