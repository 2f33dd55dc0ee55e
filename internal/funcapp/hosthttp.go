package funcapp

import (
	"math"
	"strings"
	"time"
)

func httpConfig(r reporter, n *node) HTTPConfig {
	c := defaultHost().HTTP
	if n == nil {
		return c
	}
	if p := n.get("routePrefix"); !p.absent() {
		c.RoutePrefix = strings.Trim(r.str(p, "extensions.http.routePrefix"), "/")
	}
	c.MaxOutstandingRequests = requestLimit(r, n, "maxOutstandingRequests")
	c.MaxConcurrentRequests = requestLimit(r, n, "maxConcurrentRequests")
	c.DynamicThrottles = r.boolean(n.get("dynamicThrottlesEnabled"), "extensions.http.dynamicThrottlesEnabled", false)
	c.CustomHeaders = customHeaders(r, r.section(n.get("customHeaders"), "extensions.http.customHeaders"))
	c.HSTS = hsts(r, r.section(n.get("hsts"), "extensions.http.hsts"))
	return c
}

func requestLimit(r reporter, n *node, name string) int {
	v := r.integer(n.get(name), "extensions.http."+name, -1, -1, math.MaxInt32)
	if v == 0 {
		r.at(n.get(name), "use -1 for no limit", "extensions.http.%s must not be 0: nothing would run", name)
		return -1
	}
	return v
}

func customHeaders(r reporter, n *node) map[string]string {
	if n == nil {
		return nil
	}
	m := make(map[string]string, len(n.members))
	for _, e := range n.members {
		value := r.str(e.value, "extensions.http.customHeaders."+printable(e.name))
		switch {
		case !isToken(e.name):
			r.at(e.value, "", "extensions.http.customHeaders: %s is not a header name", quote(e.name))
		case strings.ContainsFunc(value, forbiddenInHeader):
			r.at(e.value, "", "extensions.http.customHeaders: the value of %s holds a control character", quote(e.name))
		default:
			m[e.name] = strings.TrimSpace(value)
		}
	}
	return m
}

// isToken reports whether s may be a header name (RFC 9110 §5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			strings.ContainsRune("!#$%&'*+-.^_`|~", c))
	})
}

// forbiddenInHeader finds what a header value may not hold; line breaks above
// all, which would let a value start a header of its own.
func forbiddenInHeader(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// hsts reads extensions.http.hsts; nil unless isEnabled. Defaults are those of
// ASP.NET Core.
func hsts(r reporter, n *node) *HSTS {
	if n == nil || !r.boolean(n.get("isEnabled"), "extensions.http.hsts.isEnabled", false) {
		return nil
	}
	h := &HSTS{
		MaxAge:            r.span(n.get("maxAge"), "extensions.http.hsts.maxAge", 30*24*time.Hour),
		IncludeSubDomains: r.boolean(n.get("includeSubDomains"), "extensions.http.hsts.includeSubDomains", false),
		Preload:           r.boolean(n.get("preload"), "extensions.http.hsts.preload", false),
		ExcludedHosts:     []string{"localhost", "127.0.0.1", "[::1]"},
	}
	if x := n.get("excludedHosts"); !x.absent() {
		h.ExcludedHosts = r.strings(x, "extensions.http.hsts.excludedHosts")
	}
	if h.MaxAge < 0 {
		r.at(n.get("maxAge"), "", "extensions.http.hsts.maxAge must not be negative")
	}
	return h
}
