// Package page owns what all pages of the portal have in common: a mux for
// browsers, which no program calls and which shares nothing with those of APIs, with
// the headers that keep pages to themselves, sessions, and forms that only our own
// pages can send; and the frame that a page is shown in. It does not know what pages
// are about, or how people sign in.
package page

import (
	"context"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/portal/assets"
	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/session"
	"github.com/latchkey/latchkey/internal/portal/text"
	"github.com/latchkey/latchkey/internal/portal/ticket"
)

// Base is the path that the portal is served below.
const Base = "/portal/"

// Paths that every page knows.
const (
	Home       = Base
	SignIn     = Base + "signin"
	SignOut    = Base + "signout"
	SignOutAll = Base + "signout-everywhere"
	Events     = Base + "events"
	Assets     = Base + "assets/"
)

// Config is what pages work with; all of it is required but where it is said.
type Config struct {
	Text      *text.Catalogue
	Assets    *assets.Files
	Sessions  *session.Sessions
	Transport http.RoundTripper // to the management API
	// Token makes a token for the management API, good for minutes. Its error is
	// problem.Unauthenticated for a principal that is no longer welcome.
	Token func(ctx context.Context, p session.Principal) (string, error)
	// VaultTransport goes to the vaults, and VaultToken makes tokens for them; nil
	// leaves pages about secrets out.
	VaultTransport http.RoundTripper
	VaultToken     func(ctx context.Context, p session.Principal) (string, error)
	// VaultPatience bounds what vaults are asked in time, so that a silent one does not
	// keep the rest of a page; 0 is 5 s. What changes something gets six times as long.
	VaultPatience time.Duration
	// Endpoint gives the address of the management API.
	Endpoint       string
	SubscriptionID string
	Version        string
	Clock          clock.Clock
	Log            *slog.Logger
}

// readPatience bounds what the management API is asked in time.
const readPatience = 30 * time.Second

// Site is what pages are made with. It is safe for concurrent use.
type Site struct {
	Config
	guard  *http.CrossOriginProtection
	errors *Template
}

// NewSite makes a Site.
func NewSite(c Config) (*Site, error) {
	if c.VaultPatience <= 0 {
		c.VaultPatience = 5 * time.Second
	}
	s := &Site{Config: c, guard: http.NewCrossOriginProtection()}
	var err error
	s.errors, err = Parse(ownTemplates, "templates/error.html")
	return s, err
}

// Template is the content of a page within the frame.
type Template struct{ set *template.Template }

// Parse reads the templates of a page: they define "content", and whatever parts of
// it are asked for by themselves.
func Parse(from fs.FS, names ...string) (*Template, error) {
	set, err := template.New("layout.html").ParseFS(ownTemplates, "templates/layout.html")
	if err == nil {
		set, err = set.ParseFS(from, names...)
	}
	return &Template{set}, err
}

// Add reads more templates into those of a page: parts that several pages have.
func (t *Template) Add(from fs.FS, names ...string) error {
	_, err := t.set.ParseFS(from, names...)
	return err
}

// Visit is one request of a browser.
type Visit struct {
	W    http.ResponseWriter
	R    *http.Request
	Text text.Language
	// Session is who is signed in; its ObjectID is "" on pages for anybody.
	Session session.Session

	site    *Site
	key     ticket.Ticket
	may     rights
	missing []string // actions that the page would have shown something for
}

// Site gives what the page is made with.
func (v *Visit) Site() *Site { return v.site }

// SessionName tells sessions apart; it is no secret.
func (v *Visit) SessionName() string { return v.key.Name() }

// Context ends when the browser is gone.
func (v *Visit) Context() context.Context { return v.R.Context() }

// API gives the management API for who is signed in.
func (v *Visit) API() *client.Client {
	return &client.Client{
		Transport: v.site.Transport, Base: v.site.Endpoint, Remote: v.R.RemoteAddr, Reads: readPatience,
		Token: func(ctx context.Context) (string, error) { return v.site.Token(ctx, v.Session.Principal) },
	}
}

// Vault gives the data plane of a vault at an address that the management API gave,
// for who is signed in.
func (v *Visit) Vault(address string) *client.Client {
	return &client.Client{
		Transport: v.site.VaultTransport, Base: strings.TrimSuffix(address, "/"), Remote: v.R.RemoteAddr,
		Reads: v.site.VaultPatience, Writes: 6 * v.site.VaultPatience,
		Token: func(ctx context.Context) (string, error) { return v.site.VaultToken(ctx, v.Session.Principal) },
	}
}

// Partial reports whether a part of a page is asked for, to be put into one that is
// shown.
func (v *Visit) Partial() bool { return v.R.Header.Get("HX-Request") == "true" }

// Redirect sends the browser on after a form was taken.
func (v *Visit) Redirect(to string) error {
	http.Redirect(v.W, v.R, Local(to), http.StatusSeeOther)
	return nil
}

// Local gives a path within the portal; what is elsewhere becomes the first page.
func Local(to string) string {
	path, _, _ := strings.Cut(strings.ToLower(to), "?")
	up := strings.Contains(strings.ReplaceAll(path, "%2e", "."), "/..") // as browsers read it
	if !strings.HasPrefix(to, Base) || up || strings.ContainsFunc(to, func(c rune) bool { return c < ' ' || c == '\\' || c == 0x7f }) {
		return Home
	}
	return to
}
