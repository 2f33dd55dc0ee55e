package funcapp

import (
	"strings"
)

// bindings reads the list and checks what holds for all of them: at least one,
// exactly one trigger, no name twice.
func (l *loader) bindings(r reporter, root *node, function string) []Binding {
	items, ok := root.get("bindings").elements()
	if !ok || len(items) == 0 {
		r.at(firstOf(root.get("bindings"), root), "add a trigger", "function.json must have a list of bindings with at least one entry")
		return nil
	}
	var list []Binding
	seen := map[string]bool{}
	triggers := 0
	for _, item := range items {
		if item.absent() || item.kind != objectNode {
			r.at(item, "", "an entry of bindings must be an object")
			continue
		}
		b := l.binding(r, item, function)
		if key := strings.ToLower(b.Name); b.Name != "" && seen[key] {
			r.at(firstOf(item.get("name"), item), "rename one of the two", "two bindings are named %s", quote(b.Name))
		} else {
			seen[key] = true
		}
		if b.IsTrigger() {
			if triggers++; triggers > 1 {
				r.at(item, "make two functions", "a function must have exactly one trigger, %s is a further one", quote(b.Name))
			}
		}
		list = append(list, b)
	}
	if triggers == 0 {
		r.at(root.get("bindings"), "add a binding whose type ends in Trigger", "a function must have exactly one trigger, this one has none")
	}
	return list
}

func (l *loader) binding(r reporter, n *node, function string) Binding {
	b := Binding{Properties: map[string]any{}}
	b.Type = r.str(n.get("type"), "type")
	if strings.TrimSpace(b.Type) == "" {
		r.at(firstOf(n.get("type"), n), "add type", "a binding has no type")
	}
	b.Direction = direction(r, n.get("direction"))
	b.Name = r.str(n.get("name"), "name")
	checkBindingName(r, firstOf(n.get("name"), n), b)
	b.DataType = choice(r, n.get("dataType"), "dataType", "string", "binary", "stream")
	b.Cardinality = choice(r, n.get("cardinality"), "cardinality", "one", "many")
	c := n.get("connection")
	b.Connection = l.resolve(r, c, "connection", r.str(c, "connection"))
	http := strings.EqualFold(b.Type, "httpTrigger")
	if http {
		b.HTTP = httpTrigger(r, n, function)
	}
	l.properties(r, n, &b, http)
	return b
}

func checkBindingName(r reporter, place *node, b Binding) {
	switch {
	case b.Name == "":
		r.at(place, "add name", "a binding has no name")
	case b.Name == "$return":
		if b.Direction != Out {
			r.at(place, `give it "direction": "out"`, "the binding $return must have direction out")
		}
	case !bindingName.MatchString(b.Name):
		r.at(place, "", "%s is not a binding name: use a letter, then up to 127 letters or digits, or $return", quote(b.Name))
	}
}

var directions = []string{"in", "out", "inout"}

func direction(r reporter, n *node) Direction {
	if n.absent() {
		return In
	}
	for i, d := range directions {
		if n.kind == textNode && strings.EqualFold(d, n.text) {
			return Direction(i)
		}
	}
	r.at(n, "", "direction must be in, out or inout, not %s", quote(n.text))
	return In
}

// choice reads one of some words, ignoring case, as spelled here.
func choice(r reporter, n *node, name string, words ...string) string {
	if n.absent() || n.kind == textNode && n.text == "" {
		return ""
	}
	if n.kind == textNode {
		if w := oneOf(n.text, words); w != "" {
			return w
		}
	}
	r.at(n, "", "%s must be %s, not %s", name, strings.Join(words, " or "), quote(n.text))
	return ""
}

// ownMembers are the members with fields of their own; httpMembers those of an
// httpTrigger besides.
var (
	ownMembers  = []string{"name", "type", "direction", "dataType", "cardinality", "connection"}
	httpMembers = []string{"route", "methods", "authLevel"}
)

// properties keeps all other members, with %Name% resolved in those that are
// text.
func (l *loader) properties(r reporter, n *node, b *Binding, http bool) {
	for _, m := range n.members {
		if oneOf(m.name, ownMembers) != "" || http && oneOf(m.name, httpMembers) != "" {
			continue
		}
		v := m.value.plain()
		if s, ok := v.(string); ok && !strings.EqualFold(m.name, "route") {
			v = l.resolve(r, m.value, m.name, s)
		}
		b.Properties[strings.ToLower(m.name)] = v
	}
}

// resolve replaces %Name% by settings. Faults name the setting and never show
// a value.
func (l *loader) resolve(r reporter, n *node, property, text string) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, "%")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		name, after, closed := strings.Cut(rest, "%")
		if !closed {
			r.at(n, "write %Name% for a setting", "%s holds a %% without its partner", quote(property))
			return b.String()
		}
		v, found := l.settings.lookup(name)
		if !found || v == "" {
			r.at(n, "set "+printable(name), "%s: %%%s%% does not resolve to a value", printable(property), printable(name))
		}
		b.WriteString(v)
		text = after
	}
}

var authLevelNames = []string{"anonymous", "user", "function", "system", "admin"}

// authLevel reads a level. Anything unknown is a fault, so that a misspelt
// level never opens a function.
func authLevel(r reporter, n *node, name string) AuthLevel {
	if n.absent() {
		return LevelFunction
	}
	for i, s := range authLevelNames {
		if n.kind == textNode && strings.EqualFold(s, n.text) {
			return AuthLevel(i)
		}
	}
	r.at(n, "use anonymous, function or admin", "%s %s is unknown", name, quote(n.text))
	return LevelAdmin
}

var knownMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}

func httpTrigger(r reporter, n *node, function string) *HTTPTrigger {
	t := &HTTPTrigger{Route: function, AuthLevel: authLevel(r, n.get("authLevel"), "authLevel")}
	if route := r.str(n.get("route"), "route"); strings.TrimSpace(route) != "" {
		t.Route, t.HasRoute = route, true
	}
	methods := n.get("methods")
	items, ok := methods.elements()
	if !ok {
		r.at(methods, `write a list such as ["get", "post"]`, "methods must be a list")
	}
	for _, item := range items {
		m := ""
		if item.kind == textNode {
			m = oneOf(item.text, knownMethods)
		}
		if m == "" {
			r.at(item, "use "+strings.Join(knownMethods, ", "), "method %s is unknown", quote(item.text))
			continue
		}
		t.Methods = appendOnce(t.Methods, m)
	}
	return t
}

func appendOnce(list []string, s string) []string {
	if oneOf(s, list) != "" {
		return list
	}
	return append(list, s)
}
