package functions

import (
	"context"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/problem"
)

// KeyFinder tells whose keys a value is.
type KeyFinder interface {
	// FindKey looks for the keys that have a value, in one app by its name or, for "", in
	// all of them: in their stores, whether they run or not. What cannot be read is
	// named and is no error.
	FindKey(ctx context.Context, value, app string) (KeysFound, error)
}

// KeysFound is where a value is a key. No value is in it.
type KeysFound struct {
	Keys   []KeyOwner  `json:"value"`
	Apps   int         `json:"apps"` // that were looked at
	Unread []KeyUnread `json:"unread,omitempty"`
}

// KeyOwner is a key that has the value that was looked for.
type KeyOwner struct {
	App      string `json:"app"`  // resource id
	Kind     string `json:"kind"` // master, host, system or function
	Function string `json:"function,omitempty"`
	Name     string `json:"name"`
}

// KeyUnread says why keys of an app could not be looked at.
type KeyUnread struct {
	App     string `json:"app"` // resource id
	Message string `json:"message"`
}

// maxFound is the most bytes of what is looked for: a value, or an address with one.
const maxFound = 8 << 10

// Whoever may list all keys of an app may ask which of them a value is, and learns
// nothing that they could not read.
func (p *Provider) keyFindOperations() []arm.Operation {
	const action = siteType + "/host/listkeys/action"
	return []arm.Operation{
		{Method: "POST", Pattern: "/subscriptions/{sub}/providers/Latchkey.Keys/find", Action: action, Scope: 2, Handler: p.findKey, Reads: true, Secret: true},
		{Method: "POST", Pattern: sitePath + "/host/default/findkey", Action: action, Handler: p.findKeyOfApp, Reads: true, Secret: true},
	}
}

func (p *Provider) findKey(c *arm.Call) (arm.Reply, error) { return p.find(c, "") }

func (p *Provider) findKeyOfApp(c *arm.Call) (arm.Reply, error) {
	app, err := p.app(c)
	if err != nil {
		return arm.Reply{}, err
	}
	return p.find(c, app.Name)
}

func (p *Provider) find(c *arm.Call, app string) (arm.Reply, error) {
	var in struct {
		Value string `json:"value"` // a secret
	}
	if err := c.JSON(&in); err != nil {
		return arm.Reply{}, err
	}
	value, err := presented(in.Value)
	if err != nil {
		return arm.Reply{}, err
	}
	if p.cfg.KeyFinder == nil {
		return arm.Reply{}, problem.New(problem.Unsupported, "keys cannot be looked for here")
	}
	found, err := p.cfg.KeyFinder.FindKey(c.Context(), value, app)
	if found.Keys == nil {
		found.Keys = []KeyOwner{}
	}
	return arm.OK(found), err
}

// presented gives the value of a key from how it was found: alone, or as code in an
// address.
func presented(text string) (string, error) {
	text = strings.TrimSpace(text)
	if text == "" || len(text) > maxFound {
		return "", problem.New(problem.Invalid, "value: there is none, or it is longer than any key").WithNext("give the value of a key, or an address with ?code=")
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return text, nil
	}
	for name, values := range u.Query() {
		if strings.EqualFold(name, "code") && values[0] != "" {
			return values[0], nil
		}
	}
	return "", problem.New(problem.Invalid, "value: the address has no code").WithNext("give the value of a key, or an address with ?code=")
}
