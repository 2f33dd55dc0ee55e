package directory

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/armapi/authorization/filter"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/groups"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// maxPage is the most items in one page of a list.
const maxPage = 500

// find gives the principal that a call is about, by object id or app id.
func (s *Service) find(c *arm.Call) (identity.Principal, error) {
	return s.lookup(c.Context(), c.Params["principal"])
}

func (s *Service) lookup(ctx context.Context, id string) (identity.Principal, error) {
	p, err := s.cfg.Directory.Get(ctx, strings.ToLower(id))
	if errors.Is(err, problem.NotFound) || errors.Is(err, problem.Invalid) {
		p, err = s.cfg.Directory.ByAppID(ctx, strings.ToLower(id))
	}
	if errors.Is(err, problem.Invalid) {
		err = problem.Wrap(problem.NotFound, fmt.Sprintf("there is no principal %q", clip(id)), err)
	}
	return p, err
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}

func (s *Service) list(c *arm.Call) (arm.Reply, error) {
	match, err := principalFilter(c.Query.Get("$filter"))
	if err != nil {
		return arm.Reply{}, err
	}
	after, err := c.SkipToken()
	if err != nil {
		return arm.Reply{}, err
	}
	most, err := c.Top(maxPage)
	if err != nil {
		return arm.Reply{}, err
	}
	all, err := s.cfg.Directory.List(c.Context())
	if err != nil {
		return arm.Reply{}, err
	}
	list, next := []shown{}, ""
	for i, p := range all {
		if after != "" && p.ObjectID <= after || !match(p) {
			continue
		}
		if list = append(list, show(p)); len(list) == most && i+1 < len(all) {
			next = p.ObjectID
			break
		}
	}
	return arm.List(c, list, next), nil
}

// principalFilter reads a $filter on name, kind, appId, objectId and resourceId.
func principalFilter(text string) (func(identity.Principal) bool, error) {
	terms, err := filter.Parse(text)
	if err != nil {
		return nil, err
	}
	for _, t := range terms {
		if _, known := field(identity.Principal{}, t.Name); !known || t.Op != "eq" {
			return nil, problem.New(problem.Invalid, fmt.Sprintf("$filter: %q is not supported; use eq with name, displayName, kind, appId, objectId, id or resourceId", t.Name+" "+t.Op))
		}
	}
	return func(p identity.Principal) bool {
		for _, t := range terms {
			if value, _ := field(p, t.Name); !strings.EqualFold(value, t.Value) {
				return false
			}
		}
		return true
	}, nil
}

func field(p identity.Principal, name string) (string, bool) {
	switch name {
	case "name", "displayname":
		return p.Name, true
	case "kind":
		return string(p.Kind), true
	case "appid":
		return p.AppID, true
	case "objectid", "id":
		return p.ObjectID, true
	case "resourceid":
		return p.ResourceID, true
	}
	return "", false
}

// shown is a principal as clients see it: with an id, type and no certificates'
// contents.
type shown struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	identity.Principal
}

func show(p identity.Principal) shown {
	return shown{ID: principalID(p.ObjectID), Type: principalType, Principal: p}
}

func principalID(objectID string) string {
	return resource.Root.Child("Latchkey.Directory", "principals", objectID).String()
}

func (s *Service) get(c *arm.Call) (arm.Reply, error) {
	p, err := s.find(c)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(show(p)), nil
}

// principalBody is what clients send to make a principal.
type principalBody struct {
	Name  string `json:"name"`
	Kind  string `json:"kind"`
	AppID string `json:"appId"`
}

// create makes a principal: by POST with an object id of the server's choice, by
// PUT with the client's. PUT of one that is there changes its name.
func (s *Service) create(c *arm.Call) (arm.Reply, error) {
	var body principalBody
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	if body.Kind == "" {
		body.Kind = string(identity.ServicePrincipal)
	}
	if strings.EqualFold(body.Kind, string(identity.ManagedIdentity)) {
		return arm.Reply{}, problem.New(problem.Invalid, "kind ManagedIdentity cannot be made here").
			WithNext("make a user-assigned identity, or give a resource a system-assigned one")
	}
	if id := c.Params["principal"]; id != "" {
		if old, err := s.cfg.Directory.Get(c.Context(), strings.ToLower(id)); err == nil {
			return s.rename(c, old, body)
		}
	}
	var also []state.Op
	if id := c.Params["principal"]; id != "" {
		also = append(also, groups.Free(id))
	}
	p, err := s.cfg.Directory.Create(c.Context(), identity.Principal{
		ObjectID: c.Params["principal"], AppID: body.AppID, Name: body.Name, Kind: identity.Kind(body.Kind),
	}, also...)
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.Created(show(p)), nil
}

