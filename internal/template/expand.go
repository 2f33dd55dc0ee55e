package template

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/template/expression"
)

// parent is the resource that a nested definition lies in.
type parent struct {
	typ, name string
	copies    copies
	deploy    bool
}

// expand makes the resources of the template, children after their parents.
func (p *Plan) expand() error {
	switch all := get(p.run.t.root, "resources").(type) {
	case []any:
		return p.expandList("resources", all, nil)
	case map[string]any:
		for _, symbol := range slices.Sorted(maps.Keys(all)) {
			if err := p.expandOne("resources."+symbol, symbol, all[symbol], nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Plan) expandList(path string, list []any, above *parent) error {
	for i, v := range list {
		if err := p.expandOne(fmt.Sprintf("%s[%d]", path, i), "", v, above); err != nil {
			return err
		}
	}
	return nil
}

// expandOne makes the resources of one definition: one, or as many as its loop
// has turns.
func (p *Plan) expandOne(path, symbol string, v any, above *parent) error {
	def, ok := v.(map[string]any)
	if !ok {
		return at(path, invalid("a resource must be an object"))
	}
	var c copies
	if above != nil {
		c = above.copies
	}
	res := Resource{Path: path, symbol: strings.ToLower(symbol), def: def}
	loop, ok := get(def, "copy").(map[string]any)
	if !ok {
		return p.resource(res, c, above)
	}
	if get(loop, "name") == nil {
		loop = maps.Clone(loop)
		loop["name"] = symbol
	}
	name, count, err := p.run.loop(path+".copy", loop, c)
	if err != nil {
		return err
	}
	for turn := range count {
		res.loop, res.turn, res.turns = strings.ToLower(name), turn, count
		if err := p.resource(res, c.with(name, turn, true), above); err != nil {
			return err
		}
	}
	return nil
}

// resource adds a resource and those nested in it.
func (p *Plan) resource(res Resource, c copies, above *parent) error {
	if len(p.Resources) >= MaxResources {
		return problem.New(problem.TooLarge, fmt.Sprintf("a template has at most %d resources, turns of loops included", MaxResources))
	}
	res.copies = c
	r := p.run
	yes, err := r.condition(res.Path, res.def, c)
	if err != nil {
		return err
	}
	if res.Type, err = r.textOf(res.Path+".type", get(res.def, "type"), c); err != nil {
		return err
	}
	if res.Name, err = r.textOf(res.Path+".name", get(res.def, "name"), c); err != nil {
		return err
	}
	if res.APIVersion, err = r.textOf(res.Path+".apiVersion", get(res.def, "apiVersion"), c); err != nil {
		return err
	}
	existing, _ := get(res.def, "existing").(bool)
	res.Deploy = yes && !existing && (above == nil || above.deploy)
	if above != nil {
		if !strings.HasPrefix(strings.ToLower(res.Type), strings.ToLower(above.typ)+"/") {
			res.Type = above.typ + "/" + res.Type
		}
		if strings.Count(res.Name, "/")+1 != strings.Count(res.Type, "/") {
			res.Name = above.name + "/" + res.Name
		}
	}
	if location, ok := get(res.def, "location").(string); ok {
		if v, err := r.text(res.Path+".location", location, c); err == nil {
			res.Location, _ = v.(string)
		}
	}
	if err := p.place(&res); err != nil {
		return err
	}
	p.Resources = append(p.Resources, res)
	if children, ok := get(res.def, "resources").([]any); ok && !res.inner && !res.outer {
		return p.expandList(res.Path+".resources", children, &parent{res.Type, res.Name, c, res.Deploy})
	}
	return nil
}

// place finds out a resource's id.
func (p *Plan) place(res *Resource) error {
	base := p.run.in.Scope.ID()
	if strings.EqualFold(res.Type, deploymentType) {
		var err error
		if base, err = p.placeDeployment(res, base); err != nil {
			return err
		}
	}
	if scope, ok := expression.Get(res.def, "scope"); ok {
		text, err := p.run.textOf(res.Path+".scope", scope, res.copies)
		if err != nil {
			return err
		}
		if base, err = within(base, text); err != nil {
			return at(res.Path+".scope", err)
		}
	}
	var err error
	res.ID, err = joinID(base, res.Type, strings.Split(res.Name, "/"))
	return at(res.Path, err)
}

const (
	deploymentType = "Microsoft.Resources/deployments"
	groupType      = "Microsoft.Resources/resourceGroups"
)

// placeDeployment gives the scope of a nested deployment, and finds out where its
// template is evaluated.
func (p *Plan) placeDeployment(res *Resource, base string) (string, error) {
	props, _ := get(res.def, "properties").(map[string]any)
	if get(props, "templateLink") != nil {
		return "", at(res.Path+".properties.templateLink", problem.New(problem.Unsupported, "linked templates are not supported").
			WithNext("put the template into the deployment, as Bicep does"))
	}
	options, _ := get(props, "expressionEvaluationOptions").(map[string]any)
	scope, _ := get(options, "scope").(string)
	res.inner = strings.EqualFold(scope, "inner")
	res.outer = !res.inner
	for _, part := range []string{"subscriptionId", "resourceGroup"} {
		v, ok := expression.Get(res.def, part)
		if !ok {
			continue
		}
		text, err := p.run.textOf(res.Path+"."+part, v, res.copies)
		if err != nil {
			return "", err
		}
		if part == "subscriptionId" {
			base = "/subscriptions/" + text
			continue
		}
		sub := strings.Split(base, "/")[2]
		base = "/subscriptions/" + sub + "/resourceGroups/" + text
	}
	return base, nil
}

// within resolves a scope: a whole id, or the type and name of a resource in base.
func within(base, scope string) (string, error) {
	if strings.HasPrefix(scope, "/") {
		return strings.TrimRight(scope, "/"), nil
	}
	parts := strings.Split(scope, "/")
	if len(parts) < 3 || len(parts)%2 == 0 {
		return "", invalid("it must be a resource id, or a type and name such as Microsoft.Web/sites/name")
	}
	return base + "/providers/" + scope, nil
}

// joinID makes an id of a type and its names.
func joinID(base, typ string, names []string) (string, error) {
	parts := strings.Split(strings.Trim(typ, "/"), "/")
	if len(parts) < 2 {
		return "", invalid("the type %q must be a namespace and types such as Microsoft.Web/sites", clip(typ))
	}
	if len(parts)-1 != len(names) {
		return "", invalid("the type %s takes %d names with slashes between, not %d", clip(typ), len(parts)-1, len(names))
	}
	if slices.Contains(names, "") {
		return "", invalid("a name is empty")
	}
	if strings.EqualFold(typ, groupType) && strings.Count(base, "/") == 2 {
		return base + "/resourceGroups/" + names[0], nil
	}
	var b strings.Builder
	b.WriteString(base + "/providers/" + parts[0])
	for i, name := range names {
		b.WriteString("/" + parts[i+1] + "/" + name)
	}
	return b.String(), nil
}

// key gives the form of an id in which equal ids are equal.
func key(id string) string {
	id = strings.ToLower("/" + strings.Trim(id, "/"))
	if parts := strings.Split(id, "/"); len(parts) == 7 && parts[4] == "microsoft.resources" && parts[5] == "resourcegroups" {
		return strings.Join(append(parts[:3:3], parts[5:]...), "/")
	}
	return id
}
