// Package logs owns the pages on which what apps write is read and followed: of
// function apps what their functions, workers and hosts say, of container apps what
// their containers write and what happened to them. The last lines are made on the
// server; with scripts new ones are added as they come. It does not know where lines
// are kept: the management API does, and decides who may read them.
package logs

import (
	"embed"
	"errors"
	"net/http"
	"net/url"
	"sync"

	"github.com/latchkey/latchkey/internal/places"
	"github.com/latchkey/latchkey/internal/portal/client"
	"github.com/latchkey/latchkey/internal/portal/containers"
	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/portal/place"
)

//go:embed templates
var templates embed.FS

// Right is the action that reading the log of a function app takes.
const Right = "Microsoft.Web/sites/publish/Action"

// Pages are the pages with what lasts of them. They are safe for concurrent use.
type Pages struct {
	streams        http.RoundTripper // of container apps; nil: there are none
	app, container *page.Template
	places         places.Places // of followers
	closed         chan struct{}
	once           sync.Once
}

// New makes the pages; streams serves the logs of containers, at the addresses that the
// management API gives. Nil leaves pages about containers out.
func New(streams http.Handler) *Pages {
	p := &Pages{places: places.Places{All: most, Each: each}, closed: make(chan struct{})}
	if streams != nil {
		p.streams = client.Flowing{Handler: streams}
	}
	return p
}

// Close ends all that is followed. It can be called again.
func (p *Pages) Close() { p.once.Do(func() { close(p.closed) }) }

// Mount adds the pages to a mux.
func (p *Pages) Mount(m *page.Mux) error {
	var wrong, wrongToo error
	p.app, wrong = page.Parse(templates, "templates/app.html", "templates/parts.html")
	p.container, wrongToo = page.Parse(templates, "templates/container.html", "templates/parts.html")
	m.Page(place.Pattern+"/logs", p.showApp)
	m.Page(place.Pattern+"/logs/follow", p.followApp)
	if p.streams != nil {
		m.Page(containers.Pattern+"/logs", p.showContainer)
		m.Page(containers.Pattern+"/logs/follow", p.followContainer)
	}
	return errors.Join(wrong, wrongToo)
}

// Bounds of what is shown.
const (
	shown = 200 // lines of a page, and of one thing that a follower is told
)

// Line is a line as pages show it.
type Line struct {
	At    string `json:"at,omitempty"`    // RFC 3339, UTC; "" when nobody knows
	Clock string `json:"clock,omitempty"` // of the day, UTC
	Level string `json:"level,omitempty"` // in the reader's language; "" for the usual one
	Kind  string `json:"kind,omitempty"`  // "warn" or "bad"
	Of    string `json:"of,omitempty"`    // who wrote it
	Run   string `json:"run,omitempty"`   // the invocation
	Text  string `json:"text"`
}

// wish is what a reader wants to see.
type wish struct {
	Level, Function, Text string
	Place                 string // of a container, or "" for what happened
}

func wishOf(v *page.Visit) wish {
	q := v.R.URL.Query()
	return wish{Level: q.Get("level"), Function: clip(q.Get("function")), Text: clip(q.Get("text")), Place: q.Get("place")}
}

func clip(s string) string {
	if len(s) > 200 {
		return s[:200]
	}
	return s
}

// query gives the wish as a query, with pairs of name and value besides.
func (w wish) query(pairs ...string) string {
	q := url.Values{}
	for name, value := range map[string]string{"level": w.Level, "function": w.Function, "text": w.Text, "place": w.Place} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// Filtered reports whether something is left out.
func (w wish) Filtered() bool { return w.Level != "" || w.Function != "" || w.Text != "" }
