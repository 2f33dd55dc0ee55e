package installation

import (
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/problem"
)

// PortalLink signs somebody in to the portal once.
type PortalLink struct {
	URL     string    `json:"url"` // a secret
	Expires time.Time `json:"expires"`
}

// portalOperations let whoever has a token sign in to the portal as who they are: it
// opens nothing that the token does not.
func (p *Provider) portalOperations() []arm.Operation {
	return []arm.Operation{{
		Method: "POST", Pattern: "/providers/Latchkey.Platform/portal/signInLink", Action: arm.Open, Secret: true, Handler: p.portalLink,
	}}
}

func (p *Provider) portalLink(c *arm.Call) (arm.Reply, error) {
	if p.cfg.PortalLink == nil {
		return arm.Reply{}, problem.New(problem.Unsupported, "this installation has no portal")
	}
	link, err := p.cfg.PortalLink(c.Context(), c.Caller)
	return arm.OK(link), err
}
