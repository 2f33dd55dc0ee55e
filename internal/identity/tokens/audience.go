package tokens

import (
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/problem"
)

// maxResource bounds the name of a resource, in bytes.
const maxResource = 1024

// Audience gives the aud claim for a resource as clients name it: an https:// or
// api:// URI, or an app id. A trailing "/.default" is cut off; trailing slashes
// stay, and so does the case of a URI. It returns problem.Invalid for anything
// else. Whether there is such a resource is not known here: a token is of use
// only where its audience is accepted.
func Audience(resource string) (string, error) {
	audience := strings.TrimSuffix(resource, "/.default")
	if id, err := uuid.Parse(audience); err == nil && len(audience) == 36 {
		return id.String(), nil
	}
	switch {
	case audience == "":
		return "", problem.New(problem.Invalid, "resource is missing")
	case len(audience) > maxResource:
		return "", problem.New(problem.Invalid, fmt.Sprintf("resource is longer than %d bytes", maxResource))
	case !isURI(audience):
		return "", problem.New(problem.Invalid, "resource is neither an https:// or api:// URI nor an app id").
			WithNext("name it as in https://vault.azure.net")
	}
	return audience, nil
}

func isURI(s string) bool {
	u, err := url.Parse(s)
	odd := strings.ContainsAny(s, "#?\\ ") || strings.ContainsFunc(s, func(r rune) bool {
		return r == unicode.ReplacementChar || !unicode.IsPrint(r)
	})
	return err == nil && !odd && u.Host != "" && u.User == nil && (u.Scheme == "https" || u.Scheme == "api")
}
