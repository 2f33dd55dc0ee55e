package durable

import (
	"net/http"
	"net/url"
	"strings"
)

// ServeHTTP answers a call of the webhook. Whoever calls has been let in already.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts, ok := segments(r.URL)
	if !ok || len(parts) == 0 {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	c := &call{Hub: h, w: w, r: r, query: r.URL.Query()}
	switch strings.ToLower(parts[0]) {
	case "orchestrators":
		c.orchestrators(parts[1:])
	case "instances":
		c.instances(parts[1:])
	case "entities":
		c.entities(parts[1:])
	case "makeprimary":
		w.WriteHeader(http.StatusOK) // each app has its hub for itself
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// segments gives the parts of the path below the webhook, decoded.
func segments(u *url.URL) ([]string, bool) {
	path := u.EscapedPath()
	if len(path) < len(Base) || !strings.EqualFold(path[:len(Base)], Base) {
		return nil, false
	}
	path = strings.Trim(path[len(Base):], "/")
	if path == "" {
		return nil, true
	}
	parts := strings.Split(path, "/")
	for n, p := range parts {
		text, err := url.PathUnescape(p)
		if err != nil || text == "" {
			return nil, false
		}
		parts[n] = text
	}
	return parts, true
}

// call is one request.
type call struct {
	*Hub
	w     http.ResponseWriter
	r     *http.Request
	query url.Values
}

func (c *call) orchestrators(parts []string) {
	if c.r.Method != http.MethodPost || len(parts) < 1 || len(parts) > 2 {
		c.w.WriteHeader(http.StatusNotFound)
		return
	}
	id := ""
	if len(parts) == 2 {
		id = parts[1]
	}
	c.start(parts[0], id)
}

func (c *call) instances(parts []string) {
	method := c.r.Method
	switch {
	case len(parts) == 0 && method == http.MethodGet:
		c.list()
	case len(parts) == 0 && method == http.MethodDelete:
		c.purgeAll()
	case len(parts) == 1 && method == http.MethodGet:
		c.status(parts[0])
	case len(parts) == 1 && method == http.MethodDelete:
		c.purge(parts[0])
	case len(parts) == 2 && method == http.MethodPost:
		c.operate(parts[0], parts[1])
	case len(parts) == 3 && method == http.MethodPost && strings.EqualFold(parts[1], "raiseEvent"):
		c.raise(parts[0], parts[2])
	default:
		c.w.WriteHeader(http.StatusNotFound)
	}
}

func (c *call) operate(id, operation string) {
	reason := c.query.Get("reason")
	ctx := c.r.Context()
	switch strings.ToLower(operation) {
	case "terminate":
		c.accepted(c.cfg.Engine.Terminate(ctx, id, reason))
	case "suspend":
		c.accepted(c.cfg.Engine.Suspend(ctx, id, reason))
	case "resume":
		c.accepted(c.cfg.Engine.Resume(ctx, id, reason))
	case "rewind":
		c.rewind(id, reason)
	case "restart":
		c.restart(id)
	default:
		c.w.WriteHeader(http.StatusNotFound)
	}
}

// entities answers as a hub without entities does: apps whose functions are
// entities do not run here.
func (c *call) entities(parts []string) {
	switch {
	case c.r.Method == http.MethodGet && len(parts) == 2:
		c.w.WriteHeader(http.StatusNotFound)
	case c.r.Method == http.MethodGet && len(parts) < 2:
		c.json(http.StatusOK, []any{})
	case len(parts) == 2 && (c.r.Method == http.MethodPost || c.r.Method == http.MethodDelete):
		c.message(http.StatusNotImplemented, "this host has no entities")
	default:
		c.w.WriteHeader(http.StatusNotFound)
	}
}
