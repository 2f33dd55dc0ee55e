package view

import (
	"net"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/hop"
)

// ProxyFields are the fields that a request carries when it is handed on as it is:
// its invocation and where it came from.
func ProxyFields(r *http.Request, inv *worker.Invocation) []hop.Field {
	forwardedFor, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		forwardedFor = r.RemoteAddr
	}
	if prior := strings.Join(r.Header["X-Forwarded-For"], ", "); prior != "" {
		forwardedFor = prior + ", " + forwardedFor
	}
	return []hop.Field{
		{Name: "X-Ms-Invocation-Id", Value: inv.ID},
		{Name: "X-Forwarded-For", Value: forwardedFor},
		{Name: "X-Forwarded-Host", Value: r.Host},
		{Name: "X-Forwarded-Proto", Value: Scheme(r)},
	}
}
