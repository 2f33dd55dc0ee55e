package template

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/template/expression"
)

// index finds resources of the plan by what others call them.
type index struct {
	byID   map[string][]int
	byName map[string][]int // names, symbols and loops
}

func (p *Plan) newIndex() (*index, error) {
	x := &index{map[string][]int{}, map[string][]int{}}
	for i, res := range p.Resources {
		k := key(res.ID)
		for _, j := range x.byID[k] {
			if p.Resources[j].Deploy && res.Deploy {
				return nil, at(res.Path, invalid("%s is the same resource, %s", p.Resources[j].Path, clip(res.ID)))
			}
		}
		x.byID[k] = append(x.byID[k], i)
		calls := map[string]bool{strings.ToLower(res.Name): true, res.symbol: true, res.loop: true}
		if res.symbol != "" && res.turns > 0 {
			calls[res.symbol+"["+strconv.Itoa(res.turn)+"]"] = true
		}
		if at := strings.LastIndex(k, "/providers/"); at >= 0 {
			calls[k[at+len("/providers/"):]] = true // Microsoft.Web/sites/name
		}
		for call := range calls {
			if call != "" {
				x.byName[call] = append(x.byName[call], i)
			}
		}
	}
	return x, nil
}

// find gives the resources that a name or id stands for.
func (x *index) find(call string) []int {
	if strings.HasPrefix(call, "/") {
		return x.byID[key(call)]
	}
	return x.byName[strings.ToLower(call)]
}

// depend finds out which resources come before which.
func (p *Plan) depend() error {
	x, err := p.newIndex()
	if err != nil {
		return err
	}
	p.run.index = x
	loops := map[string]bool{} // of no turns: depending on them is no mistake
	p.emptyLoops(get(p.run.t.root, "resources"), loops)
	for i := range p.Resources {
		after := map[int]bool{}
		if err := p.explicit(i, loops, after); err != nil {
			return err
		}
		p.implicit(i, after)
		p.serial(i, after)
		delete(after, i)
		p.Resources[i].After = slices.Sorted(maps.Keys(after))
	}
	return nil
}

// emptyLoops collects the names of loops and symbols, so that those of which
// nothing came are known.
func (p *Plan) emptyLoops(v any, into map[string]bool) {
	note := func(symbol string, v any) {
		def, _ := v.(map[string]any)
		loop, ok := get(def, "copy").(map[string]any)
		if !ok {
			return
		}
		name, _ := get(loop, "name").(string)
		into[strings.ToLower(name)], into[strings.ToLower(symbol)] = true, true
		p.emptyLoops(get(def, "resources"), into)
	}
	switch all := v.(type) {
	case []any:
		for _, v := range all {
			note("", v)
		}
	case map[string]any:
		for symbol, v := range all {
			note(symbol, v)
		}
	}
}

// explicit adds what dependsOn says.
func (p *Plan) explicit(i int, loops map[string]bool, after map[int]bool) error {
	res := p.Resources[i]
	path := res.Path + ".dependsOn"
	v, err := p.run.value(path, get(res.def, "dependsOn"), res.copies)
	if err != nil {
		return err
	}
	if one, ok := v.(string); ok {
		v = []any{one}
	}
	list, ok := v.([]any)
	if !ok && v != nil {
		return at(path, invalid("it must be an array of strings"))
	}
	for n, e := range list {
		name, ok := e.(string)
		if !ok {
			return at(fmt.Sprintf("%s[%d]", path, n), invalid("it must be a string"))
		}
		found := p.run.index.find(name)
		if len(found) == 0 && !loops[strings.ToLower(name)] {
			return at(fmt.Sprintf("%s[%d]", path, n), invalid("the template has no resource %q", clip(name)))
		}
		for _, j := range found {
			after[j] = true
		}
	}
	return nil
}

