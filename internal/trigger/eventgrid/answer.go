package eventgrid

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

func text(w http.ResponseWriter, status int, s string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, s)
}

// later makes Event Grid try again.
func later(w http.ResponseWriter, s string) {
	w.Header().Set("Retry-After", "10")
	text(w, http.StatusServiceUnavailable, s)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	_ = json.NewEncoder(w).Encode(v) // the caller may have gone
}

// shown cuts a stranger's text to what fits in an answer or a line of the log.
func shown(s string) string {
	const most = 128
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}
