package containerapp

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/resource"
)

// claims are what only one app can have: its name in its environment, domains of its
// own, and ports at which it takes connections. By what is claimed, the field that
// does it.
type claims map[string]string

// claimsOf reads them; what cannot be understood claims nothing, as nothing serves it.
func claimsOf(name string, p Properties) claims {
	all := claims{}
	if id, err := resource.Parse(p.EnvironmentID); err == nil {
		all["name "+strings.ToLower(name)+" in environment "+id.Key()] = "name"
	}
	if p.Configuration == nil || p.Configuration.Ingress == nil {
		return all
	}
	const field = "configuration.ingress"
	g := p.Configuration.Ingress
	var domains []struct {
		Name string `json:"name"`
	}
	if json.Unmarshal(g.CustomDomains, &domains) == nil {
		for i, d := range domains {
			all["domain "+strings.ToLower(strings.TrimSuffix(d.Name, "."))] = fmt.Sprintf("%s.customDomains[%d].name", field, i)
		}
	}
	port := func(exposed, target int, field string) {
		if n := cmp.Or(exposed, target); n > 0 {
			all[fmt.Sprintf("exposed port %d", n)] = field
		}
	}
	if g.Transport == "tcp" {
		port(g.ExposedPort, g.TargetPort, field+".exposedPort")
	}
	var more []struct {
		TargetPort  int `json:"targetPort"`
		ExposedPort int `json:"exposedPort"`
	}
	if json.Unmarshal(g.AdditionalPorts, &more) == nil {
		for i, m := range more {
			port(m.ExposedPort, m.TargetPort, fmt.Sprintf("%s.additionalPortMappings[%d].exposedPort", field, i))
		}
	}
	return all
}

// claim refuses what an app claims anew and another one has.
func (d *draft) claim(ctx context.Context, next Properties, exists bool) error {
	said := claimsOf(d.id.Name(), next)
	if exists {
		for what := range claimsOf(d.id.Name(), d.props) {
			delete(said, what)
		}
	}
	if len(said) == 0 {
		return nil
	}
	list, _, err := d.apps.inv.List(ctx, Type, resource.Root, "", 0)
	if err != nil {
		return err
	}
	c := faults{}
	for _, found := range list {
		if other, err := FromResource(found); err == nil && !other.ID.Equal(d.id) {
			c.taken(said, claimsOf(other.Name, other.Properties))
		}
	}
	return c.err()
}

// taken does not say whose it is: the caller may not know of that app.
func (f *faults) taken(said, had claims) {
	for _, what := range slices.Sorted(maps.Keys(said)) {
		if _, taken := had[what]; taken {
			f.field(said[what], what, "another container app has it")
		}
	}
}
