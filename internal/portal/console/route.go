package console

import (
	"net/url"
	pathpkg "path"
	"strings"
	"unicode/utf8"
)

// maxPath is the most bytes of a path; functions answer to none that is longer.
const maxPath = 8 << 10

// route is the template of a function's address, by its segments.
type route struct {
	segments [][]part
	Params   []param
}

// part is a text, or a parameter by its index; segments alternate.
type part struct {
	text  string
	param int // -1 for a text
}

// param is what a caller puts into an address.
type param struct {
	Name     string
	Rule     string // as the template has it: "int:min(1)"
	Default  string
	Optional bool // may be left out
	Rest     bool // takes the rest of the path, slashes too
}

// Needed reports whether a function is not found without it.
func (p param) Needed() bool { return !p.Optional && !p.Rest && p.Default == "" }

// parseRoute reads a template that a host serves, so that there is no need to say what
// would be wrong with it: what is no parameter is taken as a text.
func parseRoute(template string) route {
	var r route
	text := strings.Trim(template, "/")
	if text == "" {
		return r
	}
	for _, segment := range cutSegments(text) {
		r.addSegment(segment)
	}
	return r
}

// cutSegments cuts at the slashes that are outside of braces.
func cutSegments(text string) (segments []string) {
	start := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{':
			i = braceEnd(text, i)
		case '/':
			segments, start = append(segments, text[start:i]), i+1
		}
	}
	return append(segments, text[start:])
}

// braceEnd gives the index of the brace that ends the parameter at i, or i+1 for one
// that is doubled, or the last index of a text in which it does not end.
func braceEnd(text string, i int) int {
	if doubled(text, i) {
		return i + 1
	}
	for j := i + 1; j < len(text); j++ {
		switch {
		case text[j] != '{' && text[j] != '}':
		case doubled(text, j):
			j++
		case text[j] == '}':
			return j
		}
	}
	return len(text) - 1
}

func doubled(text string, i int) bool { return i+1 < len(text) && text[i+1] == text[i] }

var single = strings.NewReplacer("{{", "{", "}}", "}")

func (r *route) addSegment(text string) {
	var parts []part
	start := 0
	for i := 0; i < len(text); i++ {
		if text[i] != '{' {
			continue
		}
		end := braceEnd(text, i)
		if doubled(text, i) || text[end] != '}' {
			i = end
			continue
		}
		if start < i {
			parts = append(parts, part{single.Replace(text[start:i]), -1})
		}
		parts = append(parts, part{param: len(r.Params)})
		r.Params = append(r.Params, parseParam(single.Replace(text[i+1:end])))
		i, start = end, end+1
	}
	if start < len(text) || len(parts) == 0 {
		parts = append(parts, part{single.Replace(text[start:]), -1})
	}
	r.segments = append(r.segments, parts)
}

// parseParam reads what is between braces: [*|**]name[:rule…][=default][?].
func parseParam(text string) param {
	var p param
	name := strings.TrimLeft(text, "*")
	p.Rest = name != text
	name, p.Optional = strings.CutSuffix(name, "?")
	end := strings.IndexAny(name, ":=")
	if end < 0 {
		p.Name = name
		return p
	}
	rest := name[end:]
	p.Name = name[:end]
	if at := defaultAt(rest); at >= 0 {
		rest, p.Default = rest[:at], rest[at+1:]
	}
	p.Rule = strings.TrimPrefix(rest, ":")
	return p
}

// defaultAt finds the "=" that is outside of the arguments of a rule.
func defaultAt(rest string) int {
	depth := 0
	for i := range len(rest) {
		switch rest[i] {
		case '(':
			depth++
		case ')':
			depth--
		case '=':
			if depth <= 0 {
				return i
			}
		}
	}
	return -1
}

// fault is why something cannot be asked: the key of a text, with a name and a detail
// to put into it.
type fault struct{ Text, Name, Detail string }

// Error gives the key of the text.
func (f *fault) Error() string { return f.Text }

// path puts values into the template, in the order of its parameters. What is in a
// value never leaves its place: it is escaped, and what would lead elsewhere is a
// fault. The path begins with one slash.
func (r route) path(values []string) (string, *fault) {
	var b strings.Builder
	missing := "" // a parameter that was left out, after which there can be nothing
	for _, parts := range r.segments {
		text, left, bad := r.segment(parts, values)
		switch {
		case bad != nil:
			return "", bad
		case text == "":
			if missing = left; missing == "" {
				missing = " "
			}
			continue
		case missing != "":
			return "", &fault{Text: "console.param.gap", Name: missing}
		}
		b.WriteString("/" + text)
	}
	if b.Len() == 0 {
		return "/", nil
	}
	return checkedPath(b.String())
}

// segment gives the text of one, and the parameter that is left out of it.
func (r route) segment(parts []part, values []string) (text, left string, bad *fault) {
	var b strings.Builder
	for i, p := range parts {
		if p.param < 0 {
			next := i + 1 // {name}.{ext?} has no dot without what follows it
			if p.text == "." && next < len(parts) && r.Params[parts[next].param].Optional && valueOf(values, parts[next].param) == "" {
				continue
			}
			b.WriteString(url.PathEscape(p.text))
			continue
		}
		about, value := r.Params[p.param], valueOf(values, p.param)
		if value == "" && about.Default != "" {
			value = about.Default
		}
		if value == "" {
			if left = about.Name; about.Needed() {
				return "", "", &fault{Text: "console.param.needed", Name: about.Name}
			}
			continue
		}
		escaped, bad := escape(about, value)
		if bad != nil {
			return "", "", bad
		}
		b.WriteString(escaped)
	}
	if text = b.String(); climbs(text) {
		return "", "", &fault{Text: "console.param.climbs", Name: left}
	}
	return text, left, nil
}

func valueOf(values []string, i int) string {
	if i < len(values) {
		return values[i]
	}
	return ""
}

// escape makes a value part of a segment, or of several for what takes the rest.
func escape(p param, value string) (string, *fault) {
	if !utf8.ValidString(value) || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return "", &fault{Text: "console.param.control", Name: p.Name}
	}
	if !p.Rest {
		if climbs(value) {
			return "", &fault{Text: "console.param.climbs", Name: p.Name}
		}
		return url.PathEscape(value), nil
	}
	segments := strings.Split(strings.TrimLeft(value, "/"), "/")
	for i, s := range segments {
		if climbs(s) {
			return "", &fault{Text: "console.param.climbs", Name: p.Name}
		}
		segments[i] = url.PathEscape(s)
	}
	return strings.Join(segments, "/"), nil
}

// climbs reports whether a segment is one that programs take for a place elsewhere.
func climbs(segment string) bool { return segment == "." || segment == ".." }

// checkedPath refuses what is not the function's: the runtime API of the app, which the
// host tells by the first segment, however that is spelt.
func checkedPath(path string) (string, *fault) {
	plain, err := url.PathUnescape(path)
	if err != nil || len(path) > maxPath {
		return "", &fault{Text: "console.path.long"}
	}
	for _, read := range []string{plain, pathpkg.Clean("/" + strings.ReplaceAll(plain, `\`, "/"))} { // what is escaped is taken for steps by some
		first, _, _ := strings.Cut(strings.TrimLeft(read, "/"), "/")
		if strings.EqualFold(first, "admin") || strings.EqualFold(first, "runtime") {
			return "", &fault{Text: "console.path.runtime", Name: first}
		}
	}
	return path, nil
}
