package funcapp

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// reporter collects the faults of one file, and of one function when it has a
// name. Its reading methods give a default for absent and for faulty values, so
// that one pass finds everything.
type reporter struct {
	file     string
	function string
	list     *[]Fault
}

// at reports a fault at a value. A value that comes from a setting is the
// setting's fault, not the file's.
func (r reporter) at(n *node, next, format string, args ...any) {
	f := Fault{File: r.file, Function: r.function, Message: fmt.Sprintf(format, args...), Next: next}
	if n != nil {
		f.Line = n.line
		if n.setting != "" {
			f.File, f.Line, f.Message = "", 0, "setting "+printable(n.setting)+": "+f.Message
		}
	}
	*r.list = append(*r.list, f)
}

func (r reporter) issues(list []issue) {
	for _, is := range list {
		*r.list = append(*r.list, Fault{File: r.file, Line: is.line, Function: r.function,
			Message: is.message, Next: is.next})
	}
}

// str reads a scalar as text, the way flattened configuration does.
func (r reporter) str(n *node, name string) string {
	if n.absent() {
		return ""
	}
	if !n.scalar() {
		r.at(n, "", "%s must be text", name)
		return ""
	}
	return n.text
}

func (r reporter) boolean(n *node, name string, def bool) bool {
	if n.absent() {
		return def
	}
	if n.scalar() {
		switch strings.ToLower(strings.TrimSpace(n.text)) {
		case "true":
			return true
		case "false":
			return false
		}
	}
	r.at(n, "", "%s must be true or false", name)
	return def
}

func (r reporter) integer(n *node, name string, def, low, high int) int {
	if n.absent() {
		return def
	}
	if n.scalar() {
		if i, err := strconv.Atoi(strings.TrimSpace(n.text)); err == nil && i >= low && i <= high {
			return i
		}
	}
	if high == math.MaxInt32 {
		r.at(n, "", "%s must be a whole number, %d or more", name, low)
	} else {
		r.at(n, "", "%s must be a whole number from %d to %d", name, low, high)
	}
	return def
}

func (r reporter) span(n *node, name string, def time.Duration) time.Duration {
	if n.absent() {
		return def
	}
	if n.scalar() {
		if d, err := ParseTimeSpan(n.text); err == nil {
			return d
		}
	}
	r.at(n, "", "%s %v", name, errTimeSpan)
	return def
}

func (r reporter) strings(n *node, name string) []string {
	items, ok := n.elements()
	if !ok {
		r.at(n, "", "%s must be a list of texts", name)
		return nil
	}
	var list []string
	for _, item := range items {
		if item.absent() {
			continue
		}
		if !item.scalar() {
			r.at(item, "", "%s must be a list of texts", name)
			continue
		}
		list = append(list, item.text)
	}
	return list
}

// section gives an object, nil (and a fault) for anything else.
func (r reporter) section(n *node, name string) *node {
	if n.absent() {
		return nil
	}
	if n.kind != objectNode {
		r.at(n, "", "%s must be an object", name)
		return nil
	}
	return n
}

// quote shows foreign text in a message: short, and harmless on a terminal.
func quote(s string) string {
	const limit = 80
	if len(s) > limit {
		return strconv.QuoteToGraphic(strings.ToValidUTF8(s[:limit], "")) + "…"
	}
	return strconv.QuoteToGraphic(s)
}

// printable makes a file or setting name safe to show: what does not print
// (controls, right-to-left marks, broken UTF-8) is escaped, and the end of a
// very long name is cut off.
func printable(s string) string {
	const limit = 160
	var b strings.Builder
	for i, c := range s {
		switch {
		case b.Len() > limit:
			return b.String() + "…"
		case c == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case strconv.IsPrint(c):
			b.WriteRune(c)
		default:
			q := strconv.QuoteRuneToASCII(c)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}
