// Package view owns what functions may see of an HTTP request: everything but the
// access key that opened them, whichever way it travelled, and fields that could
// pass for ours. It also derives the binding data that every kind of worker
// hands to functions. It knows no worker's wire format.
package view

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/worker"
)

// HeaderKey is the header field that access keys travel in.
const HeaderKey = "X-Functions-Key"

const keyParameter = "code"

// Credential is where the access key of a request travelled and what must not
// reach the function. The zero value takes out what can be seen to be a key.
type Credential struct {
	InHeader bool   // header x-functions-key was evaluated, the query was not
	inQuery  bool   // Query parameter code was evaluated
	value    string // the key as presented
}

// Find looks where the key of an invocation was: in the header
// whenever that is present, else in the query. With the key in the header, code
// is ordinary data (an OAuth answer, say) unless it repeats the key or is one.
func Find(r *http.Request, inv *worker.Invocation) Credential {
	field, given := r.Header[HeaderKey]
	if !inv.StripKey {
		return Credential{InHeader: given && slices.ContainsFunc(field, isKey)}
	}
	if given {
		return Credential{InHeader: true, value: first(field)}
	}
	for _, p := range ParseQuery(r.URL.RawQuery) {
		if strings.EqualFold(p.Name, keyParameter) {
			return Credential{inQuery: true, value: p.Value}
		}
	}
	return Credential{}
}

func first(v []string) string {
	if len(v) == 0 {
		return ""
	}
	return v[0]
}

// isKey reports whether a text is, or holds, an access key by its format. Nobody
// has asked what the key opens: it may be another than the one that was evaluated.
func isKey(text string) bool {
	_, ok := azfkey.Identify(strings.TrimSpace(text))
	return ok || len(azfkey.Find([]byte(text))) > 0
}

// Hides reports whether a query parameter must not reach the function.
func (c Credential) Hides(p Parameter) bool {
	if !strings.EqualFold(p.Name, keyParameter) {
		return false
	}
	return c.inQuery || c.is(p.Value) || isKey(p.Value)
}

// is reports whether a text is the key that was evaluated.
func (c Credential) is(text string) bool { return c.value != "" && text == c.value }

// Query gives rawQuery without the key, every other byte as it was.
func (c Credential) Query(rawQuery string) string {
	return dropParameters(rawQuery, c.Hides)
}

// Referer gives a Referer value without keys: a page that was opened with a key in
// its address sends that address along.
func (c Credential) Referer(value string) string {
	drop := func(p Parameter) bool {
		return c.is(p.Value) || strings.EqualFold(p.Name, keyParameter) && isKey(p.Value)
	}
	page, fragment, _ := strings.Cut(value, "#")
	base, query, _ := strings.Cut(page, "?")
	whole := base
	if left := dropParameters(query, drop); left != "" || query == "" && len(page) > len(base) {
		whole += "?" + left
	}
	if left := dropParameters(fragment, drop); left != "" || fragment == "" && len(value) > len(page) {
		whole += "#" + left
	}
	for _, text := range []string{maskKeys(whole), maskKeys(base)} {
		if !c.showsIn(text) {
			return text
		}
	}
	return ""
}

// maxEncodings is how many layers of encoding are looked through.
const maxEncodings = 5

// minNested is the length from which a key that has no known format is looked for
// within other texts; shorter ones would be found by chance. In bytes.
const minNested = 16

// showsIn reports whether a key is somewhere in an address, however often it is
// encoded there.
func (c Credential) showsIn(text string) bool {
	for range maxEncodings {
		if isKey(text) || len(c.value) >= minNested && strings.Contains(text, c.value) {
			return true
		}
		plain := decoded(text)
		if plain == text {
			return false
		}
		text = plain
	}
	return false
}

// decoded undoes one percent-encoding; what is no escape stays.
func decoded(text string) string {
	if strings.IndexByte(text, '%') < 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if c, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(c))
				i += 2
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// maskKeys puts a word in the place of keys. The word stands where a key may be
// part of a nested address, so it needs no escape.
func maskKeys(text string) string {
	var b strings.Builder
	done := int64(0)
	for _, m := range azfkey.Find([]byte(text)) {
		b.WriteString(text[done:m.Start])
		b.WriteString("hidden")
		done = m.End
	}
	return b.String() + text[done:]
}

// Parameter is one part of a query.
type Parameter struct{ raw, Name, Value string }

// ParseQuery splits a query. Unlike net/url it loses nothing: a part with a bad
// escape is kept as it is written, as the stock host does.
func ParseQuery(raw string) []Parameter {
	var found []Parameter
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		found = append(found, Parameter{raw: part, Name: unescape(name), Value: unescape(value)})
	}
	return found
}

func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// dropParameters gives a query without some parameters; without any to drop, as it
// is to the byte.
func dropParameters(raw string, drop func(Parameter) bool) string {
	all := ParseQuery(raw)
	if !slices.ContainsFunc(all, drop) {
		return raw
	}
	var kept []string
	for _, p := range all {
		if !drop(p) {
			kept = append(kept, p.raw)
		}
	}
	return strings.Join(kept, "&")
}

// Ours reports whether a client's header field must not reach the function
// because it could pass for one of ours. Servers behind a CGI-like interface
// cannot tell "_" from "-", hence the comparison.
func Ours(name string) bool {
	return len(name) > len(ownPrefix) && strings.EqualFold(dashed(name[:len(ownPrefix)]), ownPrefix)
}

const ownPrefix = "X-Latchkey-"

func dashed(s string) string {
	if strings.IndexByte(s, '_') < 0 {
		return s
	}
	return strings.ReplaceAll(s, "_", "-")
}