func (s *Service) rename(c *arm.Call, old identity.Principal, body principalBody) (arm.Reply, error) {
	if string(old.Kind) != body.Kind || body.AppID != "" && !strings.EqualFold(body.AppID, old.AppID) {
		return arm.Reply{}, problem.New(problem.Conflict, "kind and appId of a principal cannot be changed")
	}
	p, err := s.cfg.Directory.Update(c.Context(), old.ObjectID, func(p *identity.Principal) error {
		p.Name = body.Name
		return nil
	})
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(show(p)), nil
}

// remove deletes a principal and, before it, what roles it has and the groups it is
// in, each with an event of its own.
func (s *Service) remove(c *arm.Call) (arm.Reply, error) {
	p, err := s.find(c)
	if errors.Is(err, problem.NotFound) {
		return arm.NoContent(), nil
	}
	if err != nil {
		return arm.Reply{}, err
	}
	if p.Kind == identity.ManagedIdentity {
		return arm.Reply{}, problem.New(problem.Conflict, fmt.Sprintf("this principal belongs to %s", p.ResourceID)).
			WithNext("delete the resource, or take its identity away")
	}
	if err := s.keepsAnOwner(c.Context(), p); err != nil {
		return arm.Reply{}, err
	}
	if err := s.unassign(c, p.ObjectID); err != nil {
		return arm.Reply{}, err
	}
	if err := s.leaveGroups(c, p.ObjectID); err != nil {
		return arm.Reply{}, err
	}
	if err := s.cfg.Directory.Delete(c.Context(), p.ObjectID); err != nil && !errors.Is(err, problem.NotFound) {
		return arm.Reply{}, err
	}
	return arm.OK(show(p)), s.leaveGroups(c, p.ObjectID) // those it was added to meanwhile
}

// unassign takes all roles of a principal or group away.
func (s *Service) unassign(c *arm.Call, objectID string) error {
	removed, err := s.cfg.Roles.UnassignAll(c.Context(), objectID)
	if logged := s.logUnassigned(c, removed); err == nil {
		err = logged
	}
	return err
}

func (s *Service) logUnassigned(c *arm.Call, removed []rbac.Assignment) error {
	for _, a := range removed {
		err := s.cfg.Audit.Append(c.Context(), audit.Event{
			Category: audit.Write, Action: rbac.AssignmentType + "/delete", Scope: a.ID.String(), Source: c.HTTP.RemoteAddr,
			Principal: audit.Principal{ObjectID: c.Caller.ObjectID, AppID: c.Caller.AppID, Name: c.Caller.Name},
			Outcome:   "Succeeded", Status: http.StatusOK, Reason: "its principal is deleted", CorrelationID: c.CorrelationID,
			Details: map[string]string{"principalId": a.Principal, "roleDefinitionId": a.Role},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// keepsAnOwner refuses to take away the last principal that can sign in and
// administer the installation.
func (s *Service) keepsAnOwner(ctx context.Context, going identity.Principal) error {
	all, err := s.cfg.Roles.Assignments()
	if err != nil {
		return err
	}
	owner := false
	for _, a := range all {
		if a.Role != rbac.Owner || !a.Scope.IsRoot() {
			continue
		}
		if a.Principal == going.ObjectID {
			owner = true
			continue
		}
		p, err := s.cfg.Directory.Get(ctx, a.Principal)
		if err == nil && !p.Disabled {
			return nil
		}
		if err != nil && !errors.Is(err, problem.NotFound) {
			return err
		}
	}
	if !owner {
		return nil
	}
	return problem.Wrap(problem.Conflict, "this is the last principal that is Owner at /; without it nobody could administer the installation", rbac.LastOwner).
		WithNext("assign Owner at / to another principal first")
}
