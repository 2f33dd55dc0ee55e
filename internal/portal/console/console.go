// Package console owns the pages by which a function is called: its address, with a key
// for those who may read one, and the console on which it is run. There, what is filled in becomes
// a request to the app's own address, as a stranger's from where the browser is, with
// a key that is picked by name or typed, and the answer is shown as text. It does not
// know how requests are let in, and decides nothing about keys: what whoever is signed
// in may not read is not used.
package console

import (
	"context"
	"embed"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/places"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/portal/session"
	"github.com/latchkey/latchkey/internal/problem"
)

//go:embed templates
var templates embed.FS

// Config is what the page works with.
type Config struct {
	Dial Dial // to the apps; nil reaches none
	// Ran records a run in the audit record; nil records nothing.
	Ran      func(ctx context.Context, r Run) error
	Patience time.Duration // for an answer; 0 is [Patience]
}

// Run is one that was made. It has no value of a key.
type Run struct {
	Who      session.Principal
	Remote   string // address of the browser
	Function string // its path in the management API
	Method   string
	Path     string // without the query
	Key      string // "none", "typed", or kind and name: "host/default"
	Status   int    // 0: no answer came
	Request  string // what the answer to a refused caller can be asked with
}

// Console makes the page. It is safe for concurrent use.
type Console struct {
	cfg    Config
	test   *page.Template
	where  *page.Template
	places places.Places // of runs: slow functions keep no more of the node than they may
}

// New makes a console.
func New(cfg Config) *Console {
	if cfg.Patience <= 0 {
		cfg.Patience = Patience
	}
	if cfg.Ran == nil {
		cfg.Ran = func(context.Context, Run) error { return nil }
	}
	if cfg.Dial == nil {
		cfg.Dial = func(context.Context, string) (net.Conn, error) {
			return nil, problem.New(problem.Unavailable, "apps cannot be reached from here")
		}
	}
	return &Console{cfg: cfg, places: places.Places{All: maxAll, Each: maxOf}}
}

// Mount adds the page to a mux.
func (c *Console) Mount(m *page.Mux) (err error) {
	if c.test, err = page.Parse(templates, "templates/test.html"); err != nil {
		return err
	}
	c.where, err = page.Parse(templates, "templates/address.html")
	m.Page(place.FunctionPattern+"/test", c.show)
	m.Action(place.FunctionPattern+"/test", c.run)
	m.Page(place.FunctionPattern+"/address", c.showAddress)
	m.Action(place.FunctionPattern+"/address", c.revealAddress)
	return err
}

// function is what is run.
type function struct {
	Name    string
	Host    string // of the app's address, with its port
	Route   route
	Shown   string // the route as it is written
	Address string // the whole of it
	Level   string // in lower case; "" outside of HTTP
	Methods []string
	Admin   bool // no request starts it: the runtime API does
	Off     bool
	Trigger string
}

// read asks the management API for the function that a page is about.
func read(v *page.Visit, a place.App) (function, error) {
	var got struct {
		Properties struct {
			Name   string
			Href   string
			URL    *string `json:"invoke_url_template"`
			Off    bool    `json:"isDisabled"`
			Config struct {
				Bindings []struct {
					Type, AuthLevel string
					Methods         []string
				}
			}
		}
	}
	if err := v.API().Get(v.Context(), a.Path("functions", v.R.PathValue("function")), &got); err != nil {
		return function{}, err
	}
	p := got.Properties
	f := function{Name: p.Name, Off: p.Off, Admin: p.URL == nil}
	for _, b := range p.Config.Bindings {
		if strings.HasSuffix(strings.ToLower(b.Type), "trigger") {
			f.Trigger, f.Level = b.Type, strings.ToLower(b.AuthLevel)
			for _, m := range b.Methods {
				f.Methods = append(f.Methods, strings.ToUpper(m))
			}
			break
		}
	}
	at, err := url.Parse(p.Href)
	if err != nil || at.Host == "" {
		return f, problem.New(problem.Internal, "the address of the app cannot be read")
	}
	f.Host = at.Host
	if p.URL != nil {
		f.Address = *p.URL
		_, rest, _ := strings.Cut(f.Address, "://")
		_, f.Shown, _ = strings.Cut(rest, "/")
		f.Route = parseRoute(f.Shown)
	}
	return f, nil
}

// Choices are the methods in the order in which they are offered: those that the
// function takes first.
func (f function) Choices() []string {
	var list []string
	for _, m := range append(append([]string{}, f.Methods...), methods...) {
		known, listed := false, false
		for _, have := range methods {
			known = known || have == m
		}
		for _, have := range list {
			listed = listed || have == m
		}
		if known && !listed {
			list = append(list, m)
		}
	}
	return list
}

// shownTest is what the page shows.
type shownTest struct {
	App      place.App
	Function function
	Form     form
	Keys     choices
	Patience int // seconds
	MostKiB  int // of a body that is shown
	Outcome  *outcome
}

// outcome is what came of a run: that it was not made, or the answer.
type outcome struct {
	Bad    *fault
	Answer answer
	Asked  string // method and address, without query
	Key    string // "none", "typed", or kind and name of the key
	Admin  bool

	Unrecorded bool // that it was run is not in the audit record
}

// Status gives the status in the words of HTTP.
func (o outcome) Status() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", o.Answer.Status, http.StatusText(o.Answer.Status)))
}

