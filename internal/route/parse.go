package route

import (
	"errors"
	"fmt"
	"strings"
)

// templateParser reads one template from left to right.
type templateParser struct {
	t    *Template
	text string
	i    int
}

// segment reads up to the next slash outside braces and steps over it.
func (p *templateParser) segment() error {
	if last := len(p.t.segments) - 1; last >= 0 && p.t.catchAllAt(last) {
		return errors.New("must end with its catch-all parameter")
	}
	var s segment
	for p.i < len(p.text) && p.text[p.i] != '/' {
		if err := p.part(&s); err != nil {
			return err
		}
	}
	p.i++
	if len(s.parts) == 0 {
		return errors.New(`holds "//"`)
	}
	p.t.segments = append(p.t.segments, s)
	return p.t.checkSegment(&s)
}

func (p *templateParser) part(s *segment) error {
	if p.text[p.i] == '{' && !strings.HasPrefix(p.text[p.i:], "{{") {
		return p.parameter(s)
	}
	text, err := p.literal()
	if err != nil {
		return err
	}
	s.parts = append(s.parts, part{literal: fold(text), param: -1})
	return nil
}

// literal reads up to a slash or parameter; {{ and }} are single braces.
func (p *templateParser) literal() (string, error) {
	var b strings.Builder
	for ; p.i < len(p.text) && p.text[p.i] != '/'; p.i++ {
		c := p.text[p.i]
		doubled := p.i+1 < len(p.text) && p.text[p.i+1] == c
		switch {
		case c == '{' && !doubled:
			return b.String(), nil
		case c == '}' && !doubled:
			return "", errors.New(`has a "}" without its "{" (write "}}" for the character)`)
		case c == '{' || c == '}':
			p.i++
		case c == '?':
			return "", errors.New(`holds "?" outside a parameter`)
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// parameter reads {…}; inside, {{ and }} are single braces.
func (p *templateParser) parameter(s *segment) error {
	var b strings.Builder
	for p.i++; p.i < len(p.text); p.i++ {
		c := p.text[p.i]
		if c == '{' || c == '}' {
			doubled := p.i+1 < len(p.text) && p.text[p.i+1] == c
			if c == '}' && !doubled {
				p.i++
				return p.t.addParameter(s, b.String())
			}
			if !doubled {
				return errors.New(`has a "{" inside a parameter (write "{{" for the character)`)
			}
			p.i++
		}
		b.WriteByte(c)
	}
	return errors.New(`has a "{" without its "}"`)
}

func (t *Template) addParameter(s *segment, text string) error {
	q, err := parseParameter(text)
	if err != nil {
		return err
	}
	for i := range t.params {
		if strings.EqualFold(t.params[i].name, q.name) {
			return fmt.Errorf("names parameter %q twice", q.name)
		}
	}
	if n := len(s.parts); n > 0 && s.parts[n-1].param >= 0 {
		return errors.New("has two parameters with nothing between them")
	}
	s.parts = append(s.parts, part{param: len(t.params)})
	t.params = append(t.params, q)
	return nil
}

func (t *Template) catchAllAt(i int) bool {
	p := t.segments[i].parts[0].param
	return p >= 0 && t.params[p].catchAll
}

// checkSegment applies the rules of segments with several parts: no catch-all,
// and an optional parameter only as a file extension, {x}.{ext?}.
func (t *Template) checkSegment(s *segment) error {
	if len(s.parts) == 1 {
		return nil
	}
	for i, q := range s.parts {
		switch {
		case q.param < 0:
		case t.params[q.param].catchAll:
			return errors.New("has a catch-all parameter that is not a segment of its own")
		case t.params[q.param].optional && !(i == len(s.parts)-1 && i >= 2 && s.parts[i-1].literal == "."):
			return fmt.Errorf("has the optional parameter %q inside a segment, where only {name}.{ext?} may be optional", t.params[q.param].name)
		}
	}
	return nil
}

// parseParameter reads the text between the braces:
// [*|**]name[:constraint…][=default][?].
func parseParameter(text string) (parameter, error) {
	var p parameter
	rest := text
	if strings.HasPrefix(rest, "*") {
		p.catchAll = true
		rest = strings.TrimPrefix(rest[1:], "*")
	}
	if strings.HasSuffix(rest, "?") {
		p.optional = true
		rest = rest[:len(rest)-1]
	}
	end := strings.IndexAny(rest, ":=")
	if end < 0 {
		end = len(rest)
	}
	p.name, rest = rest[:end], rest[end:]
	if p.name == "" || strings.ContainsAny(p.name, "/{}?*") {
		return p, fmt.Errorf("has a parameter %q without a proper name", text)
	}
	if err := p.tail(rest); err != nil {
		return p, fmt.Errorf("parameter %q: %w", p.name, err)
	}
	return p, nil
}

// tail reads the constraints and the default value.
func (p *parameter) tail(rest string) error {
	for strings.HasPrefix(rest, ":") {
		n, err := constraintEnd(rest[1:])
		if err != nil {
			return err
		}
		c, err := parseConstraint(rest[1 : 1+n])
		if err != nil {
			return err
		}
		p.constraints = append(p.constraints, c)
		rest = rest[1+n:]
	}
	if strings.HasPrefix(rest, "=") {
		p.hasDefault, p.def = true, rest[1:]
	}
	switch {
	case p.optional && p.catchAll:
		return errors.New("a catch-all cannot be optional, it matches nothing as it is")
	case p.optional && p.hasDefault:
		return errors.New("an optional parameter cannot have a default value")
	}
	return nil
}

// constraintEnd finds where a constraint ends. A closing parenthesis ends the
// arguments only before ":", "=" or the end, so patterns may hold their own.
func constraintEnd(s string) (int, error) {
	end := strings.IndexAny(s, ":=(")
	if end < 0 {
		return len(s), nil
	}
	if s[end] != '(' {
		return end, nil
	}
	for i := end; i < len(s); i++ {
		if s[i] == ')' && (i+1 == len(s) || s[i+1] == ':' || s[i+1] == '=') {
			return i + 1, nil
		}
	}
	return 0, fmt.Errorf("constraint %q has no closing parenthesis", s)
}
