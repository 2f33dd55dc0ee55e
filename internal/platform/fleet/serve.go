package fleet

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/web"
)

// patience is how long a request waits for its app to be opened.
const patience = 60 * time.Second

// stoppedPage is what callers of a stopped app get for every path (arm §7).
const stoppedPage = `<!DOCTYPE html>
<html><head><title>Web App - Unavailable</title></head>
<body><h1 id="unavailable">Error 403 - This web app is stopped.</h1>
<p id="msg">The web app you have attempted to reach is currently stopped and does not accept any requests. Please try to reload the page or visit it again soon.</p>
<p id="toAdmin">If you are the web app administrator, start the app to serve requests again.</p>
</body></html>
`

// Serve serves a request to the app of a name. It reports false, having written
// nothing, if there is no such app.
func (f *Fleet) Serve(name string, w http.ResponseWriter, r *http.Request) bool {
	s := f.slot(name)
	if s == nil {
		return false
	}
	switch want := s.want.Load(); {
	case want.Stopped:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(stoppedPage))
	case want.Release == "":
		web.WriteText(w, http.StatusNotFound, "The app "+want.Name+" has nothing deployed yet.\n")
	default:
		s.serve(w, r)
	}
	return true
}

func (s *slot) serve(w http.ResponseWriter, r *http.Request) {
	c, err := s.acquire(r.Context(), patience)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			// Why is for the operator: the log and the app's status have it.
			web.WriteProblem(w, problem.New(problem.Unavailable, "Function host is not running."))
		}
		return
	}
	defer c.leave()
	c.app.ServeHTTP(w, r)
}
