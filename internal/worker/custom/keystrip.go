package custom

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/worker"
)

const keyParameter = "code"

// credential is where the access key of a request travelled and what must not
// reach the function. The zero value takes nothing out.
type credential struct {
	inHeader bool   // header x-functions-key was evaluated, the query was not
	inQuery  bool   // query parameter code was evaluated
	value    string // the key as presented
}

// findCredential looks where the key of an invocation was: in the header
// whenever that is present, else in the query. With the key in the header, code
// is ordinary data (an OAuth answer, say) unless it repeats the key.
func findCredential(r *http.Request, inv *worker.Invocation) credential {
	if !inv.StripKey {
		return credential{}
	}
	if v, ok := r.Header[headerKey]; ok {
		return credential{inHeader: true, value: first(v)}
	}
	for _, p := range parseQuery(r.URL.RawQuery) {
		if strings.EqualFold(p.name, keyParameter) {
			return credential{inQuery: true, value: p.value}
		}
	}
	return credential{}
}

func first(v []string) string {
	if len(v) == 0 {
		return ""
	}
	return v[0]
}

// hides reports whether a query parameter must not reach the function.
func (c credential) hides(p parameter) bool {
	if !strings.EqualFold(p.name, keyParameter) {
		return false
	}
	return c.inQuery || (c.inHeader && c.value != "" && p.value == c.value)
}

// query gives rawQuery without the key, every other byte as it was.
func (c credential) query(rawQuery string) string {
	if !c.inQuery && !c.inHeader {
		return rawQuery
	}
	return dropParameters(rawQuery, c.hides)
}

// referer gives a Referer value without the key: a page that was opened with a
// key in its address sends that address along.
func (c credential) referer(value string) string {
	base, rest, found := strings.Cut(value, "?")
	if !found || c.value == "" {
		return value
	}
	query, fragment, hasFragment := strings.Cut(rest, "#")
	kept := dropParameters(query, func(p parameter) bool { return p.value == c.value })
	if kept != "" {
		base += "?" + kept
	}
	if hasFragment {
		base += "#" + fragment
	}
	return base
}

// parameter is one part of a query.
type parameter struct{ raw, name, value string }

// parseQuery splits a query. Unlike net/url it loses nothing: a part with a bad
// escape is kept as it is written, as the stock host does.
func parseQuery(raw string) []parameter {
	var found []parameter
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		found = append(found, parameter{raw: part, name: unescape(name), value: unescape(value)})
	}
	return found
}

func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

func dropParameters(raw string, drop func(parameter) bool) string {
	if raw == "" {
		return raw
	}
	var kept []string
	for _, p := range parseQuery(raw) {
		if !drop(p) {
			kept = append(kept, p.raw)
		}
	}
	return strings.Join(kept, "&")
}

// ours reports whether a client's header field must not reach the function
// because it could pass for one of ours. Servers behind a CGI-like interface
// cannot tell "_" from "-", hence the comparison.
func ours(name string) bool {
	return len(name) > len(ownPrefix) && strings.EqualFold(dashed(name[:len(ownPrefix)]), ownPrefix)
}

const ownPrefix = "X-Latchkey-"

func dashed(s string) string {
	if strings.IndexByte(s, '_') < 0 {
		return s
	}
	return strings.ReplaceAll(s, "_", "-")
}
