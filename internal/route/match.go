package route

import (
	"slices"
	"strings"
)

// Param is the value of one route parameter, decoded.
type Param struct{ Name, Value string }

// match tests a path whose first t.lead segments are known to fit and appends
// the parameters that have a value, in the order of the template.
func (t *Template) match(path string, spans []span, params []Param) ([]Param, bool) {
	ok := true
	for i := t.lead; i < len(spans); i++ {
		s := spans[i]
		if s.start == s.end || i >= len(t.segments) {
			return params, false
		}
		if t.catchAllAt(i) {
			return t.assign(t.segments[i].parts[0].param, path[s.start:], params)
		}
		if params, ok = t.segment(&t.segments[i], path[s.start:s.end], params); !ok {
			return params, false
		}
	}
	return t.rest(len(spans), params)
}

func (t *Template) segment(s *segment, text string, params []Param) ([]Param, bool) {
	if len(s.parts) > 1 {
		return t.mixed(s, unescape(text), params)
	}
	if p := s.parts[0].param; p >= 0 {
		return t.assign(p, text, params)
	}
	text = unescape(text)
	n, ok := foldPrefix(text, s.parts[0].literal)
	return params, ok && n == len(text)
}

// assign gives a parameter its value unless a constraint forbids it.
func (t *Template) assign(param int, escaped string, params []Param) ([]Param, bool) {
	p := &t.params[param]
	value := unescape(escaped)
	return append(params, Param{p.name, value}), p.allows(value)
}

func (p *parameter) allows(value string) bool {
	for i := range p.constraints {
		if !p.constraints[i].match(value) {
			return false
		}
	}
	return true
}

// rest handles template segments beyond the end of the path: each must do
// without a value.
func (t *Template) rest(from int, params []Param) ([]Param, bool) {
	for i := from; i < len(t.segments); i++ {
		s := &t.segments[i]
		if len(s.parts) > 1 || s.parts[0].param < 0 {
			return params, false
		}
		p := &t.params[s.parts[0].param]
		switch {
		case p.hasDefault:
			if !p.allows(p.def) {
				return params, false
			}
			params = append(params, Param{p.name, p.def})
		case p.catchAll:
			if slices.ContainsFunc(p.constraints, func(c constraint) bool { return !c.absent }) {
				return params, false
			}
		case !p.optional:
			return params, false
		}
	}
	return params, true
}

// mixed matches a segment of several parts. With an optional extension,
// {x}.{ext?}, a second try leaves the extension and its dot out. Constraints
// come last: a bad extension is no reason for a second try.
func (t *Template) mixed(s *segment, text string, params []Param) ([]Param, bool) {
	before := len(params)
	parts := s.parts
	params, ok := t.backwards(parts, text, params)
	if last := parts[len(parts)-1].param; !ok && last >= 0 && t.params[last].optional && !strings.HasSuffix(text, ".") {
		parts = parts[:len(parts)-2]
		params, ok = t.backwards(parts, text, params)
	}
	return params, ok && t.checkMixed(parts, params[before:])
}

// backwards matches parts from the right: each literal takes its last place
// that leaves at least one character for the parameter after it. There is no
// second guess, so the time is bounded.
func (t *Template) backwards(parts []part, text string, params []Param) ([]Param, bool) {
	before := len(params)
	end, pending := len(text), -1
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i].param >= 0 {
			pending = parts[i].param
			continue
		}
		limit := end
		if pending >= 0 {
			limit--
		}
		at, after, ok := lastFold(text, limit, parts[i].literal)
		if !ok || pending < 0 && after != end {
			return params[:before], false
		}
		if pending >= 0 {
			params = append(params, Param{t.params[pending].name, text[after:end]})
		}
		end, pending = at, -1
	}
	if pending >= 0 {
		params = append(params, Param{t.params[pending].name, text[:end]})
	}
	if (pending >= 0) != (end > 0) {
		return params[:before], false
	}
	return params, true
}

// checkMixed puts the values found from the right into the template's order
// and applies the constraints.
func (t *Template) checkMixed(parts []part, values []Param) bool {
	slices.Reverse(values)
	i := 0
	for _, q := range parts {
		if q.param < 0 {
			continue
		}
		if !t.params[q.param].allows(values[i].Value) {
			return false
		}
		i++
	}
	return true
}
