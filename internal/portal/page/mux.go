package page

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"runtime/debug"

	"github.com/latchkey/latchkey/internal/portal/ticket"
	"github.com/latchkey/latchkey/internal/problem"
)

// Cookie has the session's ticket. Its prefix makes browsers refuse it from other
// hosts and without TLS.
const Cookie = "__Host-latchkey"

// languageCookie has the language that was chosen.
const languageCookie = "__Host-latchkey-language"

// TokenField is the field of every form that has the proof that one of our pages
// made it.
const TokenField = "csrf"

// maxForm is the most bytes of a form.
const maxForm = 256 << 10

// Handler makes a page. Its error is shown as a page too.
type Handler func(v *Visit) error

// Mux serves pages. Patterns are those of http.ServeMux without a method.
type Mux struct {
	site *Site
	mux  *http.ServeMux
}

// NewMux makes a mux without pages.
func NewMux(s *Site) *Mux { return &Mux{s, http.NewServeMux()} }

// Page adds a page for those who are signed in.
func (m *Mux) Page(pattern string, h Handler) {
	m.mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) { m.site.serve(w, r, m.site.signedIn(h)) })
}

// Action adds what a form of ours does for those who are signed in.
func (m *Mux) Action(pattern string, h Handler) {
	m.mux.HandleFunc("POST "+pattern, func(w http.ResponseWriter, r *http.Request) {
		m.site.serve(w, r, m.site.signedIn(m.site.proven(h)))
	})
}

// Open adds a page for anybody, with an action for the same path; either may be
// nil. Forms of other sites are refused for these too.
func (m *Mux) Open(pattern string, get, post Handler) {
	for method, h := range map[string]Handler{"GET ": get, "POST ": post} {
		if h != nil {
			m.mux.HandleFunc(method+pattern, func(w http.ResponseWriter, r *http.Request) { m.site.serve(w, r, h) })
		}
	}
}

// Files adds what is the same for everybody.
func (m *Mux) Files(pattern string, h http.Handler) { m.mux.Handle("GET "+pattern, h) }

// policy lets pages have what this server gives them as files, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

var headers = map[string]string{
	"Content-Security-Policy":      policy,
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Embedder-Policy": "require-corp",
	"Cross-Origin-Resource-Policy": "same-origin",
	"X-Frame-Options":              "DENY",
	"X-Content-Type-Options":       "nosniff",
	"Referrer-Policy":              "same-origin",
	"Permissions-Policy":           "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
	"Cache-Control":                "no-store",
}

// ServeHTTP serves a browser.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	if _, pattern := m.mux.Handler(r); pattern == "" {
		m.site.serve(w, r, func(*Visit) error { return errNoPage })
		return
	}
	m.mux.ServeHTTP(w, r)
}

var errNoPage = problem.New(problem.NotFound, "there is no such page")

// errForeign is the answer for forms that none of our pages made.
var errForeign = &Plain{Status: http.StatusForbidden, Title: "error.foreign.title", Body: "error.foreign.body"}

// serve makes a visit of a request and shows what goes wrong.
func (s *Site) serve(w http.ResponseWriter, r *http.Request, h Handler) {
	v := &Visit{W: w, R: r, site: s, Text: s.Text.Pick(cookieValue(r, languageCookie), r.Header.Get("Accept-Language"))}
	if fetched(r) || s.guard.Check(r) != nil {
		v.fail(errForeign)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := v.guarded(h); err != nil {
		v.fail(err)
	}
}

// fetched reports whether a page of another origin reads this one from within, which
// none of ours does. Apps can be at the same site, and browsers send them our cookies:
// without this their pages could keep sessions in use, and count what is answered.
// Links from elsewhere are followed.
func fetched(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "cross-site", "same-site":
		mode := r.Header.Get("Sec-Fetch-Mode")
		return mode != "" && mode != "navigate"
	}
	return false
}

// guarded runs a handler. A panic is a failure like any other.
func (v *Visit) guarded(h Handler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			v.site.Log.ErrorContext(v.Context(), "portal: a page panicked", "path", v.R.URL.Path, "panic", p, "stack", string(debug.Stack()))
			err = problem.New(problem.Internal, "the page could not be made")
		}
	}()
	return h(v)
}

func cookieValue(r *http.Request, name string) string {
	if c, err := r.Cookie(name); err == nil {
		return c.Value
	}
	return ""
}

