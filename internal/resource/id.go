// Package resource owns the names of management resources: ids as Azure Resource
// Manager spells them, their parts, and comparing them without regard to case.
// It knows neither which types exist nor where resources are kept.
package resource

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/problem"
)

// Limits of an id.
const (
	MaxID       = 2048 // bytes
	maxSegments = 64
)

// ID names a resource, a resource group, a subscription or the tenant's root. It
// is immutable; equal ids have equal [ID.Key]s whatever their case.
type ID struct {
	parent    string // the id without the last "/providers/…" part; "" is the root
	namespace string // "Microsoft.Web"; "" for groups, subscriptions and the root
	types     []string
	names     []string
}

// Root is the id of the tenant's root, "/".
var Root = ID{}

// Subscription gives the id of a subscription.
func Subscription(sub string) ID { return ID{parent: "/subscriptions/" + sub} }

// Group gives the id of a resource group.
func Group(sub, group string) ID {
	return ID{parent: "/subscriptions/" + sub + "/resourceGroups/" + group}
}

// Parse reads an id. Fixed segments may have any case; repeated and trailing
// slashes do not count. It returns problem.Invalid for what is no id: names are
// text without control characters, so that ids that differ have different keys
// but for the case.
func Parse(text string) (ID, error) {
	if len(text) > MaxID {
		return ID{}, problem.New(problem.TooLarge, fmt.Sprintf("a resource id has at most %d bytes, not %d", MaxID, len(text)))
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return ID{}, invalid(text, "it must be text without control characters")
	}
	segs := strings.FieldsFunc(text, func(r rune) bool { return r == '/' })
	if len(segs) > maxSegments {
		return ID{}, problem.New(problem.Invalid, fmt.Sprintf("a resource id has at most %d segments, not %d", maxSegments, len(segs)))
	}
	return parse(segs, text)
}

func parse(segs []string, text string) (ID, error) {
	at := lastProviders(segs)
	if at < 0 {
		return parseContainer(segs, text)
	}
	rest := segs[at+1:]
	if len(rest) < 3 || len(rest)%2 == 0 {
		return ID{}, invalid(text, "after /providers/ come a namespace and pairs of type and name")
	}
	above, err := parse(segs[:at], text)
	if err != nil {
		return ID{}, err
	}
	id := ID{parent: above.path(), namespace: rest[0]}
	for i := 1; i < len(rest); i += 2 {
		id.types = append(id.types, rest[i])
		id.names = append(id.names, rest[i+1])
	}
	return id, nil
}

// lastProviders finds the "providers" segment the last resource hangs on. A
// resource can be called "providers": only positions where the fixed word can
// stand count, which are known by walking from the front.
func lastProviders(segs []string) int {
	last, i := -1, 0
	if len(segs) > 1 && strings.EqualFold(segs[0], "subscriptions") {
		i = 2
		if len(segs) > 3 && strings.EqualFold(segs[2], "resourceGroups") {
			i = 4
		}
	}
	for i < len(segs) {
		if !strings.EqualFold(segs[i], "providers") {
			return last
		}
		last = i
		i += 2 // the namespace
		for i+1 < len(segs) && !strings.EqualFold(segs[i], "providers") {
			i += 2
		}
		if i+1 == len(segs) { // a type without a name: not an id, parse says so
			return last
		}
	}
	return last
}

func parseContainer(segs []string, text string) (ID, error) {
	switch {
	case len(segs) == 0:
		return Root, nil
	case len(segs) == 2 && strings.EqualFold(segs[0], "subscriptions"):
		return Subscription(segs[1]), nil
	case len(segs) == 4 && strings.EqualFold(segs[0], "subscriptions") && strings.EqualFold(segs[2], "resourceGroups"):
		return Group(segs[1], segs[3]), nil
	}
	return ID{}, invalid(text, "it must begin with /subscriptions/{id} or /providers/{namespace}")
}

func invalid(text, why string) error {
	return problem.New(problem.Invalid, fmt.Sprintf("%q is no resource id: %s", clip(text), why))
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}

// Child gives the id of a resource below id: Child("Microsoft.Web", "sites", "x")
// below a group, Child("", "functions", "f") below a site. With a namespace below
// a resource it is an extension, such as a role assignment.
func (id ID) Child(namespace, typ, name string) ID {
	if namespace != "" {
		return ID{parent: id.path(), namespace: namespace, types: []string{typ}, names: []string{name}}
	}
	return ID{
		parent: id.parent, namespace: id.namespace,
		types: append(id.types[:len(id.types):len(id.types)], typ),
		names: append(id.names[:len(id.names):len(id.names)], name),
	}
}

