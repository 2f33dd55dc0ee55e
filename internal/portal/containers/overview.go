package containers

import (
	"html/template"

	"github.com/latchkey/latchkey/internal/portal/page"
)

// overview is what the page about an app shows.
type overview struct {
	At          at
	App         app
	State       state
	Stopped     bool
	URL         string
	Environment string
	Problems    []trouble
}

// trouble is something wrong, in words, with where to go on.
type trouble struct {
	Kind string // "bad" or "warn"
	Text template.HTML
	Why  string // of the API
	Next template.HTML
	URL  string
	Link string // key of a text
}

func (p *pages) showOverview(v *page.Visit) error {
	a := of(v)
	x, err := a.read(v)
	if err != nil {
		return err
	}
	o := overview{At: a, App: x, State: x.state(), Stopped: x.stopped(), URL: x.url(), Environment: lastOf(x.Properties.EnvironmentID)}
	revisions, err := a.revisions(v)
	if err != nil && !unseen(err) {
		return err
	}
	secrets, err := a.secrets(v)
	if err != nil && !unseen(err) {
		return err
	}
	o.troubles(v, revisions, secrets)
	return v.Show(p.overview, a.content(v, "tab.overview", x.Name, o))
}

// troubles finds what is wrong with the app.
func (o *overview) troubles(v *page.Visit, revisions []revision, secrets []secret) {
	say := func(kind, key, why, url, link string, pairs ...any) {
		next := append([]any{}, pairs...)
		o.Problems = append(o.Problems, trouble{kind, v.Text.HTML(key, pairs...), why, v.Text.HTML(key+".next", next...), url, link})
	}
	p := o.App.Properties
	if o.Stopped {
		say("warn", "trouble.stopped", "", "", "", "name", o.App.Name)
	}
	for _, r := range revisions {
		switch to := o.At.URL("revisions", r.Name); {
		case r.State().Kind == "bad":
			say("bad", "trouble.revision", r.Why(), to, "trouble.revision.link", "name", r.Name)
		case !r.Properties.Active: // nothing is placed of it any more
		case r.Properties.Scaling.wrong() != "":
			say("bad", "trouble.scale", r.Properties.Scaling.wrong(), to, "trouble.scale.link", "name", r.Name)
		case r.Properties.Scaling != nil && r.Properties.Scaling.Error != "":
			say("warn", "trouble.engine", r.Properties.Scaling.Error, to, "trouble.revision.link", "name", r.Name)
		}
		if r.Properties.Weight > 0 && !r.Properties.Active && !o.Stopped {
			say("bad", "trouble.traffic", "", o.At.URL("revisions"), "trouble.traffic.link", "name", r.Name, "weight", r.Properties.Weight)
		}
	}
	if p.Errors != "" && !o.Stopped && len(o.Problems) == 0 {
		say("bad", "trouble.revision", p.Errors, o.At.URL("revisions", p.Latest), "trouble.revision.link", "name", p.Latest)
	}
	for _, s := range secrets {
		if s.Shown().Kind == "bad" {
			say("bad", "trouble.secret", s.Properties.Why, o.At.URL("secrets"), "trouble.secret.link", "name", s.Name)
		}
	}
	for id, u := range o.App.Identity.Users {
		if u.Principal == "" {
			say("bad", "trouble.identity", "", o.At.URL("identity"), "trouble.identity.link", "name", lastOf(id))
		}
	}
}

// wrong tells what is wrong with the first rule that cannot be followed; "" if all can.
func (s *scaling) wrong() string {
	if s == nil {
		return ""
	}
	for _, r := range s.Rules {
		if r.Error != "" {
			return r.Name + ": " + r.Error
		}
	}
	return ""
}