// implicit adds the resource that a child belongs to or an extension extends, and
// those that expressions refer to.
func (p *Plan) implicit(i int, after map[int]bool) {
	res := p.Resources[i]
	id := key(res.ID)
	for at := strings.LastIndexByte(id, '/'); at > 0; at = strings.LastIndexByte(id[:at], '/') {
		for _, j := range p.run.index.byID[id[:at]] {
			after[j] = true
		}
	}
	for name, v := range res.def {
		if props, ok := v.(map[string]any); ok && name == "properties" && res.inner {
			v = maps.Clone(props)
			delete(v.(map[string]any), "template") //nolint:errcheck // it is a clone of one
		}
		if !own(name) {
			p.references(v, res, after)
		}
	}
}

// references adds the resources that the expressions in a value ask.
func (p *Plan) references(v any, res Resource, after map[int]bool) {
	switch v := v.(type) {
	case string:
		if inner, is := expression.Cut(v); is {
			if n, err := p.run.parse(inner); err == nil {
				p.asked(n, res, after)
			}
		}
	case []any:
		for _, e := range v {
			p.references(e, res, after)
		}
	case map[string]any:
		for _, e := range v {
			p.references(e, res, after)
		}
	}
}

// asked adds the resources that calls of reference and list functions name.
func (p *Plan) asked(n expression.Node, res Resource, after map[int]bool) {
	switch n := n.(type) {
	case expression.Member:
		p.asked(n.Of, res, after)
		p.asked(n.Name, res, after)
	case expression.Call:
		name := strings.ToLower(n.Name)
		if len(n.Args) > 0 && (name == "reference" || name == "references" || strings.HasPrefix(name, "list")) {
			if v, err := p.run.scope(res.copies).Eval(n.Args[0]); err == nil {
				text, _ := v.(string)
				for _, j := range p.run.index.owning(text) {
					after[j] = true
				}
			}
		}
		for _, arg := range n.Args {
			p.asked(arg, res, after)
		}
	}
}

// owning gives the resources that a name or id stands for, or those that what it
// stands for lies in: listKeys asks sites/x/host/default, which comes with sites/x.
func (x *index) owning(call string) []int {
	if found := x.find(call); len(found) > 0 || !strings.HasPrefix(call, "/") {
		return found
	}
	id := key(call)
	for at := strings.LastIndexByte(id, '/'); at > 0; at = strings.LastIndexByte(id[:at], '/') {
		if found := x.byID[id[:at]]; len(found) > 0 && strings.Count(id[:at], "/") > 4 {
			return found
		}
	}
	return nil
}

// serial lets a batch of a serial loop wait for the one before it.
func (p *Plan) serial(i int, after map[int]bool) {
	res := p.Resources[i]
	loop, _ := get(res.def, "copy").(map[string]any)
	mode, _ := get(loop, "mode").(string)
	if res.turns == 0 || !strings.EqualFold(mode, "serial") {
		return
	}
	batch, ok := get(loop, "batchSize").(int64)
	if !ok || batch < 1 {
		batch = 1
	}
	mine := int64(res.turn) / batch
	for j, other := range p.Resources {
		if other.Path == res.Path && other.loop == res.loop && mine > 0 && int64(other.turn)/batch == mine-1 {
			after[j] = true
		}
	}
}

// sort puts the resources in an order that keeps to what comes after what.
func (p *Plan) sort() error {
	done := make([]bool, len(p.Resources))
	p.Order = make([]int, 0, len(p.Resources))
	for len(p.Order) < len(p.Resources) {
		before := len(p.Order)
		for i, res := range p.Resources {
			if !done[i] && !slices.ContainsFunc(res.After, func(j int) bool { return !done[j] }) {
				done[i] = true
				p.Order = append(p.Order, i)
			}
		}
		if len(p.Order) == before {
			return p.circle(done)
		}
	}
	return nil
}

func (p *Plan) circle(done []bool) error {
	var paths []string
	for i, res := range p.Resources {
		if !done[i] && len(paths) < 10 {
			paths = append(paths, res.Path)
		}
	}
	return invalid("resources depend on each other in a circle: %s", strings.Join(paths, ", "))
}
