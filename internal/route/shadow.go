package route

import (
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/funcapp"
)

// Shadow is a request that looks as if it were for one function and is served by
// an earlier one.
type Shadow struct {
	Hidden, By   *funcapp.Function
	Method, Path string // the request
}

// Shadows looks for functions that an earlier route hides, at least for the
// requests it tries: one per function and method, with plain values for the
// parameters. What it gives is true; what it does not find may exist.
func (t *Table) Shadows() []Shadow {
	var found []Shadow
	for i := range t.entries {
		e := &t.entries[i]
		path, ok := e.Template.example()
		if !ok {
			continue
		}
		for _, method := range e.tried() {
			if by, _ := t.Match(method, path, nil); by != nil && by != e {
				found = append(found, Shadow{Hidden: e.Function, By: by.Function, Method: method, Path: path})
				break
			}
		}
	}
	return found
}

func (e *Entry) tried() []string {
	if len(e.methods) == 0 {
		return []string{"GET", "POST"}
	}
	return e.methods
}

// plainValues are values that between them meet the usual constraints.
var plainValues = []string{"7", "a", "true", "2024-01-02", "0f8fad5b-d9cb-469f-a165-70867728950e", "aaaaaaaa", "12345678"}

// example makes a path that the template matches, if it can think of one.
func (t *Template) example() (path string, ok bool) {
	var b strings.Builder
	for i := range t.segments {
		b.WriteByte('/')
		for _, p := range t.segments[i].parts {
			if p.param < 0 {
				b.WriteString(url.PathEscape(p.literal))
				continue
			}
			value, ok := t.params[p.param].example()
			if !ok {
				return "", false
			}
			b.WriteString(value)
		}
	}
	return b.String(), true
}

func (p *parameter) example() (string, bool) {
	for _, v := range plainValues {
		if p.allows(v) {
			return v, true
		}
	}
	return "", false
}
