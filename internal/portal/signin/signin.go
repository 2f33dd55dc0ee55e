// Package signin owns how people come into the portal and leave it: by a one-time
// link, which is looked at by opening it and used up by pressing a button, or by an
// OpenID Connect provider. It does
// not know what sessions are kept in or what pages show.
package signin

import (
	"context"
	"embed"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/portal/link"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/session"
	"github.com/latchkey/latchkey/internal/portal/ticket"
	"github.com/latchkey/latchkey/internal/problem"
)

//go:embed templates
var templates embed.FS

// Pages are the pages to sign in and out.
type Pages struct {
	links    *link.Links
	sessions *session.Sessions
	attempts *attempts
	form     *page.Template
	moving   *page.Template
	refused  *page.Template
	provider *Provider // nil: there is none
	entered  func(who session.Principal, remote string)
}

// Tell has f told of everybody who comes in by a link, and from where; a provider's
// people are known to its Find. Call it before Mount.
func (p *Pages) Tell(f func(who session.Principal, remote string)) { p.entered = f }

// New makes the pages.
func New(links *link.Links, sessions *session.Sessions, c clock.Clock) (*Pages, error) {
	p := &Pages{links: links, sessions: sessions}
	var err, err2, err3, err4 error
	p.attempts, err = newAttempts(c)
	p.form, err2 = page.Parse(templates, "templates/signin.html")
	p.moving, err3 = page.Parse(templates, "templates/moving.html")
	p.refused, err4 = page.Parse(templates, "templates/refused.html")
	return p, errors.Join(err, err2, err3, err4)
}

// Mount adds the pages to a mux.
func (p *Pages) Mount(m *page.Mux) {
	m.Open(page.SignIn, p.show, p.redeem)
	p.mountProvider(m)
	m.Action(page.SignOut, p.leave(false))
	m.Action(page.SignOutAll, p.leave(true))
	m.Open(page.Base+"language", nil, func(v *page.Visit) error {
		v.Speak(v.R.PostFormValue("language"))
		return v.Redirect(v.R.PostFormValue("next"))
	})
}

// form is what the page shows.
type form struct {
	Link string // the ticket in the link, "" without one
	Name string // whom it signs in
	Next string
	Bad  bool // the link is not good
	Left bool // somebody has just left
	Over bool // the session of the browser is over
	Sent bool // a form was sent after that

	Provider    string // its name, "" without one
	ProviderURL string
}

func (p *Pages) show(v *page.Visit) error {
	q := v.R.URL.Query()
	f := form{Next: page.Local(q.Get("next")), Left: q.Has("left"), Over: q.Has("ended"), Sent: q.Get("ended") == "sent"}
	if text := q.Get("link"); text != "" {
		t, who, err := p.look(v, text, p.links.Peek)
		switch {
		case errors.Is(err, problem.Unauthenticated):
			f.Bad = true
		case err != nil:
			return err
		default:
			f.Link, f.Name = t.Text(), who.Name
		}
	}
	if f.Link == "" && v.Known() {
		return v.Redirect(f.Next)
	}
	return p.ask(v, f)
}

// patience is how long somebody waits to have a link looked up.
const patience = 10 * time.Second

// look peeks at a link or redeems it. Those that are not good are counted, and too many
// of them from one place are errTooMany; a good one is good wherever it comes from.
func (p *Pages) look(v *page.Visit, text string, by func(context.Context, ticket.Ticket) (session.Principal, error)) (t ticket.Ticket, who session.Principal, err error) {
	if t, err = ticket.Parse(text); err == nil {
		ctx, cancel := context.WithTimeout(v.Context(), patience)
		defer cancel()
		done, err := p.attempts.look(ctx, v.R.RemoteAddr)
		if err != nil {
			return t, who, err
		}
		defer done()
		who, err = by(ctx, t)
		if !errors.Is(err, problem.Unauthenticated) {
			return t, who, err
		}
	}
	if p.attempts.failed(v.R.RemoteAddr) {
		return ticket.Ticket{}, session.Principal{}, errTooMany
	}
	return ticket.Ticket{}, session.Principal{}, errBad
}

// errBad is the error for a link that is not good.
var errBad = problem.New(problem.Unauthenticated, "this link is not good")

func (p *Pages) ask(v *page.Visit, f form) error {
	if p.provider != nil && f.Link == "" {
		f.Provider, f.ProviderURL = p.provider.Name(), Begin+"?"+url.Values{"next": {f.Next}}.Encode()
	}
	status := http.StatusOK
	if f.Bad {
		status = http.StatusForbidden
	}
	return v.ShowAs(status, p.form, page.Content{Title: v.Text.Plain("signin.title"), Data: f, Bare: true})
}

var errTooMany = &page.Plain{Status: http.StatusTooManyRequests, Title: "error.often.title", Body: "error.often.body"}

// redeem uses a link up.
func (p *Pages) redeem(v *page.Visit) error {
	_, who, err := p.look(v, v.R.PostFormValue("link"), p.links.Redeem)
	if errors.Is(err, problem.Unauthenticated) {
		return p.ask(v, form{Bad: true, Next: page.Home})
	}
	if err != nil {
		return err
	}
	if p.entered != nil {
		p.entered(who, v.R.RemoteAddr)
	}
	return p.enter(v, who, "link", v.R.PostFormValue("next"))
}

// enter begins a session. The page that says so is from here: a browser that comes
// from elsewhere would not send the cookie with a redirect.
func (p *Pages) enter(v *page.Visit, who session.Principal, method, next string) error {
	t, _, err := p.sessions.Begin(v.Context(), who, method)
	if err != nil {
		return err
	}
	v.Enter(t)
	if method == "link" {
		return v.Redirect(next)
	}
	return v.Show(p.moving, page.Content{Title: v.Text.Plain("signin.title"), Bare: true, Next: page.Local(next)})
}

func (p *Pages) leave(everywhere bool) page.Handler {
	return func(v *page.Visit) error {
		if everywhere { // first, so that none is used meanwhile
			if err := p.links.EndAll(v.Context(), v.Session.ObjectID); err != nil {
				return err
			}
		}
		if err := v.Leave(everywhere); err != nil {
			return err
		}
		return v.Redirect(page.SignIn + "?left")
	}
}
