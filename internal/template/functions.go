package template

import (
	"regexp"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/template/expression"
)

// referenceCost is what asking a resource costs of the budget.
const referenceCost = 500

// within gives the functions of a place in the template.
func (r *run) within(c copies) []expression.Functions {
	place := expression.Functions{
		"copyindex": expression.Strict("copyIndex", 0, 2, func(a []any) (any, error) { return copyIndex(c, a) }),
	}
	return []expression.Functions{place, r.own(), r.functions, r.builtins}
}

// own gives the functions that are the same everywhere in the template. They look
// at the phase when they are called.
func (r *run) own() expression.Functions {
	if r.general != nil {
		return r.general
	}
	constant := func(name string, v func() (any, error)) expression.Function {
		return expression.Strict(name, 0, 0, func([]any) (any, error) { return v() })
	}
	s := r.in.Scope
	f := expression.Functions{
		"parameters":             expression.Strict("parameters", 1, 1, r.callParameters),
		"variables":              expression.Strict("variables", 1, 1, r.callVariables),
		"resourceid":             expression.Strict("resourceId", 2, -1, r.resourceID),
		"subscriptionresourceid": expression.Strict("subscriptionResourceId", 2, -1, r.subscriptionResourceID),
		"tenantresourceid":       expression.Strict("tenantResourceId", 2, -1, tenantResourceID),
		"extensionresourceid":    expression.Strict("extensionResourceId", 3, -1, extensionResourceID),
		"subscription":           constant("subscription", func() (any, error) { return s.Subscription, nil }),
		"tenant":                 constant("tenant", func() (any, error) { return s.Tenant, nil }),
		"environment":            constant("environment", func() (any, error) { return s.Environment, nil }),
		"deployment":             constant("deployment", func() (any, error) { return s.Deployment, nil }),
		"resourcegroup": constant("resourceGroup", func() (any, error) {
			if s.Group == nil {
				return nil, invalid("resourceGroup() has no value in a deployment to a subscription")
			}
			return s.Group, nil
		}),
		"newguid":      constant("newGuid", r.newGUID),
		"utcnow":       expression.Strict("utcNow", 0, 1, r.utcNow),
		"reference":    expression.Strict("reference", 1, 3, r.reference),
		"references":   expression.Strict("references", 1, 2, r.references),
		"resourceinfo": expression.Strict("resourceInfo", 1, 1, r.resourceInfo),
	}
	for _, name := range []string{"managementGroup", "managementGroupResourceId", "pickZones", "providers", "toLogicalZone", "toPhysicalZone"} {
		f[strings.ToLower(name)] = func(*expression.Scope, []expression.Node) (any, error) {
			return nil, problem.New(problem.Unsupported, "function "+name+"() is not supported")
		}
	}
	r.general = f
	return f
}

func copyIndex(c copies, a []any) (any, error) {
	name, offset := c.current, int64(0)
	if len(a) > 0 {
		if text, ok := a[0].(string); ok {
			name, a = strings.ToLower(text), a[1:]
		}
	}
	if len(a) > 0 {
		n, ok := a[0].(int64)
		if !ok || n < -1<<31 || n > 1<<31 {
			return nil, invalid("the offset must be a number")
		}
		offset = n
	}
	turn, ok := c.turns[name]
	if !ok {
		return nil, invalid("there is no such copy loop around it")
	}
	return turn + offset, nil
}

func (r *run) callParameters(a []any) (any, error) {
	name, ok := a[0].(string)
	if !ok {
		return nil, invalid("a parameter's name must be a string")
	}
	if d, ok := r.declared[strings.ToLower(name)]; ok && d.secure && r.phase.hide {
		return nil, errSecret
	}
	return r.params.get(name)
}

func (r *run) callVariables(a []any) (any, error) {
	name, ok := a[0].(string)
	if !ok {
		return nil, invalid("a variable's name must be a string")
	}
	return r.vars.get(name)
}

func (r *run) newGUID() (any, error) {
	if !r.phase.params {
		return nil, invalid("newGuid() may be used in default values of parameters only")
	}
	return r.in.NewGUID(), nil
}

