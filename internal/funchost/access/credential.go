// Package access owns the question who a request comes from: it finds the key a
// request presents, asks the keyring what that opens, reads the identity an
// authentication proxy vouches for, and says which policies are met. It answers
// nothing itself and does not know routes.
package access

import (
	"net/http"
	"net/url"
	"strings"
)

// keyHeader is the header that carries a key, in canonical form.
const keyHeader = "X-Functions-Key"

// Presented gives the key a request presents: the first value of header
// x-functions-key when the header is there, even empty, else the first query
// parameter called code, ignoring case. "" stands for none (keys §1.2).
func Presented(r *http.Request) string {
	if values, ok := r.Header[keyHeader]; ok {
		if len(values) == 0 {
			return ""
		}
		return values[0]
	}
	return codeParameter(r.URL.RawQuery)
}

// InHeader reports whether the key header is there, with whatever in it.
func InHeader(r *http.Request) bool {
	_, ok := r.Header[keyHeader]
	return ok
}

// codeParameter finds code in a raw query without allocating in the usual case.
func codeParameter(query string) string {
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, value, _ := strings.Cut(pair, "=")
		if !isCode(name) {
			continue
		}
		if plain, err := url.QueryUnescape(value); err == nil {
			return plain
		}
		return value
	}
	return ""
}

func isCode(name string) bool {
	if len(name) == 4 {
		return strings.EqualFold(name, "code")
	}
	if !strings.Contains(name, "%") || len(name) > 12 {
		return false
	}
	plain, err := url.QueryUnescape(name)
	return err == nil && strings.EqualFold(plain, "code")
}
