package ingress

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// plain answers with a sentence. It never says what only an operator should know.
func plain(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n")
}

// unknown answers those who may not even know whether there is an app.
func unknown(w http.ResponseWriter) {
	plain(w, http.StatusNotFound, "404 This Container App is stopped or does not exist.")
}

func denied(w http.ResponseWriter, text string) { plain(w, http.StatusForbidden, text) }

// later answers with a time, in seconds, after which it is worth trying again.
func later(w http.ResponseWriter, seconds int, text string) {
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	plain(w, http.StatusServiceUnavailable, text)
}

// refuse answers a request that got no replica.
func refuse(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, errGone):
		unknown(w)
	case errors.Is(err, errNobody):
		later(w, 10, "No active revision of this app takes requests.")
	case errors.Is(err, errFailed):
		later(w, 30, "The revision of this app failed to start.")
	case errors.Is(err, errFull):
		later(w, 1, "Too many requests wait for this app to start.")
	default:
		later(w, 5, "This app did not become ready in time.")
	}
}

// affinityCookie names the cookie by which a client stays with a replica, as on the
// platform.
const affinityCookie = "acaAffinity"

// affinity gives the replica that a client was with, as a token; "" for none.
func affinity(r *http.Request) string {
	c, err := r.Cookie(affinityCookie)
	if err != nil {
		return ""
	}
	return strings.Trim(c.Value, `"`)
}

// stay makes the head of an answer keep the client with a replica.
func stay(h http.Header, token string, secure bool) {
	text := affinityCookie + `="` + token + `"; Path=/; HttpOnly`
	if secure {
		text += "; Secure; SameSite=None"
	}
	h.Add("Set-Cookie", text)
}
