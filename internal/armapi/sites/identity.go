package sites

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/identity/managed"
)

// identityBlock is which identities an app has.
type identityBlock = managed.Block

// nextIdentity makes the block to store from what there was and what a client
// said; nil if it said nothing.
func (api *API) nextIdentity(c *arm.Call, old, said json.RawMessage, patch bool) (json.RawMessage, error) {
	if api.Identities == nil {
		return managed.Next(old, said, patch)
	}
	return api.Identities.Merge(c.Context(), old, said, patch)
}

// shownIdentity leaves out a block without identities, as Microsoft.Web does.
func (api *API) shownIdentity(ctx context.Context, a app.App) (json.RawMessage, error) {
	if api.Identities != nil {
		return api.Identities.Shown(ctx, a.Resource.Identity, a.ID)
	}
	if b, err := managed.Parse(a.Resource.Identity); err != nil || !b.System() && !b.User() {
		return nil, nil
	}
	return a.Resource.Identity, nil
}

// identityOfReferences says which kind of identity reads an app's references.
func identityOfReferences(a app.App) string {
	if a.ReferenceIdentity == "" || strings.EqualFold(a.ReferenceIdentity, "SystemAssigned") {
		return "SystemAssigned"
	}
	return "UserAssigned"
}
