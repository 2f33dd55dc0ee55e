package template

import (
	"context"
	"time"
)

// Input is what a template is deployed with.
type Input struct {
	// Parameters are those of the request: name → {"value": …}.
	Parameters map[string]any
	Scope      Scope
	Now        time.Time
	NewGUID    func() string
}

// Scope is where a template is deployed, as its functions see it.
type Scope struct {
	TenantID       string
	SubscriptionID string
	Subscription   map[string]any // what subscription() gives
	Group          map[string]any // what resourceGroup() gives; nil for a subscription
	Deployment     map[string]any // what deployment() gives
	Environment    map[string]any // what environment() gives
	Tenant         map[string]any // what tenant() gives
}

// ID gives the id of the scope.
func (s Scope) ID() string {
	if s.Group != nil {
		id, _ := s.Group["id"].(string)
		return id
	}
	return "/subscriptions/" + s.SubscriptionID
}

// Runtime reads and asks resources while a template is deployed. Ids are whole.
type Runtime interface {
	// Reference gives a resource as a GET answers it; version is "" for any.
	Reference(ctx context.Context, id, version string) (map[string]any, error)
	// List gives what an action such as listKeys answers; body is nil for none.
	List(ctx context.Context, action, id, version string, body any) (any, error)
}

// Resource is one resource to deploy, of a loop one for each turn.
type Resource struct {
	Path       string // where in the template: "resources[2]"
	ID         string
	Type       string
	Name       string // with those of the resources it is a child of: "app/slot"
	APIVersion string
	Location   string // "" if it has none or it is known only when it is deployed
	// Deploy is false for resources whose condition is false and for existing ones.
	Deploy bool
	// After are the indices of the resources that come before this one.
	After []int

	symbol string
	loop   string // name of the copy loop
	turn   int
	turns  int // 0 without a loop
	def    map[string]any
	copies copies
	inner  bool // a nested deployment that evaluates its template itself
	outer  bool // a nested deployment whose template is evaluated here
}

// Plan is what a template comes to for its input. It is not safe for concurrent
// use.
type Plan struct {
	Resources []Resource // in the order of the template
	Order     []int      // of indices, so that each comes after those it depends on

	run *run
}

// Plan reads parameters, expands loops and conditions, and orders the resources.
// It returns problem.Invalid or problem.TooLarge with the place in the template,
// problem.Unsupported for what templates can have elsewhere.
func (t *Template) Plan(in Input) (*Plan, error) {
	r, err := t.begin(in)
	if err != nil {
		return nil, err
	}
	p := &Plan{run: r}
	r.plan = p
	if err := r.checkParameters(); err != nil {
		return nil, err
	}
	if err := p.expand(); err != nil {
		return nil, err
	}
	if err := p.depend(); err != nil {
		return nil, err
	}
	return p, p.sort()
}

// Body gives what is sent to deploy a resource.
func (p *Plan) Body(ctx context.Context, i int, rt Runtime) (map[string]any, error) {
	return p.body(i, phase{ctx: ctx, runtime: rt})
}

// Preview gives the body as far as it can be known without deploying; expressions
// that ask resources, or secure parameters, are left as they are written.
func (p *Plan) Preview(i int) (map[string]any, error) {
	vars := p.run.vars
	defer func() { p.run.vars = vars }()
	var err error
	if p.run.vars, err = p.run.variables(); err != nil { // the others may have been made of secrets
		return nil, err
	}
	return p.body(i, phase{lenient: true, hide: true})
}

// Flattened reports whether what is sent for a resource has values of this
// template's parameters written into a nested template.
func (p *Plan) Flattened(i int) bool { return p.Resources[i].outer }

// Parameters gives the values of parameters as deployments show them: secure ones
// without their value.
func (p *Plan) Parameters() map[string]any { return p.run.shownParameters() }

// Outputs gives the outputs as deployments show them: secure ones without their
// value.
func (p *Plan) Outputs(ctx context.Context, rt Runtime) (map[string]any, error) {
	p.run.phase = phase{ctx: ctx, runtime: rt}
	return p.run.outputs()
}

// body evaluates a resource's definition.
func (p *Plan) body(i int, ph phase) (map[string]any, error) {
	res := p.Resources[i]
	p.run.phase = ph
	out := map[string]any{}
	for name, v := range res.def {
		if own(name) {
			continue
		}
		var err error
		path := res.Path + "." + name
		if res.inner || res.outer {
			v, err = p.nested(path, name, v, res)
		} else {
			v, err = p.run.value(path, v, res.copies)
		}
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, p.run.budget.Made(out)
}

// nested evaluates a member of a nested deployment.
func (p *Plan) nested(path, name string, v any, res Resource) (any, error) {
	props, ok := v.(map[string]any)
	if name != "properties" || !ok {
		return p.run.value(path, v, res.copies)
	}
	out := map[string]any{}
	for member, v := range props {
		var err error
		path := path + "." + member
		switch {
		case member == "template" && res.outer:
			v, err = p.run.flatten(path, v, res.copies)
		case member != "template":
			v, err = p.run.value(path, v, res.copies)
		}
		if err != nil {
			return nil, err
		}
		if !(res.outer && member == "expressionEvaluationOptions") {
			out[member] = v
		}
	}
	return out, nil
}

// own reports whether a member of a resource is for the template, not for the
// resource.
func own(name string) bool {
	switch name {
	case "type", "name", "apiVersion", "dependsOn", "condition", "copy", "scope", "comments", "metadata", "resources",
		"existing", "resourceGroup", "subscriptionId", "import", "extension":
		return true
	}
	return false
}
