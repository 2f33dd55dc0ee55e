package sites

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// identityBlock is which identities an app has.
type identityBlock struct {
	Type        string                   `json:"type"`
	PrincipalID *string                  `json:"principalId,omitempty"`
	TenantID    *string                  `json:"tenantId,omitempty"`
	Assigned    map[string]*userAssigned `json:"userAssignedIdentities,omitempty"`
}

// userAssigned is an identity that is a resource of its own.
type userAssigned struct {
	PrincipalID *string `json:"principalId,omitempty"`
	ClientID    *string `json:"clientId,omitempty"`
}

func (b identityBlock) system() bool { return strings.HasPrefix(b.Type, "SystemAssigned") }

// nextIdentity makes the block to store from what there was and what a client
// said; nil if it said nothing. Ids of principals are never the client's: what it
// sends back of an earlier answer is replaced by what is known. A patch adds to
// the user-assigned identities, and null takes one away.
func nextIdentity(old, said json.RawMessage, patch bool) (json.RawMessage, error) {
	if said == nil {
		return nil, nil
	}
	var had, next identityBlock
	if len(old) > 0 {
		if err := json.Unmarshal(old, &had); err != nil {
			return nil, problem.Wrap(problem.Undecryptable, "the stored identity cannot be understood", err)
		}
	}
	if err := arm.Decode(said, &next); err != nil {
		return nil, err
	}
	if patch && next.Type == "" {
		next.Type = had.Type
	}
	var err error
	if next.Type, err = identityType(next.Type); err != nil {
		return nil, err
	}
	next.PrincipalID, next.TenantID = nil, nil
	if next.system() && had.system() {
		next.PrincipalID, next.TenantID = had.PrincipalID, had.TenantID
	}
	if next.Assigned, err = nextAssigned(had, next, patch); err != nil {
		return nil, err
	}
	return json.Marshal(next)
}

func nextAssigned(had, said identityBlock, patch bool) (map[string]*userAssigned, error) {
	out := map[string]*userAssigned{}
	if !strings.Contains(said.Type, "UserAssigned") {
		return out, nil
	}
	for name, value := range said.Assigned {
		id, err := resource.Parse(name)
		if err != nil || !strings.EqualFold(id.Type(), "Microsoft.ManagedIdentity/userAssignedIdentities") {
			return nil, problem.New(problem.Invalid, "member 'identity.userAssignedIdentities' must have resource ids of user-assigned identities as names")
		}
		if value != nil || !patch {
			out[id.String()] = &userAssigned{}
		}
	}
	for name, value := range had.Assigned {
		at := spelled(out, name)
		_, removed := said.Assigned[spelled(said.Assigned, name)]
		switch {
		case at != "":
			out[at] = value
		case patch && !removed:
			out[name] = value
		}
	}
	if len(out) == 0 {
		return nil, problem.New(problem.Invalid, fmt.Sprintf("member 'identity.type' is %s but identity.userAssignedIdentities names none", said.Type))
	}
	return out, nil
}

// spelled finds a name whatever its case; "" if it is not there.
func spelled(m map[string]*userAssigned, name string) string {
	for k := range m {
		if strings.EqualFold(k, name) {
			return k
		}
	}
	return ""
}

// identityType reads a type, with or without blanks and in any order.
func identityType(text string) (string, error) {
	var parts []string
	for part := range strings.SplitSeq(strings.ToLower(text), ",") {
		parts = append(parts, strings.TrimSpace(part))
	}
	slices.Sort(parts)
	switch strings.Join(slices.Compact(parts), ",") {
	case "", "none":
		return "None", nil
	case "systemassigned":
		return "SystemAssigned", nil
	case "userassigned":
		return "UserAssigned", nil
	case "systemassigned,userassigned":
		return "SystemAssigned, UserAssigned", nil
	}
	return "", problem.New(problem.Invalid, "member 'identity.type' must be None, SystemAssigned, UserAssigned, or the latter two with a comma")
}

// shownIdentity leaves out a block without identities, as Microsoft.Web does.
func shownIdentity(stored json.RawMessage) json.RawMessage {
	var b identityBlock
	if len(stored) == 0 || json.Unmarshal(stored, &b) != nil || b.Type == "" || b.Type == "None" {
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
