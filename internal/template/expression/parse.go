package expression

import (
	"strconv"
	"strings"
)

// Parse reads an expression without its brackets. It returns problem.Invalid with
// the position of what cannot be read, counted in bytes from 1.
func Parse(text string) (Node, error) {
	if len(text) > MaxText {
		return nil, invalid("an expression has at most %d bytes, not %d", MaxText, len(text))
	}
	p := parser{text: text}
	n, err := p.expression(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.at < len(p.text) {
		return nil, p.wrong("nothing more is expected")
	}
	return n, nil
}

type parser struct {
	text string
	at   int
}

func (p *parser) wrong(why string) error { return invalid("%s at position %d", why, p.at+1) }

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// peek gives the next character that is no space, 0 at the end.
func (p *parser) peek() byte {
	if p.space(); p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

func (p *parser) take(c byte) bool {
	if p.peek() == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) expression(depth int) (Node, error) {
	if depth > maxParse {
		return nil, p.wrong("calls are nested too deeply")
	}
	n, err := p.primary(depth)
	for err == nil {
		switch {
		case p.take('.'):
			var name string
			if name = p.name(); name == "" {
				return nil, p.wrong("after a dot comes a name")
			}
			n = Member{n, Literal{name}}
		case p.take('['):
			var index Node
			if index, err = p.expression(depth + 1); err == nil && !p.take(']') {
				err = p.wrong("] is missing")
			}
			n = Member{n, index}
		default:
			return n, nil
		}
	}
	return nil, err
}

func (p *parser) primary(depth int) (Node, error) {
	c := p.peek()
	switch {
	case c == '\'':
		return p.quoted()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	case c == '_' || isLetter(c):
		return p.call(depth)
	case c == 0:
		return nil, p.wrong("an expression is missing")
	}
	return nil, p.wrong("this begins no expression")
}

func (p *parser) quoted() (Node, error) {
	var b strings.Builder
	for p.at++; ; p.at++ {
		end := strings.IndexByte(p.text[p.at:], '\'')
		if end < 0 {
			return nil, p.wrong("a string has no end")
		}
		b.WriteString(p.text[p.at : p.at+end])
		p.at += end + 1
		if p.at >= len(p.text) || p.text[p.at] != '\'' {
			return Literal{b.String()}, nil
		}
		b.WriteByte('\'') // two stand for one
	}
}

func (p *parser) number() (Node, error) {
	begin := p.at
	for p.at++; p.at < len(p.text) && p.text[p.at] >= '0' && p.text[p.at] <= '9'; {
		p.at++
	}
	n, err := strconv.ParseInt(p.text[begin:p.at], 10, 64)
	if err != nil {
		p.at = begin
		return nil, p.wrong("this is no whole number")
	}
	return Literal{n}, nil
}

func (p *parser) call(depth int) (Node, error) {
	c := Call{Name: p.name()}
	if p.take('.') { // a function of the template: namespace.name
		c.Name += "." + p.name()
	}
	if !p.take('(') {
		return nil, p.wrong("after a function's name comes (")
	}
	if p.take(')') {
		return c, nil
	}
	for {
		arg, err := p.expression(depth + 1)
		if err != nil {
			return nil, err
		}
		c.Args = append(c.Args, arg)
		if p.take(')') {
			return c, nil
		}
		if !p.take(',') {
			return nil, p.wrong(", or ) is missing")
		}
	}
}

// name reads a name; "" if there is none.
func (p *parser) name() string {
	p.space()
	begin := p.at
	for p.at < len(p.text) && (isLetter(p.text[p.at]) || p.text[p.at] == '_' || p.at > begin && p.text[p.at] >= '0' && p.text[p.at] <= '9') {
		p.at++
	}
	return p.text[begin:p.at]
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
