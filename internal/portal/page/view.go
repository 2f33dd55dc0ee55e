package page

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/text"
	"github.com/latchkey/latchkey/internal/problem"
)

//go:embed templates
var ownTemplates embed.FS

// Crumb is a step from the first page to the one that is shown.
type Crumb struct{ Name, URL string } // a name, not a text

// Tab is one of the pages about a thing.
type Tab struct {
	Text    string // key of a text
	URL     string
	Current bool
}

// Notice tells what was done.
type Notice struct {
	Kind string // "good", "warn", "bad" or ""
	Text template.HTML
}

// Content is what a page shows within the frame.
type Content struct {
	Title  string // plain, for the window and the heading
	Crumbs []Crumb
	Tabs   []Tab
	Notice *Notice
	Data   any
	Live   bool   // parts of it are to be read again when something changes
	Bare   bool   // without navigation
	Script string // name of a file that the page needs besides those of all pages; "" for most
	Next   string
	// Scope is the path of what the page is about in the management API, where it is
	// asked what whoever is signed in may do; "" asks nothing, and all is shown.
	Scope string
}

// View is what templates see.
type View struct {
	Content
	Lang      text.Language
	Languages []text.Language
	Who       string
	CSRF      string
	Self      string // path of the page, as addresses have it
	Version   string
	visit     *Visit
}

// T gives a text for the body of the page; values come in pairs of name and value.
func (v *View) T(key string, pairs ...any) template.HTML { return v.Lang.HTML(key, pairs...) }

// A gives a text for an attribute.
func (v *View) A(key string, pairs ...any) string { return v.Lang.Plain(key, pairs...) }

// May reports whether whoever is signed in may do something, by the name of the action,
// with what the page is about. What is not allowed is noted for [View.Missing].
func (v *View) May(action string) bool { return v.MayAt(v.Scope, action) }

// MayAt is May for something else than what the page is about.
func (v *View) MayAt(scope, action string) bool {
	return v.allowed(action, v.visit.May(scope).Do(action))
}

// MayData is May for an action on data.
func (v *View) MayData(action string) bool {
	return v.allowed(action, v.visit.May(v.Scope).Data(action))
}

// Offers is MayAt for the way to something that is elsewhere: that it is left out needs
// no word.
func (v *View) Offers(scope, action string) bool { return v.visit.May(scope).Do(action) }

func (v *View) allowed(action string, is bool) bool {
	if !is {
		v.visit.Lacks(action)
	}
	return is
}

// Missing gives the actions that would have shown more of the page than there is.
// They are known after the content is made.
func (v *View) Missing() []string { return v.visit.missing }

// In reports whether the page is one of those at a path or below it.
func (v *View) In(paths ...string) bool {
	return slices.ContainsFunc(paths, func(p string) bool {
		return v.Self == p || !strings.HasSuffix(p, "/") && strings.HasPrefix(v.Self, p+"/")
	})
}

// Asset gives the address of a file.
func (v *View) Asset(name string) string { return v.visit.site.Assets.URL(name) }

// When shows a time, which the script shows in the viewer's zone.
func (v *View) When(at any) template.HTML {
	var t time.Time
	switch at := at.(type) {
	case time.Time:
		t = at
	case *time.Time:
		if at != nil {
			t = *at
		}
	}
	if t.IsZero() {
		return v.T("time.never")
	}
	t = t.UTC()
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339) + `">` + t.Format("2006-01-02 15:04") + " UTC</time>") //nolint:gosec // digits
}

// Token is the hidden field of every form.
func (v *View) Token() template.HTML {
	return template.HTML(`<input type="hidden" name="` + TokenField + `" value="` + v.CSRF + `">`) //nolint:gosec // hex digits
}

// With gives a part of a page its own value beside all that pages have.
func (v *View) With(data any) *Part { return &Part{v, data} }

// Part is what a part of a page sees.
type Part struct {
	*View
	It any
}

func (v *Visit) view(c Content) *View {
	return &View{
		Content: c, Lang: v.Text, Languages: v.site.Text.Languages(), Who: v.Session.Name, CSRF: v.proof(),
		Self: v.self(), Version: v.site.Version, visit: v,
	}
}

// self gives the path of the page that is shown: when a form was sent, that of the page
// which it was on.
func (v *Visit) self() string {
	if v.R.Method == http.MethodGet {
		return v.R.URL.EscapedPath()
	}
	if u, err := url.Parse(v.shown()); err == nil && u.Path != Home {
		return u.EscapedPath()
	}
	return v.R.URL.EscapedPath()
}

// Show answers with a page.
func (v *Visit) Show(t *Template, c Content) error {
	return v.show(http.StatusOK, t, "layout.html", v.view(c))
}

// ShowAs is Show with a status.
func (v *Visit) ShowAs(status int, t *Template, c Content) error {
	return v.show(status, t, "layout.html", v.view(c))
}

