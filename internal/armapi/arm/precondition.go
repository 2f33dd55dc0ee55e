package arm

import (
	"net/http"
	"strings"
)

// Precondition checks If-Match and If-None-Match against the resource as it is:
// its entity tag without quotes, and whether it exists. It fails with 412
// PreconditionFailed. If-None-Match counts for requests that change something.
func (c *Call) Precondition(etag string, exists bool) error {
	if want := c.HTTP.Header.Values("If-Match"); len(want) > 0 && !(exists && tagMatches(want, etag)) {
		return Faultf(http.StatusPreconditionFailed, "PreconditionFailed", "The resource is not in the state that If-Match asks for.")
	}
	reads := c.HTTP.Method == http.MethodGet || c.HTTP.Method == http.MethodHead
	if not := c.HTTP.Header.Values("If-None-Match"); !reads && exists && tagMatches(not, etag) {
		return Faultf(http.StatusPreconditionFailed, "PreconditionFailed", "The resource is in a state that If-None-Match rules out.")
	}
	return nil
}

// tagMatches reports whether one of the entity tags in header fields is etag or *.
func tagMatches(fields []string, etag string) bool {
	for _, tag := range strings.Split(strings.Join(fields, ","), ",") {
		tag = strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
		if tag == "*" || (tag != "" && tag == etag) {
			return true
		}
	}
	return false
}