func (r *run) utcNow(a []any) (any, error) {
	if !r.phase.params {
		return nil, invalid("utcNow() may be used in default values of parameters only")
	}
	layout := ""
	if len(a) > 0 {
		var ok bool
		if layout, ok = a[0].(string); !ok {
			return nil, invalid("the format must be a string")
		}
	}
	return expression.FormatTime(r.in.Now.UTC(), layout)
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// split separates the arguments before the type, the type, and the names after it.
func split(a []any) (before []string, typ string, names []string, err error) {
	for _, v := range a {
		text, ok := v.(string)
		switch {
		case !ok || text == "":
			return nil, "", nil, invalid("the arguments must be strings that are not empty")
		case typ == "" && strings.Contains(text, "/"):
			typ = text
		case typ == "":
			before = append(before, text)
		default:
			names = append(names, strings.Split(text, "/")...)
		}
	}
	if typ == "" {
		return nil, "", nil, invalid("there is no type such as Microsoft.Web/sites among the arguments")
	}
	return before, typ, names, nil
}

// resourceID serves resourceId([subscription], [group], type, name, …).
func (r *run) resourceID(a []any) (any, error) {
	before, typ, names, err := split(a)
	if err != nil {
		return nil, err
	}
	sub, base := r.in.Scope.SubscriptionID, r.in.Scope.ID()
	switch {
	case len(before) > 2:
		return nil, invalid("before the type come a subscription and a resource group at most")
	case len(before) == 2:
		base = "/subscriptions/" + before[0] + "/resourceGroups/" + before[1]
	case len(before) == 1 && (guid.MatchString(before[0]) && r.in.Scope.Group == nil):
		base = "/subscriptions/" + before[0]
	case len(before) == 1:
		base = "/subscriptions/" + sub + "/resourceGroups/" + before[0]
	}
	if strings.EqualFold(typ, groupType) {
		base = "/subscriptions/" + sub
		if len(before) > 0 && guid.MatchString(before[0]) {
			base = "/subscriptions/" + before[0]
		}
	}
	return joinID(base, typ, names)
}

func (r *run) subscriptionResourceID(a []any) (any, error) {
	before, typ, names, err := split(a)
	if err != nil {
		return nil, err
	}
	sub := r.in.Scope.SubscriptionID
	if len(before) > 1 {
		return nil, invalid("before the type comes a subscription at most")
	}
	if len(before) == 1 {
		sub = before[0]
	}
	return joinID("/subscriptions/"+sub, typ, names)
}

func tenantResourceID(a []any) (any, error) {
	before, typ, names, err := split(a)
	if err != nil {
		return nil, err
	}
	if len(before) > 0 {
		return nil, invalid("the first argument must be a type")
	}
	return joinID("", typ, names)
}

func extensionResourceID(a []any) (any, error) {
	base, ok := a[0].(string)
	if !ok || !strings.HasPrefix(base, "/") {
		return nil, invalid("argument 1 must be a resource id")
	}
	before, typ, names, err := split(a[1:])
	if err != nil {
		return nil, err
	}
	if len(before) > 0 {
		return nil, invalid("argument 2 must be a type")
	}
	return joinID(strings.TrimRight(base, "/"), typ, names)
}

// target finds the resource that a call of reference or a list function names.
func (r *run) target(call any) (id, version string, err error) {
	text, ok := call.(string)
	if !ok || text == "" {
		return "", "", invalid("argument 1 must be a resource's id or name")
	}
	var found []int
	if r.index != nil {
		found = r.index.find(text)
	}
	switch {
	case len(found) > 0:
		res := r.plan.Resources[found[0]]
		return res.ID, res.APIVersion, nil
	case strings.HasPrefix(text, "/"):
		return text, "", nil
	}
	return "", "", invalid("argument 1 is neither a resource id nor the name of a resource of the template")
}

func (r *run) mayAsk() error {
	if r.phase.runtime == nil {
		return errLater
	}
	return r.budget.Spend(referenceCost)
}

func (r *run) reference(a []any) (any, error) {
	if err := r.mayAsk(); err != nil {
		return nil, err
	}
	id, version, err := r.target(a[0])
	if err != nil {
		return nil, err
	}
	if len(a) > 1 && a[1] != nil {
		version, _ = a[1].(string)
	}
	whole, err := r.phase.runtime.Reference(r.phase.ctx, id, version)
	if err != nil {
		return nil, err
	}
	if full, _ := a[len(a)-1].(string); len(a) == 3 && strings.EqualFold(full, "full") {
		return r.full(whole, id, version), nil
	}
	if props, ok := get(whole, "properties").(map[string]any); ok {
		return props, nil
	}
	return map[string]any{}, nil
}

// full adds to a resource what reference(…, 'Full') has besides.
func (r *run) full(whole map[string]any, id, version string) map[string]any {
	out := map[string]any{"apiVersion": version, "resourceId": id, "subscriptionId": r.in.Scope.SubscriptionID}
	for name, v := range whole {
		out[name] = v
	}
	return out
}

// references gives those of all turns of a loop.
func (r *run) references(a []any) (any, error) {
	if err := r.mayAsk(); err != nil {
		return nil, err
	}
	symbol, ok := a[0].(string)
	if !ok {
		return nil, invalid("argument 1 must be the symbolic name of a loop")
	}
	list := []any{}
	for _, i := range r.index.find(symbol) {
		args := []any{r.plan.Resources[i].ID}
		if len(a) == 2 {
			args = append(args, nil, a[1])
		}
		v, err := r.reference(args)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (r *run) resourceInfo(a []any) (any, error) {
	symbol, ok := a[0].(string)
	if !ok || r.index == nil || len(r.index.find(symbol)) == 0 {
		return nil, invalid("argument 1 must be the symbolic name of a resource")
	}
	res := r.plan.Resources[r.index.find(symbol)[0]]
	return map[string]any{"id": res.ID, "name": res.Name, "type": res.Type, "apiVersion": res.APIVersion}, nil
}

// list gives the function for an action such as listKeys.
func (r *run) list(action string) expression.Function {
	return expression.Strict(action, 1, 3, func(a []any) (any, error) {
		if err := r.mayAsk(); err != nil {
			return nil, err
		}
		id, version, err := r.target(a[0])
		if err != nil {
			return nil, err
		}
		if len(a) > 1 && a[1] != nil {
			version, _ = a[1].(string)
		}
		var body any
		if len(a) > 2 {
			body = a[2]
		}
		return r.phase.runtime.List(r.phase.ctx, action, id, version, body)
	})
}