// signedIn finds out who asks.
func (s *Site) signedIn(h Handler) Handler {
	return func(v *Visit) error {
		if err := v.find(); err != nil {
			return err
		}
		err := h(v)
		if errors.Is(err, problem.Unauthenticated) { // the principal is no longer welcome
			_ = s.Sessions.End(v.Context(), v.key)
		}
		return err
	}
}

// find reads the session of the browser, if it has one that counts.
func (v *Visit) find() (err error) {
	if v.key, err = ticket.Parse(cookieValue(v.R, Cookie)); err != nil {
		return problem.Wrap(problem.Unauthenticated, "nobody is signed in", err)
	}
	if v.byItself() {
		v.Session, err = v.site.Sessions.Look(v.Context(), v.key)
	} else {
		v.Session, err = v.site.Sessions.Use(v.Context(), v.key)
	}
	return err
}

// byItself reports whether nobody did anything: a page that lies open reads parts of
// itself again or listens, which must not keep a session from ending.
func (v *Visit) byItself() bool {
	return v.R.Method == http.MethodGet && (v.Partial() || v.R.Header.Get("Accept") == "text/event-stream")
}

// Counts reports whether the session still counts, for answers that last.
func (v *Visit) Counts() bool {
	_, err := v.site.Sessions.Look(v.Context(), v.key)
	if err == nil {
		_, err = v.site.Token(v.Context(), v.Session.Principal)
	}
	return err == nil
}

// Known reports whether somebody is signed in, on pages for anybody.
func (v *Visit) Known() bool { return v.find() == nil }

// proof is what forms of a session carry.
func (v *Visit) proof() string {
	if v.Session.ObjectID == "" {
		return ""
	}
	return v.key.Derive("form")
}

// proven takes only forms that were made for the session.
func (s *Site) proven(h Handler) Handler {
	return func(v *Visit) error {
		if err := v.R.ParseForm(); err != nil {
			return &Plain{Status: http.StatusBadRequest, Title: "error.form.title", Body: "error.form.body"}
		}
		if subtle.ConstantTimeCompare([]byte(v.R.PostForm.Get(TokenField)), []byte(v.proof())) != 1 {
			return &Plain{Status: http.StatusForbidden, Title: "error.stale.title", Body: "error.stale.body"}
		}
		return h(v)
	}
}

// Enter gives the browser a session.
func (v *Visit) Enter(t ticket.Ticket) {
	http.SetCookie(v.W, &http.Cookie{Name: Cookie, Value: t.Text(), Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
}

// Leave ends the session of the browser, or with everywhere all of its principal.
func (v *Visit) Leave(everywhere bool) error {
	http.SetCookie(v.W, &http.Cookie{Name: Cookie, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: -1})
	v.W.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	if everywhere {
		return v.site.Sessions.EndAll(v.Context(), v.key.Owner())
	}
	return v.site.Sessions.End(v.Context(), v.key)
}

// Speak remembers a language.
func (v *Visit) Speak(tag string) {
	http.SetCookie(v.W, &http.Cookie{
		Name: languageCookie, Value: v.site.Text.Pick(tag, "").Tag, Path: "/", Secure: true, HttpOnly: true,
		SameSite: http.SameSiteStrictMode, MaxAge: 365 * 24 * 3600,
	})
}

// signInURL gives where a browser signs in that is then to see the page that it
// shows. Who was signed in is told that the session is over, and what became of the
// form that was sent.
func (v *Visit) signInURL() string {
	q := url.Values{}
	if at := v.shown(); at != Home {
		q.Set("next", at)
	}
	switch {
	case v.R.Method != http.MethodGet:
		q.Set("ended", "sent")
	case v.Partial() || cookieValue(v.R, Cookie) != "": // signing out elsewhere takes the cookie away
		q.Set("ended", "")
	}
	if len(q) == 0 {
		return SignIn
	}
	return SignIn + "?" + q.Encode()
}

// shown gives the page that the browser shows: the one that is asked for, or the one
// from which a part of it is asked for or a form is sent.
func (v *Visit) shown() string {
	from := ""
	switch {
	case v.Partial():
		from = v.R.Header.Get("HX-Current-URL")
	case v.R.Method == http.MethodGet:
		return Local(v.R.URL.RequestURI())
	default:
		from = v.R.Referer()
	}
	u, err := url.Parse(from)
	if err != nil || u.Host != v.R.Host {
		return Home
	}
	return Local(u.RequestURI())
}