// Took gives the duration for people.
func (o outcome) Took() string {
	switch t := o.Answer.Took; {
	case t >= 10*time.Second:
		return fmt.Sprintf("%.1f s", t.Seconds())
	case t < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(t.Microseconds())/1000)
	default:
		return fmt.Sprintf("%d ms", t.Milliseconds())
	}
}

// Good reports whether the answer says that all went well.
func (o outcome) Good() bool { return o.Answer.Status > 0 && o.Answer.Status < 400 }

// Why gives the page that explains a refusal; "" where there is none.
func (o outcome) Why() string {
	if o.Answer.Request == "" {
		return ""
	}
	return page.Base + "why?id=" + url.QueryEscape(o.Answer.Request)
}

// Hint gives the text of what an answer may mean; "" for most.
func (o outcome) Hint() string {
	switch a := o.Answer; {
	case a.Request != "":
		return "console.hint.refused"
	case a.To != "":
		return "console.hint.redirect"
	case o.Admin && a.Status == http.StatusAccepted:
		return "console.hint.started"
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden, a.Status == http.StatusTooManyRequests:
		return "console.hint.own"
	case a.Status == http.StatusNotFound:
		return "console.hint.missing"
	case a.Status == http.StatusServiceUnavailable:
		return "console.hint.away"
	}
	return ""
}

func (c *Console) show(v *page.Visit) error {
	a := place.Of(v)
	f, err := read(v, a)
	if err != nil {
		return err
	}
	keys, err := offer(v, a, f)
	if err != nil {
		return err
	}
	first := form{Method: f.Choices()[0], Key: keys.usual(f)}
	for _, p := range f.Route.Params {
		first.Values = append(first.Values, p.Default)
	}
	return c.showWith(v, http.StatusOK, shownTest{App: a, Function: f, Form: first, Keys: keys})
}

func (c *Console) showWith(v *page.Visit, status int, s shownTest) error {
	s.Patience, s.MostKiB = int(c.cfg.Patience.Seconds()), maxShown>>10
	a, name := s.App, s.Function.Name
	content := page.Content{
		Title: v.Text.Plain("console.title", "function", name), Tabs: a.FunctionTabs(name, "tab.test"), Data: s,
		Crumbs: a.Crumbs(page.Crumb{Name: v.Text.Plain("tab.functions"), URL: a.URL("functions")},
			page.Crumb{Name: name, URL: a.URL("functions", name)}, page.Crumb{Name: v.Text.Plain("tab.test")}),
	}
	if v.Partial() {
		return v.ShowPart(c.test, "part", content, nil)
	}
	return v.ShowAs(status, c.test, content)
}

func (c *Console) run(v *page.Visit) error {
	a := place.Of(v)
	f, err := read(v, a)
	if err != nil {
		return err
	}
	in := readForm(v.R, f)
	out, err := c.outcome(v, a, f, in)
	if err != nil {
		return err
	}
	s := shownTest{App: a, Function: f, Form: in.Shown(), Outcome: &out}
	if !v.Partial() {
		if s.Keys, err = offer(v, a, f); err != nil {
			return err
		}
	}
	status := http.StatusOK
	if out.Bad != nil {
		status = http.StatusBadRequest
	}
	return c.showWith(v, status, s)
}

// outcome makes a run. What is wrong with what was filled in is found before the key is
// read.
func (c *Console) outcome(v *page.Visit, a place.App, f function, in form) (out outcome, err error) {
	ctx, cancel := context.WithTimeout(v.Context(), c.cfg.Patience)
	defer cancel()
	if _, bad := in.request(ctx, f, ""); bad != nil {
		return outcome{Bad: bad}, nil
	}
	who := v.Session.ObjectID
	leave, ok := c.places.Take(who)
	if !ok {
		return outcome{Bad: &fault{Text: "console.busy"}}, nil
	}
	defer leave()
	key, bad, err := in.value(v, a, f.Name)
	if bad != nil || err != nil {
		return outcome{Bad: bad}, err
	}
	r, bad := in.request(ctx, f, key)
	if bad != nil {
		return outcome{Bad: bad}, nil
	}
	out = outcome{Asked: r.Method + " " + r.URL.Scheme + "://" + r.URL.Host + r.URL.EscapedPath(), Admin: f.Admin, Key: in.Key}
	run := Run{
		Who: v.Session.Principal, Remote: v.R.RemoteAddr, Function: a.Path("functions", f.Name),
		Method: r.Method, Path: r.URL.Path, Key: in.Key,
	}
	defer func() { // whatever happens, it was asked
		run.Status, run.Request = out.Answer.Status, out.Answer.Request
		out.Unrecorded = c.record(v, run) != nil
	}()
	out.Answer = call(r, c.cfg.Dial, v.R.RemoteAddr, key)
	return out, nil
}

// recordWithin bounds how long a run is waited for to be in the audit record, also when
// the browser is gone.
const recordWithin = 10 * time.Second

func (c *Console) record(v *page.Visit, run Run) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.Context()), recordWithin)
	defer cancel()
	err := c.cfg.Ran(ctx, run)
	if err != nil {
		v.Site().Log.ErrorContext(ctx, "portal: a run of a function is not in the audit record", "function", run.Function, "principal", run.Who.ObjectID, "reason", err)
	}
	return err
}
