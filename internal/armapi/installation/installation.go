// Package installation serves Latchkey.Platform, our own provider for the
// installation as a whole: what it is, its nodes, a backup of everything, and
// changing the keys that protect it. It does not know how any of that is done.
package installation

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/drill"
)

// Info is what an installation says of itself.
type Info struct {
	TenantID       string    `json:"tenantId"`
	SubscriptionID string    `json:"subscriptionId"`
	Version        string    `json:"version"`
	Created        time.Time `json:"created"`
	State          string    `json:"state"`  // the backend, for people
	Keyset         string    `json:"keyset"` // names the key that seals
	CAFingerprint  string    `json:"caFingerprint"`
	Nodes          []Node    `json:"nodes"`
}

// Node is one node of the installation.
type Node struct {
	Name       string    `json:"name"`
	Version    string    `json:"version"`
	Management string    `json:"management"`
	Alive      bool      `json:"alive"`
	Seen       time.Time `json:"seen"`
}

// Config is what the operations work with; all of it but PortalLink and Drill is required.
type Config struct {
	Info func(ctx context.Context) (Info, error)
	// Backup writes everything to w as one sealed file.
	Backup func(ctx context.Context, w io.Writer) error
	// Rotate makes a new data key and seals everything with it.
	Rotate func(ctx context.Context) (sealed int, err error)
	// Rewrap puts the keyset under another key-encryption key: text, or a new one
	// in the file if text is "".
	Rewrap func(ctx context.Context, text string) error
	// RotateTokens publishes a new signing key.
	RotateTokens func(ctx context.Context) error
	// Now tells the time.
	Now func() time.Time
	// PortalLink makes a link by which a caller signs in to the portal; nil refuses to.
	PortalLink func(ctx context.Context, c arm.Caller) (PortalLink, error)
	// Drill moves the clock and makes parts fail; nil refuses to.
	Drill *drill.Drill
}

// Provider has the operations.
type Provider struct{ cfg Config }

// New makes a provider.
func New(cfg Config) *Provider { return &Provider{cfg} }

// Operations gives what is to be served. All of it needs a role at the root.
func (p *Provider) Operations() []arm.Operation {
	const base = "/providers/Latchkey.Platform"
	return append(append(p.drillOperations(), p.portalOperations()...), []arm.Operation{
		{Method: "GET", Pattern: base + "/installation", Action: "Latchkey.Platform/installation/read", Handler: p.info},
		{Method: "POST", Pattern: base + "/backup", Action: "Latchkey.Platform/backup/action", Handler: p.backup, Secret: true, Reads: true},
		{Method: "POST", Pattern: base + "/seal/rotate", Action: "Latchkey.Platform/seal/rotate/action", Handler: p.rotate},
		{Method: "POST", Pattern: base + "/seal/rewrap", Action: "Latchkey.Platform/seal/rewrap/action", Handler: p.rewrap},
		{Method: "POST", Pattern: base + "/tokens/rotate", Action: "Latchkey.Platform/tokens/rotate/action", Handler: p.rotateTokens},
	}...)
}

func (p *Provider) info(c *arm.Call) (arm.Reply, error) {
	info, err := p.cfg.Info(c.Context())
	return arm.OK(info), err
}

func (p *Provider) backup(c *arm.Call) (arm.Reply, error) {
	ctx := c.Context()
	return arm.Reply{
		Status: http.StatusOK, RawType: "application/octet-stream",
		Stream: func(w io.Writer) error { return p.cfg.Backup(ctx, w) },
	}, nil
}

func (p *Provider) rotate(c *arm.Call) (arm.Reply, error) {
	n, err := p.cfg.Rotate(c.Context())
	return arm.OK(map[string]any{"sealed": n}), err
}

func (p *Provider) rewrap(c *arm.Call) (arm.Reply, error) {
	var in struct {
		Key string `json:"key"` // a secret
	}
	if body, err := c.Body(); err != nil {
		return arm.Reply{}, err
	} else if len(body) > 0 {
		if err := c.JSON(&in); err != nil {
			return arm.Reply{}, err
		}
	}
	return arm.NoContent(), p.cfg.Rewrap(c.Context(), in.Key)
}

func (p *Provider) rotateTokens(c *arm.Call) (arm.Reply, error) {
	return arm.NoContent(), p.cfg.RotateTokens(c.Context())
}