// ShowPart answers with a template of a page by its name, for a page that has it.
func (v *Visit) ShowPart(t *Template, name string, c Content, it any) error {
	view := v.view(c)
	if it != nil {
		return v.show(http.StatusOK, t, name, view.With(it))
	}
	return v.show(http.StatusOK, t, name, view)
}

// show makes the whole answer before any of it is sent, so that there are no half
// pages.
func (v *Visit) show(status int, t *Template, name string, data any) error {
	var b bytes.Buffer
	if err := t.set.ExecuteTemplate(&b, name, data); err != nil {
		return problem.Wrap(problem.Internal, "the page could not be made", err)
	}
	h := v.W.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.Text.Tag)
	h.Set("Vary", "HX-Request")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	v.W.WriteHeader(status)
	_, _ = v.W.Write(b.Bytes()) // a browser that went away
	return nil
}

// Plain is an error in words of our own.
type Plain struct {
	Status      int
	Title, Body string // keys of texts
}

// Error names the text.
func (p *Plain) Error() string { return p.Title }

// fault is what the page about an error shows.
type fault struct {
	Body   string // key of a text
	Detail string // what the API says, in its own language
	Again  string // address of the page to try again from; "" where that does not help
	Back   string // address of the page with the form that was refused; "" for none
}

// words are the texts for kinds of problems.
var words = map[problem.Kind]struct {
	status      int
	title, body string
	again       bool
}{
	problem.NotFound:    {http.StatusNotFound, "error.missing.title", "error.missing.body", false},
	problem.Denied:      {http.StatusForbidden, "error.denied.title", "error.denied.body", false},
	problem.Conflict:    {http.StatusConflict, "error.conflict.title", "error.conflict.body", true},
	problem.ReadOnly:    {http.StatusConflict, "error.conflict.title", "error.conflict.body", false},
	problem.Invalid:     {http.StatusBadRequest, "error.invalid.title", "error.invalid.body", false},
	problem.Unavailable: {http.StatusServiceUnavailable, "error.away.title", "error.away.body", true},
	problem.Timeout:     {http.StatusGatewayTimeout, "error.away.title", "error.away.body", true},
}

// fail shows an error as a page, or sends a browser to sign in.
func (v *Visit) fail(err error) {
	if errors.Is(err, problem.Unauthenticated) {
		v.ask()
		return
	}
	status, title, f, again := v.explain(err)
	if status >= http.StatusInternalServerError && v.Context().Err() == nil { // the browser waits for it
		v.site.Log.ErrorContext(v.Context(), "portal: a page failed", "path", v.R.URL.Path, "reason", err)
	}
	if v.Partial() { // the page that is shown says it
		v.W.Header().Set("Content-Type", "text/plain; charset=utf-8")
		v.W.WriteHeader(status)
		_, _ = v.W.Write([]byte(v.Text.Plain(title) + ". " + v.Text.Plain(f.Body)))
		return
	}
	f.from(v, again)
	c := Content{Title: v.Text.Plain(title), Data: f, Bare: v.Session.ObjectID == ""}
	if err := v.show(status, v.site.errors, "layout.html", v.view(c)); err != nil {
		v.site.Log.ErrorContext(v.Context(), "portal: the page about an error cannot be made", "reason", err)
		http.Error(v.W, v.Text.Plain(title), status)
	}
}

func (v *Visit) explain(err error) (status int, title string, f fault, again bool) {
	var own *Plain
	if errors.As(err, &own) {
		return own.Status, own.Title, fault{Body: own.Body}, false
	}
	w, known := words[problem.KindOf(err)]
	if !known {
		w.status, w.title, w.body, w.again = http.StatusInternalServerError, "error.internal.title", "error.internal.body", true
	}
	return w.status, w.title, fault{Body: w.body, Detail: Detail(err)}, w.again
}

// from says where to go on from an error: to the page that was asked for, or to the one
// with the form that was sent, never to the address that took it.
func (f *fault) from(v *Visit, again bool) {
	at := v.shown()
	switch {
	case again:
		f.Again = at
	case v.R.Method != http.MethodGet && at != Home:
		f.Back = at
	}
}

// Detail gives what an error of the API says to people; "" for errors that are not
// for them.
func Detail(err error) string {
	var refused *client.Error
	if errors.As(err, &refused) {
		return refused.Message
	}
	return ""
}

// ask sends a browser to sign in.
func (v *Visit) ask() {
	to := v.signInURL()
	if v.Partial() {
		v.W.Header().Set("HX-Redirect", to)
		v.W.WriteHeader(http.StatusUnauthorized)
		return
	}
	if strings.Contains(v.R.Header.Get("Accept"), "text/event-stream") { // nobody reads a page there
		v.W.WriteHeader(http.StatusUnauthorized)
		return
	}
	http.Redirect(v.W, v.R, to, http.StatusSeeOther)
}
