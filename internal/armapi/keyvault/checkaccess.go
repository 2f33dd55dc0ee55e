package keyvault

import (
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/vault"
)

// accessQuestion asks whether a principal may do something with a secret.
type accessQuestion struct {
	ObjectID  string `json:"objectId"`
	AppID     string `json:"appId"`     // for access policies that name an application
	Secret    string `json:"secret"`    // "" asks about all of the vault
	Operation string `json:"operation"` // "" is get
}

// accessAnswer is the decision and how it came about. It does not say whether there
// is such a secret.
type accessAnswer struct {
	Allowed    bool       `json:"allowed"`
	Operation  string     `json:"operation"`
	Action     string     `json:"action"`
	By         string     `json:"by"`             // roles or policies
	Role       string     `json:"role,omitempty"` // that allows it
	Assignment string     `json:"assignment,omitempty"`
	Code       vault.Code `json:"code,omitempty"` // why it is refused
	Reason     string     `json:"reason,omitempty"`
	Next       string     `json:"next,omitempty"`
	// Restricted says that the vault's network rules let in only some callers, so
	// that code can be refused what references get.
	Restricted bool `json:"restrictedNetwork"`
}

// operations are those that can be asked about.
var operations = []vault.Operation{vault.Get, vault.Set, vault.Update, vault.List, vault.Delete, vault.Recover, vault.Purge}

func operationOf(name string) (vault.Operation, error) {
	for _, op := range operations {
		if name == "" || strings.EqualFold(op.String(), name) {
			return op, nil // get is the first
		}
	}
	return 0, badRequest("operation", "The operation must be one of get, set, update, list, delete, recover and purge.")
}

// checkAccess decides as the vault would, for somebody else, as when the platform
// reads a reference: network rules that let the platform in are met.
func (s *Service) checkAccess(c *arm.Call) (arm.Reply, error) {
	v, err := s.load(c)
	if err != nil {
		return arm.Reply{}, err
	}
	var q accessQuestion
	if err := c.JSON(&q); err != nil {
		return arm.Reply{}, err
	}
	if q.ObjectID == "" {
		return arm.Reply{}, badRequest("objectId", "The objectId of the principal is required.")
	}
	op, err := operationOf(q.Operation)
	if err != nil {
		return arm.Reply{}, err
	}
	who := vault.Caller{ObjectID: q.ObjectID, AppID: q.AppID, TenantID: s.cfg.TenantID, Trusted: true}
	if s.cfg.Groups != nil {
		if who.Groups, err = s.cfg.Groups(c.Context(), q.ObjectID); err != nil {
			return arm.Reply{}, err
		}
	}
	secret := q.Secret
	if secret == "" {
		secret = "-" // has no scope of its own that a role could be at
	}
	grant, err := s.cfg.Vaults.Check(c.Context(), v, who, op, secret)
	a := accessAnswer{
		Allowed: err == nil, Operation: op.String(), Action: op.Action(), By: "policies", Role: grant.Role, Assignment: grant.Assignment,
		Restricted: !v.Network.Public || v.Network.Deny,
	}
	if v.RBAC {
		a.By = "roles"
	}
	if err != nil && !errors.As(err, &a.Code) || err != nil && !errors.Is(err, problem.Denied) {
		return arm.Reply{}, fault(c, err)
	}
	if err != nil {
		a.Reason, a.Next = sentence(err), problem.NextOf(err)
	}
	return arm.Reply{Status: http.StatusOK, Body: a}, nil
}
