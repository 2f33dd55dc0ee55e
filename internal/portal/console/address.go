package console

import (
	"net/http"
	"net/url"

	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
	"github.com/latchkey/latchkey/internal/problem"
)

// shownAddress is what the page about a function's address shows.
type shownAddress struct {
	App      place.App
	Function function
	Keys     choices
	Key      string // that is chosen
	Address  string // "" until it is asked for
	Secret   bool   // it has a key
	Bad      *fault
}

// Hidden gives the address without the value of a key.
func (s shownAddress) Hidden() string {
	if s.Function.Level == "anonymous" {
		return s.Function.Address
	}
	return s.Function.Address + "?code="
}

var errNoAddress = problem.New(problem.NotFound, "no request starts this function, so that it has no address")

// showAddress offers the keys that an address can have.
func (c *Console) showAddress(v *page.Visit) error { return c.address(v, false) }

// revealAddress shows the address with the key that was chosen.
func (c *Console) revealAddress(v *page.Visit) error { return c.address(v, true) }

func (c *Console) address(v *page.Visit, asked bool) error {
	a := place.Of(v)
	f, err := read(v, a)
	if err != nil {
		return err
	}
	if f.Admin {
		return errNoAddress
	}
	s := shownAddress{App: a, Function: f}
	if !asked || !v.Partial() {
		if s.Keys, err = offer(v, a, f); err != nil {
			return err
		}
	}
	if s.Key = s.Keys.usual(f); s.Key == typedKey {
		s.Key = noKey
	}
	if asked {
		if err := s.reveal(v); err != nil {
			return err
		}
	}
	return c.showAddressWith(v, s)
}

// reveal puts the key that was chosen into the address. Reading it is recorded.
func (s *shownAddress) reveal(v *page.Visit) (err error) {
	if s.Key = v.R.PostForm.Get("key"); s.Key == "" || s.Key == typedKey {
		s.Key = noKey
	}
	var value string
	if value, s.Bad, err = (form{Key: s.Key}).value(v, s.App, s.Function.Name); err != nil || s.Bad != nil {
		return err
	}
	s.Address = s.Function.Address
	if value != "" {
		s.Address, s.Secret = s.Address+"?code="+url.QueryEscape(value), true
	}
	return nil
}

func (c *Console) showAddressWith(v *page.Visit, s shownAddress) error {
	a, name := s.App, s.Function.Name
	content := page.Content{
		Title: v.Text.Plain("console.address.title", "function", name), Tabs: a.FunctionTabs(name, "tab.function"), Data: s,
		Crumbs: a.Crumbs(page.Crumb{Name: v.Text.Plain("tab.functions"), URL: a.URL("functions")},
			page.Crumb{Name: name, URL: a.URL("functions", name)}, page.Crumb{Name: v.Text.Plain("console.address")}),
	}
	if v.Partial() {
		return v.ShowPart(c.where, "shown", content, nil)
	}
	status := http.StatusOK
	if s.Bad != nil {
		status = http.StatusBadRequest
	}
	return v.ShowAs(status, c.where, content)
}
