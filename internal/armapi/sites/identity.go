package sites

import (
	"encoding/json"
	"strings"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/identity/managed"
)

// identityBlock is which identities an app has.
type identityBlock = managed.Block

// nextIdentity makes the block to store; see [managed.Next].
func nextIdentity(old, said json.RawMessage, patch bool) (json.RawMessage, error) {
	return managed.Next(old, said, patch)
}

// spelled finds a name whatever its case; "" if it is not there.
func spelled(m map[string]*managed.Binding, name string) string {
	return managed.Block{Assigned: m}.Spelled(name)
}

// shownIdentity leaves out a block without identities, as Microsoft.Web does.
func shownIdentity(stored json.RawMessage) json.RawMessage {
	if b, err := managed.Parse(stored); err != nil || !b.System() && !b.User() {
		return nil
	}
	return stored
}

// identityOfReferences says which kind of identity reads an app's references.
func identityOfReferences(a app.App) string {
	if a.ReferenceIdentity == "" || strings.EqualFold(a.ReferenceIdentity, "SystemAssigned") {
		return "SystemAssigned"
	}
	return "UserAssigned"
}
