package keyvault

import (
	"errors"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/vault"
)

// pageSize is how many items a page of a list has at most.
const pageSize = 200

// putVault creates, replaces or recovers a vault.
func (s *Service) putVault(c *arm.Call) (arm.Reply, error) {
	r, err := s.readBody(c)
	if err != nil {
		return arm.Reply{}, err
	}
	old, err := s.cfg.Vaults.Get(c.Context(), c.Scope)
	exists := err == nil
	if err != nil && !errors.Is(err, problem.NotFound) {
		return arm.Reply{}, err
	}
	if err := c.Precondition(old.Resource.ETag(), exists); err != nil {
		return arm.Reply{}, err
	}
	spec, err := s.putSpec(c, r, old, exists)
	if err != nil {
		return arm.Reply{}, fault(c, err)
	}
	v, created, err := s.cfg.Vaults.Put(c.Context(), c.Scope, c.Caller.ObjectID, spec)
	if err != nil {
		return arm.Reply{}, fault(c, err)
	}
	reply := s.answer(v)
	if created {
		reply.Status = http.StatusCreated
	}
	return reply, nil
}

// putSpec gives what a PUT says.
func (s *Service) putSpec(c *arm.Call, r request, old vault.Vault, exists bool) (vault.Spec, error) {
	if err := vault.CheckName(c.Scope.Name()); err != nil {
		return vault.Spec{}, err
	}
	if !exists && strings.TrimSpace(r.Location) == "" {
		return vault.Spec{}, arm.Fault{Status: http.StatusBadRequest, Code: "LocationRequired", Target: "location",
			Message: "The location property is required for this definition."}
	}
	roles := old.RBAC
	if !exists {
		roles = c.APIVersion >= rolesByDefault
	}
	r, err := s.completed(r, roles)
	if err != nil {
		return vault.Spec{}, err
	}
	spec, err := vault.ParseSpec(r.text)
	spec.Allow = s.mayChange(c, r)
	return spec, err
}

// changeRoles is the action that the permission model needs besides that of
// writing the vault: who may write vaults only could take one whose secrets roles
// guard, put it under policies, and give a policy to anybody.
const changeRoles = "Microsoft.Authorization/roleAssignments/write"

// mayChange is asked at the moment of the change: between the first look at a vault
// and that, somebody else may have changed who decides about access.
func (s *Service) mayChange(c *arm.Call, r request) func(vault.Vault) error {
	return func(had vault.Vault) error {
		if err := c.Precondition(had.Resource.ETag(), true); err != nil {
			return err
		}
		return s.checkModel(c, had, r)
	}
}

// checkModel refuses another way of deciding about access from who may not say who
// has access.
func (s *Service) checkModel(c *arm.Call, old vault.Vault, r request) error {
	if r.Properties.RBAC == nil || *r.Properties.RBAC == old.RBAC {
		return nil
	}
	d, err := s.cfg.Authorize.Allow(c.Context(), authz.Request{
		Principal: c.Caller.ObjectID, Groups: c.Caller.Groups, Action: changeRoles, Scope: c.Scope,
	})
	if err != nil {
		return problem.Wrap(problem.KindOf(err), "whether the call is allowed could not be decided", err)
	}
	if d.Allowed {
		return nil
	}
	return arm.Faultf(http.StatusForbidden, "InsufficientPermissions",
		"Caller is not allowed to change permission model. Details: oid=%s; action=%s; resource=%s; decision=NotAllowed", c.Caller.ObjectID, changeRoles, old.ID)
}

func (s *Service) patchVault(c *arm.Call) (arm.Reply, error) {
	r, err := s.readBody(c)
	if err != nil {
		return arm.Reply{}, err
	}
	old, err := s.load(c)
	if err != nil {
		return arm.Reply{}, err
	}
	if err := c.Precondition(old.Resource.ETag(), true); err != nil {
		return arm.Reply{}, err
	}
	if r, err = r.silent(old.RBAC); err != nil {
		return arm.Reply{}, err
	}
	spec, err := vault.ParseSpec(r.text)
	if err != nil {
		return arm.Reply{}, fault(c, err)
	}
	spec.Allow = s.mayChange(c, r)
	v, err := s.cfg.Vaults.Patch(c.Context(), c.Scope, c.Caller.ObjectID, spec)
	if err != nil {
		return arm.Reply{}, fault(c, err)
	}
	return s.answer(v), nil
}

// load reads the vault that a call is about, or about something in.
func (s *Service) load(c *arm.Call) (vault.Vault, error) {
	id := c.Scope
	if strings.EqualFold(id.Type(), secretType) {
		id = id.Parent()
	}
	v, err := s.cfg.Vaults.Get(c.Context(), id)
	if errors.Is(err, problem.NotFound) {
		return v, notFound(c)
	}
	return v, err
}

func (s *Service) getVault(c *arm.Call) (arm.Reply, error) {
	v, err := s.load(c)
	if err != nil {
		return arm.Reply{}, err
	}
	return s.answer(v), nil
}

func (s *Service) answer(v vault.Vault) arm.Reply {
	return arm.OK(s.describe(v)).WithETag(v.Resource.ETag())
}

// deleteVault answers 204 for a vault that is not there, so that a client can ask
// again after an answer got lost.
func (s *Service) deleteVault(c *arm.Call) (arm.Reply, error) {
	v, err := s.cfg.Vaults.Get(c.Context(), c.Scope)
	if err == nil {
		if err = c.Precondition(v.Resource.ETag(), true); err == nil {
			_, err = s.cfg.Vaults.Delete(c.Context(), c.Scope, c.Caller.ObjectID)
		}
	}
	if errors.Is(err, problem.NotFound) {
		return arm.NoContent(), nil
	}
	return arm.Status(http.StatusOK), err
}

func (s *Service) listVaults(c *arm.Call) (arm.Reply, error) {
	after, limit, err := page(c)
	if err != nil {
		return arm.Reply{}, err
	}
	list, next, err := s.cfg.Vaults.List(c.Context(), c.Scope, state.Key(after), limit)
	if err != nil {
		return arm.Reply{}, err
	}
	items := make([]vaultShown, len(list))
	for n, v := range list {
		items[n] = s.describe(v)
	}
	return arm.List(c, items, string(next)), nil
}

// page gives where a list goes on and how long it may be.
func page(c *arm.Call) (after string, limit int, err error) {
	if after, err = c.SkipToken(); err != nil {
		return "", 0, err
	}
	limit, err = c.Top(pageSize)
	return after, limit, err
}

// availability is the answer to a name check.
type availability struct {
	NameAvailable bool   `json:"nameAvailable"`
	Reason        string `json:"reason,omitempty"`
	Message       string `json:"message,omitempty"`
}

func (s *Service) checkName(c *arm.Call) (arm.Reply, error) {
	var asked struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	if err := c.JSON(&asked); err != nil {
		return arm.Reply{}, err
	}
	if asked.Type != "" && !strings.EqualFold(asked.Type, vault.Type) {
		return arm.Reply{}, badRequest("type", "The type must be "+vault.Type+".")
	}
	if err := vault.CheckName(asked.Name); err != nil {
		return arm.OK(availability{false, "AccountNameInvalid", sentence(err)}), nil
	}
	free, err := s.cfg.Vaults.NameFree(c.Context(), asked.Name)
	if err != nil {
		return arm.Reply{}, err
	}
	if !free {
		return arm.OK(availability{false, "AlreadyExists", "The vault name '" + asked.Name + "' is already in use, or a deleted vault has it."}), nil
	}
	return arm.OK(availability{NameAvailable: true}), nil
}
