package msi

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/latchkey/latchkey/internal/identity"
)

// Bounds of a query and of a resource in it, in bytes.
const (
	maxQuery    = 8 << 10
	maxSelector = 1 << 10
)

// kind is what a selector goes by.
type kind uint8

const (
	none kind = iota
	byClient
	byObject
	byResource
)

// kindOf gives what a parameter selects by. All spellings count in all versions.
func kindOf(name string) kind {
	switch name {
	case "client_id", "clientid":
		return byClient
	case "object_id", "principal_id":
		return byObject
	case "mi_res_id", "msi_res_id":
		return byResource
	}
	return none
}

// query is what a client asks.
type query struct {
	version  string
	resource string
	by       kind   // none for no selector
	name     string // of the selector's parameter
	value    string
}

// parseQuery reads a raw query. Names are compared without case, unknown ones do
// not count, empty values are as good as missing. It returns what it found also
// with an error, which is a *fault.
func parseQuery(raw string) (q query, err error) {
	if len(raw) > maxQuery {
		return q, bad(fmt.Sprintf("The query is longer than %d bytes.", maxQuery))
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, bad("The query is not well-formed.")
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names) // which of two faults is told does not depend on chance
	for _, name := range names {
		if fault := q.take(name, values[name]); fault != nil && err == nil {
			err = fault
		}
	}
	return q, err
}

func (q *query) take(name string, values []string) error {
	lower := strings.ToLower(name)
	known := lower == "api-version" || lower == "resource" || kindOf(lower) != none
	switch {
	case !known:
		return nil
	case len(values) > 1:
		return bad(fmt.Sprintf("Parameter %s is given more than once.", lower))
	case values[0] == "":
		return nil
	}
	switch lower {
	case "api-version":
		return once(&q.version, values[0], lower)
	case "resource":
		return once(&q.resource, values[0], lower)
	}
	return q.choose(lower, values[0])
}

// once sets a parameter that may be given once, in whatever case.
func once(to *string, value, name string) error {
	if *to != "" {
		return bad(fmt.Sprintf("Parameter %s is given more than once.", name))
	}
	*to = value
	return nil
}

func (q *query) choose(name, value string) error {
	switch by := kindOf(name); {
	case len(value) > maxSelector:
		return bad(fmt.Sprintf("Parameter %s is longer than %d bytes.", name, maxSelector))
	case q.by != none && (q.by != by || !strings.EqualFold(q.value, value)):
		return bad("Only one of client_id, object_id and mi_res_id can be given.")
	default:
		q.by, q.name, q.value = by, name, value
		return nil
	}
}

// selector gives what was asked for, for events.
func (q query) selector() string {
	if q.by == none {
		return ""
	}
	return q.name + "=" + clip(q.value)
}

// selects says whether an assigned identity is the one that is asked for.
func (q query) selects(a identity.Assigned) bool {
	switch q.by {
	case byClient:
		return strings.EqualFold(a.AppID, q.value)
	case byObject:
		return strings.EqualFold(a.ObjectID, q.value)
	case byResource:
		return strings.EqualFold(a.ResourceID, strings.TrimRight(q.value, "/"))
	}
	return a.System
}

// find gives the assigned identity that is asked for; without a selector it is
// the workload's own.
func (q query) find(assigned []identity.Assigned) (identity.Assigned, bool) {
	i := slices.IndexFunc(assigned, q.selects)
	if i < 0 {
		return identity.Assigned{}, false
	}
	return assigned[i], true
}

// clip makes a client's text fit to be recorded.
func clip(s string) string {
	const most = 512
	if len(s) > most {
		s = s[:most]
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
