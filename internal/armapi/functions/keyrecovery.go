package functions

import (
	"context"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// KeyRecovery looks at the key documents of an app and helps those that cannot be
// used, in the store that the app's settings choose and as the app's own identities.
type KeyRecovery interface {
	// CheckKeys says how the store does and each document in it. It changes nothing.
	CheckKeys(ctx context.Context, app string) ([]KeyCheck, error)
	// DiscardKeys keeps a copy of a document that does not open and puts one with new
	// keys in its place. It returns problem.Conflict for one that opens and
	// problem.Unsupported for a store that keeps no copies; nothing is changed then.
	DiscardKeys(ctx context.Context, app string, doc keystore.Doc) (KeyDiscarded, error)
	// RestoreKeys makes a copy the document again and gives the name of the copy of
	// what was there, "" for nothing. It returns problem.Undecryptable for a copy
	// that does not open.
	RestoreKeys(ctx context.Context, app string, doc keystore.Doc, from string) (kept string, err error)
	// KeyCopies gives the copies of documents that are kept. It returns
	// problem.Unsupported for a store that keeps none.
	KeyCopies(ctx context.Context, app string) ([]KeyCopy, error)
	// RemoveKeyCopy removes a copy for good; problem.NotFound if there is none of that
	// name.
	RemoveKeyCopy(ctx context.Context, app string, doc keystore.Doc, name string) error
}

// KeyCopy is a copy of a key document. It has no values.
type KeyCopy struct {
	Document string `json:"document"` // host, or a function's name
	Copy     string `json:"copy"`
	Opens    bool   `json:"opens"`            // it can be restored
	Keys     int    `json:"keys,omitempty"`   // in it, if it opens
	Reason   string `json:"reason,omitempty"` // why it does not open
	Now      string `json:"now"`              // what the document itself is: same as the copy, other, damaged or missing
}

// KeyCheck is one finding. No secret is in it.
type KeyCheck struct {
	Check   string `json:"check"`
	Status  string `json:"status"` // ok, warn or fail
	Message string `json:"message"`
	Next    string `json:"next,omitempty"`
}

// KeyDiscarded is what became of a document that was given up.
type KeyDiscarded struct {
	Copy string // the name of the copy
	// NotMade says why there are no new keys; nil if there are.
	NotMade error
}

func (p *Provider) keyRecoveryOperations() []arm.Operation {
	const at, action = sitePath + "/host/default/", siteType + "/host/"
	return []arm.Operation{
		{Method: "POST", Pattern: at + "checkkeys", Action: action + "checkkeys/action", Handler: p.checkKeys},
		{Method: "POST", Pattern: at + "discardkeys", Action: action + "discardkeys/action", Handler: p.discardKeys},
		{Method: "POST", Pattern: at + "restorekeys", Action: action + "restorekeys/action", Handler: p.restoreKeys},
		{Method: "GET", Pattern: at + "keycopies", Action: action + "keycopies/read", Handler: p.keyCopies},
		{Method: "POST", Pattern: at + "removekeycopy", Action: action + "removekeycopy/action", Handler: p.removeKeyCopy},
	}
}

func (p *Provider) checkKeys(c *arm.Call) (arm.Reply, error) {
	app, err := p.recoverable(c)
	if err != nil {
		return arm.Reply{}, err
	}
	checks, err := p.cfg.KeyRecovery.CheckKeys(c.Context(), app.Name)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(map[string]any{"value": checks}), nil
}

func (p *Provider) discardKeys(c *arm.Call) (arm.Reply, error) {
	app, err := p.recoverable(c)
	if err != nil {
		return arm.Reply{}, err
	}
	var in struct {
		Document string `json:"document"`
	}
	if err := c.JSON(&in); err != nil {
		return arm.Reply{}, err
	}
	doc, err := namedDocument(in.Document)
	if err != nil {
		return arm.Reply{}, err
	}
	done, err := p.cfg.KeyRecovery.DiscardKeys(c.Context(), app.Name, doc)
	if err != nil {
		return arm.Reply{}, err
	}
	out := map[string]string{"document": string(doc), "copy": done.Copy}
	if done.NotMade != nil {
		out["notMade"], out["next"] = done.NotMade.Error(), problem.NextOf(done.NotMade)
	}
	return arm.OK(out), nil
}

func (p *Provider) restoreKeys(c *arm.Call) (arm.Reply, error) {
	app, doc, from, err := p.namedCopy(c)
	if err != nil {
		return arm.Reply{}, err
	}
	kept, err := p.cfg.KeyRecovery.RestoreKeys(c.Context(), app.Name, doc, from)
	if err != nil {
		return arm.Reply{}, err
	}
	out := map[string]string{"document": string(doc), "restored": from}
	if kept != "" {
		out["copy"] = kept
	}
	return arm.OK(out), nil
}

func (p *Provider) keyCopies(c *arm.Call) (arm.Reply, error) {
	app, err := p.recoverable(c)
	if err != nil {
		return arm.Reply{}, err
	}
	copies, err := p.cfg.KeyRecovery.KeyCopies(c.Context(), app.Name)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.List(c, copies, ""), nil
}

func (p *Provider) removeKeyCopy(c *arm.Call) (arm.Reply, error) {
	app, doc, name, err := p.namedCopy(c)
	if err != nil {
		return arm.Reply{}, err
	}
	if err := p.cfg.KeyRecovery.RemoveKeyCopy(c.Context(), app.Name, doc, name); err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(map[string]string{"document": string(doc), "removed": name}), nil
}

// namedCopy gives the copy that the body of a call names.
func (p *Provider) namedCopy(c *arm.Call) (app App, doc keystore.Doc, name string, err error) {
	if app, err = p.recoverable(c); err != nil {
		return app, doc, name, err
	}
	var in struct {
		Document string `json:"document"`
		Copy     string `json:"copy"`
	}
	if err = c.JSON(&in); err != nil {
		return app, doc, name, err
	}
	if doc, err = namedDocument(in.Document); err == nil {
		err = keystore.CheckCopy(doc, in.Copy)
	}
	return app, doc, in.Copy, err
}

func (p *Provider) recoverable(c *arm.Call) (App, error) {
	app, err := p.app(c)
	if err == nil && p.cfg.KeyRecovery == nil {
		err = problem.New(problem.Unsupported, "keys cannot be recovered here")
	}
	return app, err
}

// namedDocument gives the document of a name: host, or a function's.
func namedDocument(name string) (keystore.Doc, error) {
	doc := keystore.FunctionDoc(name)
	return doc, keystore.CheckDoc(doc)
}