// Parent gives what id lies directly in: the resource a child belongs to, the
// scope of an extension, the group of a resource, the subscription of a group,
// the root of a subscription. The root is its own parent.
func (id ID) Parent() ID {
	if len(id.types) > 1 {
		last := len(id.types) - 1
		return ID{id.parent, id.namespace, id.types[:last:last], id.names[:last:last]}
	}
	if id.namespace != "" {
		above, _ := Parse(id.parent) // it was parsed or built before
		return above
	}
	if at := strings.LastIndex(id.parent, "/resourceGroups/"); at >= 0 { // a subscription can have that name
		return ID{parent: id.parent[:at]}
	}
	return Root
}

// IsRoot, IsSubscription, IsGroup and IsResource tell what kind of id it is.
func (id ID) IsRoot() bool { return id.parent == "" && id.namespace == "" }

// IsSubscription reports whether id names a subscription.
func (id ID) IsSubscription() bool {
	return id.namespace == "" && id.parent != "" && !id.IsGroup()
}

// IsGroup reports whether id names a resource group.
func (id ID) IsGroup() bool {
	return id.namespace == "" && strings.Contains(id.parent, "/resourceGroups/")
}

// IsResource reports whether id names a resource of a provider.
func (id ID) IsResource() bool { return id.namespace != "" }

// Namespace gives the provider, "" for groups, subscriptions and the root.
func (id ID) Namespace() string { return id.namespace }

// Type gives the whole type, such as "Microsoft.Web/sites/functions".
func (id ID) Type() string {
	switch {
	case id.IsGroup():
		return "Microsoft.Resources/resourceGroups"
	case id.IsSubscription():
		return "Microsoft.Resources/subscriptions"
	case id.IsRoot():
		return "Microsoft.Resources/tenants"
	}
	return id.namespace + "/" + strings.Join(id.types, "/")
}

// Name gives the last name; of a group its name, of a subscription its id.
func (id ID) Name() string {
	if len(id.names) > 0 {
		return id.names[len(id.names)-1]
	}
	return id.parent[strings.LastIndexByte(id.parent, '/')+1:]
}

// Names gives the names of the resource and of the resources it is a child of,
// outermost first.
func (id ID) Names() []string { return append([]string(nil), id.names...) }

// Subscription gives the subscription's id, "" outside of any.
func (id ID) Subscription() string { return id.segment(2) }

// Group gives the resource group's name, "" outside of any.
func (id ID) Group() string { return id.segment(4) }

// segment gives the nth segment of the leading /subscriptions/…/resourceGroups/….
func (id ID) segment(n int) string {
	segs := strings.SplitN(id.path(), "/", 6)
	if len(segs) <= n || segs[1] != "subscriptions" || n == 4 && segs[3] != "resourceGroups" {
		return ""
	}
	return segs[n]
}

// String gives the id with fixed segments spelled as Azure spells them and names
// as they were given; "/" for the root.
func (id ID) String() string {
	if id.IsRoot() {
		return "/"
	}
	return id.path()
}

func (id ID) path() string {
	if id.namespace == "" {
		return id.parent
	}
	const providers = "/providers/"
	size := len(id.parent) + len(providers) + len(id.namespace)
	for i := range id.types {
		size += len("//") + len(id.types[i]) + len(id.names[i])
	}
	var b strings.Builder
	b.Grow(size)
	b.WriteString(id.parent)
	b.WriteString(providers)
	b.WriteString(id.namespace)
	for i := range id.types {
		b.WriteByte('/')
		b.WriteString(id.types[i])
		b.WriteByte('/')
		b.WriteString(id.names[i])
	}
	return b.String()
}

// Key gives the id in lower case, for comparing and as a key.
func (id ID) Key() string { return strings.ToLower(id.String()) }

// Equal compares ids without regard to case.
func (id ID) Equal(other ID) bool { return id.Key() == other.Key() }

// Contains reports whether other is id or lies in it.
func (id ID) Contains(other ID) bool {
	if id.IsRoot() || id.begins(other) {
		return true
	}
	mine, its := id.Key(), other.Key()
	return mine == its || strings.HasPrefix(its, mine+"/")
}

// begins reports whether other is id or lies in it and is spelled alike, which
// most are, and which shows without making keys. false says nothing.
func (id ID) begins(other ID) bool {
	if id.namespace == "" {
		rest, in := strings.CutPrefix(other.parent, id.parent)
		return in && (rest == "" || rest[0] == '/')
	}
	if id.parent != other.parent || id.namespace != other.namespace || len(id.types) > len(other.types) {
		return false
	}
	n := len(id.types)
	return slices.Equal(id.types, other.types[:n]) && slices.Equal(id.names, other.names[:n])
}
