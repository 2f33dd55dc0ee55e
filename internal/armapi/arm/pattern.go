package arm

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/resource"
)

// scopeParam is the segment that a pattern for any scope begins with.
const scopeParam = "{scope}"

// segment is a segment of a pattern.
type segment struct {
	text  string // as Azure spells it; the name of a parameter
	param bool
}

// route is an operation made ready.
type route struct {
	Operation
	anywhere  bool      // the pattern begins with {scope}
	segs      []segment // without {scope}
	scopeLen  int       // leading segs that name the scope, after {scope}'s
	namespace string    // "Microsoft.Web"; "" outside of providers
	types     []string
	verb      string // the last segment of an action such as listKeys
}

// newRoute makes an operation ready and says what is wrong with it.
func newRoute(op Operation) (*route, error) {
	fail := func(why string) (*route, error) {
		return nil, fmt.Errorf("arm: operation %s %s: %s", op.Method, op.Pattern, why)
	}
	rt := &route{Operation: op}
	rest, anywhere := strings.CutPrefix(strings.TrimPrefix(op.Pattern, "/"), scopeParam)
	rt.anywhere = anywhere
	if op.Handler == nil {
		return fail("it has no handler")
	}
	if op.Method != strings.ToUpper(op.Method) || op.Method == "" || op.Method == http.MethodOptions {
		return fail("the method is no method of the API")
	}
	if why := rt.parse(rest); why != "" {
		return fail(why)
	}
	if rt.anywhere && (len(rt.segs) == 0 || rt.segs[0].param) {
		return fail("after {scope} comes a fixed segment")
	}
	rt.readTypes()
	if rt.Action == "" {
		rt.Action = rt.deriveAction()
	}
	rt.Reads = rt.Reads || op.Method == http.MethodPost && readsOnly(rt.verb)
	if !rt.deriveScope() {
		return fail(fmt.Sprintf("its first %d segments are no scope", op.Scope))
	}
	return rt, nil
}

// parse reads the segments of a pattern and gives what is wrong with them.
func (rt *route) parse(text string) string {
	names := map[string]bool{"scope": true}
	for part := range strings.SplitSeq(strings.Trim(text, "/"), "/") {
		if part == "" && strings.Trim(text, "/") == "" {
			return ""
		}
		name, param := part, strings.HasPrefix(part, "{") && strings.HasSuffix(part, "}")
		if param {
			name = part[1 : len(part)-1]
		}
		if name == "" || strings.ContainsAny(name, "{}") {
			return fmt.Sprintf("segment %q is malformed", part)
		}
		if param && names[name] {
			return fmt.Sprintf("parameter %q occurs twice or is reserved", name)
		}
		names[name] = names[name] || param
		rt.segs = append(rt.segs, segment{name, param})
	}
	if len(rt.segs) > maxSegments {
		return "it has too many segments"
	}
	return ""
}

// readTypes finds namespace, types and the verb of an action in the pattern.
// Paths outside of providers are those of Microsoft.Resources.
func (rt *route) readTypes() {
	segs := rt.segs
	at := -1
	for i := range segs {
		if !segs[i].param && strings.EqualFold(segs[i].text, "providers") && i+1 < len(segs) && !segs[i+1].param {
			at = i
		}
	}
	if at >= 0 {
		rt.namespace, segs = segs[at+1].text, segs[at+2:]
	}
	for i := 0; i < len(segs); i += 2 {
		// A POST to what is neither a resource nor a list of them is an action.
		if rt.Method == http.MethodPost && i == len(segs)-1 {
			rt.verb = segs[i].text
			return
		}
		rt.types = append(rt.types, segs[i].text)
	}
}

// deriveAction gives the authorisation action of an operation that names none.
func (rt *route) deriveAction() string {
	namespace := rt.namespace
	if namespace == "" {
		namespace = "Microsoft.Resources"
	}
	parts := append([]string{namespace}, rt.types...)
	switch rt.Method {
	case http.MethodGet, http.MethodHead:
		parts = append(parts, "read")
	case http.MethodPut, http.MethodPatch:
		parts = append(parts, "write")
	case http.MethodDelete:
		parts = append(parts, "delete")
	default:
		if rt.verb != "" {
			parts = append(parts, rt.verb)
		}
		parts = append(parts, "action")
	}
	return strings.Join(parts, "/")
}

func readsOnly(verb string) bool {
	verb = strings.ToLower(verb)
	return slices.ContainsFunc([]string{"list", "check", "validate", "whatif"}, func(p string) bool { return strings.HasPrefix(verb, p) })
}

// deriveScope sets scopeLen and reports whether the scope is an id. Without one
// of its own an operation has the longest id up to its last parameter.
func (rt *route) deriveScope() bool {
	text := make([]string, len(rt.segs))
	last := 0
	for i, s := range rt.segs {
		if text[i] = s.text; s.param {
			last = i + 1
		}
	}
	isID := func(n int) bool {
		_, err := resource.Parse("/" + strings.Join(text[:n], "/"))
		return err == nil
	}
	if rt.Scope > 0 {
		rt.scopeLen = rt.Scope
		if rt.anywhere {
			rt.scopeLen--
		}
		return rt.scopeLen <= len(text) && isID(rt.scopeLen)
	}
	for rt.scopeLen = last; !isID(rt.scopeLen); rt.scopeLen-- { // "/" is one
	}
	return true
}

// bind gives the parameters and the scope of a path that the route matches: base
// is what {scope} stands for, segs are the others.
func (rt *route) bind(base resource.ID, segs []string) (Params, resource.ID, error) {
	params := make(Params, 4)
	if rt.anywhere {
		params["scope"] = base.String()
	}
	var id strings.Builder
	if !base.IsRoot() {
		id.WriteString(base.String())
	}
	for i, s := range rt.segs {
		text := s.text
		if s.param {
			text = segs[i]
			params[s.text] = text
		}
		if i >= rt.scopeLen {
			continue
		}
		if err := checkName(text); err != nil {
			return nil, resource.ID{}, err
		}
		id.WriteString("/" + text)
	}
	scope, err := resource.Parse(id.String())
	if err != nil { // a name reads as a fixed segment, or it is too long
		return nil, resource.ID{}, badPath("its scope is no resource id")
	}
	return params, scope, nil
}

// checkName refuses names that would read as another id.
func checkName(name string) error {
	if strings.ContainsAny(name, `/\`) {
		return badPath("the name '%s' has a slash", clip(name))
	}
	return nil
}
