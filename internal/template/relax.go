package template

import (
	"bytes"
	"fmt"

	"github.com/latchkey/latchkey/internal/problem"
)

// relaxer turns lenient JSON into strict JSON.
type relaxer struct {
	in    []byte
	at    int
	depth int
	out   bytes.Buffer
	// comma is where in out a comma is that may have to go away, 0 for none. No
	// JSON begins with a comma.
	comma int
	last  byte // that was written and is neither space nor comment
}

var unquoted = []byte("template")

func (r *relaxer) step() error {
	c := r.in[r.at]
	rest := r.in[r.at:]
	switch {
	case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		r.out.WriteByte(c)
		r.at++
		return nil
	case bytes.HasPrefix(rest, []byte("//")):
		r.skipTo(bytes.IndexByte(rest, '\n'))
		return nil
	case bytes.HasPrefix(rest, []byte("/*")):
		end := bytes.Index(rest[2:], []byte("*/"))
		if end < 0 {
			return r.wrong("a comment has no end")
		}
		r.out.Write(bytes.Repeat([]byte("\n"), bytes.Count(rest[:end], []byte("\n")))) // lines keep their numbers
		r.at += end + 4
		return nil
	case c == '"':
		r.comma, r.last = 0, c
		return r.quoted()
	case bytes.HasPrefix(rest, unquoted) && bytes.HasPrefix(bytes.TrimLeft(rest[len(unquoted):], " \t\r\n"), []byte(":")):
		r.comma, r.last = 0, '"'
		r.out.WriteString(`"template"`)
		r.at += len(unquoted)
		return nil
	}
	return r.other(c)
}

// other passes on what is strict JSON already, and takes back a comma before a
// closing bracket.
func (r *relaxer) other(c byte) error {
	switch c {
	case '{', '[':
		if r.depth++; r.depth > maxLevels {
			return r.wrong(fmt.Sprintf("there are more than %d levels", maxLevels))
		}
	case '}', ']':
		if r.depth--; r.comma > 0 {
			r.out.Bytes()[r.comma] = ' '
		}
	}
	if r.comma = 0; c == ',' && bytes.IndexByte([]byte("{[:,"), r.last) < 0 {
		r.comma = r.out.Len()
	}
	r.last = c
	r.out.WriteByte(c)
	r.at++
	return nil
}

func (r *relaxer) skipTo(n int) {
	if n < 0 {
		n = len(r.in) - r.at
	}
	r.at += n
}

// quoted passes on a string.
func (r *relaxer) quoted() error {
	for i := r.at + 1; i < len(r.in); i++ {
		switch r.in[i] {
		case '\\':
			i++
		case '"':
			r.string(r.in[r.at : i+1])
			r.at = i + 1
			return nil
		}
	}
	return r.wrong("a string has no end")
}

// string writes a string with its line breaks and tabs escaped.
func (r *relaxer) string(text []byte) {
	for _, c := range text {
		switch c {
		case '\n':
			r.out.WriteString(`\n`)
		case '\r':
			r.out.WriteString(`\r`)
		case '\t':
			r.out.WriteString(`\t`)
		default:
			r.out.WriteByte(c)
		}
	}
}

func (r *relaxer) wrong(why string) error {
	return problem.New(problem.Invalid, fmt.Sprintf("%s (line %d)", why, 1+bytes.Count(r.in[:r.at], []byte("\n"))))
}
