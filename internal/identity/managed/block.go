package managed

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// MaxAssigned is the most user-assigned identities that a resource may have.
const MaxAssigned = 200

// Block is which identities a resource has: the member "identity" of its document.
type Block struct {
	Type        string              `json:"type"`
	PrincipalID *string             `json:"principalId,omitempty"`
	TenantID    *string             `json:"tenantId,omitempty"`
	Assigned    map[string]*Binding `json:"userAssignedIdentities,omitempty"` // by resource id, as spelled first
}

// Binding is the principal that a user-assigned identity had when it was assigned.
// It stays when the identity is deleted, so that one that is made later under the
// same id is not taken for it: nobody has assigned that one.
type Binding struct {
	PrincipalID *string `json:"principalId,omitempty"`
	ClientID    *string `json:"clientId,omitempty"`
}

// System reports whether the resource has an identity of its own.
func (b Block) System() bool { return strings.HasPrefix(b.Type, "SystemAssigned") }

// User reports whether the resource has user-assigned identities.
func (b Block) User() bool { return strings.HasSuffix(b.Type, "UserAssigned") }

// Spelled gives the name under which an identity is in the block, whatever its
// case; "" if it is not there.
func (b Block) Spelled(id string) string {
	if _, there := b.Assigned[id]; there {
		return id
	}
	for name := range b.Assigned {
		if strings.EqualFold(name, id) {
			return name
		}
	}
	return ""
}

// Binds reports whether the block has the identity bound to the principal that
// another block binds it to, or has it unbound as that one does.
func (b Block) Binds(id string, other Block) bool {
	mine, theirs := b.Spelled(id), other.Spelled(id)
	return mine != "" && theirs != "" && b.Assigned[mine].principal() == other.Assigned[theirs].principal()
}

func (b *Binding) principal() string {
	if b == nil || b.PrincipalID == nil {
		return ""
	}
	return strings.ToLower(*b.PrincipalID)
}

// Parse reads a stored block; none is one without identities. It returns
// problem.Undecryptable for what is no block.
func Parse(stored json.RawMessage) (Block, error) {
	b := Block{Type: "None"}
	if len(stored) == 0 {
		return b, nil
	}
	if err := json.Unmarshal(stored, &b); err != nil {
		return b, problem.Wrap(problem.Undecryptable, "the stored identity cannot be understood", err)
	}
	return b, nil
}

// Next makes the block to store from what there was and what a client said; nil if
// it said nothing. Ids of principals are never the client's: what it sends back of
// an earlier answer is replaced by what is known. A patch adds to the
// user-assigned identities, and null takes one away. It returns problem.Invalid
// naming the member that is wrong.
func Next(old, said json.RawMessage, patch bool) (json.RawMessage, error) {
	if said == nil {
		return nil, nil
	}
	had, err := Parse(old)
	if err != nil {
		return nil, err
	}
	var next Block
	if err := decode(said, &next); err != nil {
		return nil, err
	}
	if patch && next.Type == "" {
		next.Type = had.Type
	}
	if next.Type, err = typeOf(next.Type); err != nil {
		return nil, err
	}
	next.PrincipalID, next.TenantID = nil, nil
	if next.System() && had.System() {
		next.PrincipalID, next.TenantID = had.PrincipalID, had.TenantID
	}
	if next.Assigned, err = nextAssigned(had, next, patch); err != nil {
		return nil, err
	}
	return json.Marshal(next)
}

// decode reads what a client said.
func decode(said json.RawMessage, b *Block) error {
	err := json.Unmarshal(said, b)
	var typed *json.UnmarshalTypeError
	if errors.As(err, &typed) {
		kind, _, _ := strings.Cut(typed.Value, " ")
		return problem.New(problem.Invalid, fmt.Sprintf("member '%s' must not be of type %s",
			strings.TrimSuffix("identity."+typed.Field, "."), kind))
	}
	if err != nil {
		return problem.New(problem.Invalid, "member 'identity' is not JSON")
	}
	return nil
}

func nextAssigned(had, said Block, patch bool) (map[string]*Binding, error) {
	out := Block{Assigned: map[string]*Binding{}}
	if !said.User() {
		return out.Assigned, nil
	}
	for name, value := range said.Assigned {
		id, err := resource.Parse(name)
		if err != nil || !strings.EqualFold(id.Type(), UserType) || id.Group() == "" {
			return nil, problem.New(problem.Invalid, "member 'identity.userAssignedIdentities' must have resource ids of user-assigned identities as names")
		}
		if (value != nil || !patch) && out.Spelled(id.String()) == "" {
			out.Assigned[id.String()] = &Binding{}
		}
	}
	for name, value := range had.Assigned {
		at := out.Spelled(name)
		switch {
		case at != "":
			delete(out.Assigned, at) // the spelling stays as well
			out.Assigned[name] = value
		case patch && said.Spelled(name) == "":
			out.Assigned[name] = value
		}
	}
	switch n := len(out.Assigned); {
	case n == 0:
		return nil, problem.New(problem.Invalid, fmt.Sprintf("member 'identity.type' is %s but identity.userAssignedIdentities names none", said.Type))
	case n > MaxAssigned:
		return nil, problem.New(problem.Invalid, fmt.Sprintf("member 'identity.userAssignedIdentities' names %d identities, more than %d", n, MaxAssigned))
	}
	return out.Assigned, nil
}

// typeOf reads a type, with or without blanks and in any order.
func typeOf(text string) (string, error) {
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
