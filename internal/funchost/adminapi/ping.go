package adminapi

import (
	"net/http"
	"strings"
)

// ping says that the host is there; to those who ask for its health, 429 while
// it has as much work as it takes (keys §4.2).
func (a *API) ping(w http.ResponseWriter, r *http.Request, _ []string) {
	w.Header().Set("Cache-Control", "no-store, no-cache")
	if !a.cfg.PlainPing && asksHealth(r) && a.cfg.Overloaded() {
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// asksHealth: the platform's scale controllers do unless they say otherwise,
// others if they say so.
func asksHealth(r *http.Request) bool {
	if v := r.URL.Query().Get("checkHealth"); v != "" {
		return v == "1"
	}
	agent := r.UserAgent()
	return hasPrefixFold(agent, "HttpScaleManager") || hasPrefixFold(agent, "ElasticScaleController")
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// outstandingFull reports whether the next request would be refused.
func (a *API) outstandingFull() bool {
	m := a.cfg.Instance.Model()
	return m != nil && m.App.Host.HTTP.MaxOutstandingRequests > 0 &&
		a.cfg.Instance.Outstanding() >= m.App.Host.HTTP.MaxOutstandingRequests
}
