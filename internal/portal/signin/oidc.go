package signin

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/issuer"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/session"
	"github.com/latchkey/latchkey/internal/problem"
)

// Paths of signing in by a provider.
const (
	Begin    = page.SignIn + "/oidc"
	Callback = page.SignIn + "/callback"
)

// The attempt's cookies. They are for the callback, which the provider's page leads
// to, so that they cannot be as strict as the session's.
const (
	attemptCookie = page.Cookie + "-attempt"
	nextCookie    = page.Cookie + "-next"
	attemptLife   = 600 // seconds
	maxNext       = 1024
)

// Provider signs people in by OpenID Connect.
type Provider struct {
	*issuer.Issuer
	// Find gives the principal of a person; problem.NotFound if there is none, and
	// problem.Denied if it must not come in.
	Find func(ctx context.Context, p issuer.Person, remote string) (session.Principal, error)
}

// Offer adds signing in by a provider to the pages; call it before Mount.
func (p *Pages) Offer(by Provider) { p.provider = &by }

func (p *Pages) mountProvider(m *page.Mux) {
	if p.provider == nil {
		return
	}
	m.Open(Begin, p.begin, nil)
	m.Open(Callback, p.callback, nil)
}

// begin sends the browser to the provider.
func (p *Pages) begin(v *page.Visit) error {
	if !p.attempts.allow(v.R.RemoteAddr) {
		return errTooMany
	}
	a := issuer.NewAttempt()
	to, err := p.provider.Address(v.Context(), a)
	if err != nil {
		return err
	}
	next := page.Local(v.R.URL.Query().Get("next"))
	if len(next) > maxNext {
		next = page.Home
	}
	setAttempt(v, a.Text(), url.QueryEscape(next), attemptLife)
	http.Redirect(v.W, v.R, to, http.StatusSeeOther)
	return nil
}

func setAttempt(v *page.Visit, attempt, next string, life int) {
	for name, value := range map[string]string{attemptCookie: attempt, nextCookie: next} {
		http.SetCookie(v.W, &http.Cookie{
			Name: name, Value: value, Path: "/", MaxAge: life, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		})
	}
}

// refusal is what the page says to who is not let in.
type refusal struct {
	issuer.Person
	Unknown bool   // nobody is registered; else the answer is not good
	Denied  bool   // the provider or an operator says no
	Command string // by which an operator registers the person
	Name    string // of the provider
}

// callback takes the provider's answer, once: the attempt is over then.
func (p *Pages) callback(v *page.Visit) error {
	if !p.attempts.allow(v.R.RemoteAddr) {
		return errTooMany
	}
	attempt, next := cookie(v, attemptCookie), cookie(v, nextCookie)
	setAttempt(v, "", "", -1)
	a, err := issuer.ParseAttempt(attempt)
	if err != nil {
		return p.refuse(v, refusal{}, err)
	}
	who, err := p.provider.Person(v.Context(), a, v.R.URL.Query())
	if err != nil {
		return p.refuse(v, refusal{Denied: errors.Is(err, problem.Denied)}, err)
	}
	principal, err := p.provider.Find(v.Context(), who, v.R.RemoteAddr)
	switch {
	case errors.Is(err, problem.NotFound):
		return p.refuse(v, refusal{Person: who, Unknown: true, Command: command(who)}, err)
	case errors.Is(err, problem.Denied):
		return p.refuse(v, refusal{Denied: true}, err)
	case err != nil:
		return err
	}
	p.attempts.succeeded(v.R.RemoteAddr, 2) // beginning was one too
	next, _ = url.QueryUnescape(next)
	return p.enter(v, principal, "oidc", next)
}

func cookie(v *page.Visit, name string) string {
	c, err := v.R.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

// refuse shows why somebody is not let in; what is nobody's doing is shown as such.
func (p *Pages) refuse(v *page.Visit, r refusal, err error) error {
	if !r.Unknown && !r.Denied && !errors.Is(err, problem.Unauthenticated) {
		return err
	}
	v.Site().Log.WarnContext(v.Context(), "portal: somebody was not signed in", "reason", err, "subject", r.Subject)
	r.Name = p.provider.Name()
	return v.ShowAs(http.StatusForbidden, p.refused, page.Content{Title: v.Text.Plain("signin.title"), Data: r, Bare: true})
}

// command is what an operator types to let somebody in.
func command(who issuer.Person) string {
	name := who.Name
	if name == "" {
		name = who.Subject
	}
	return "latchkey principal create " + quoted(name) + " --oidc-issuer " + quoted(who.Issuer) +
		" --oidc-client " + quoted(who.ClientID) + " --oidc-subject " + quoted(who.Subject)
}

// quoted makes one word for a shell of any text: others chose it. What cannot be seen
// is left out.
func quoted(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, text)
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
