package storage

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// documentBody is what clients send of a service or child.
type documentBody struct {
	Properties map[string]json.RawMessage `json:"properties"`
}

// show gives a service or child as clients see it.
func show(r inventory.Resource, over map[string]any) (map[string]any, error) {
	props := maps.Clone(over)
	sent := map[string]any{}
	if len(r.Properties) > 0 {
		if err := json.Unmarshal(r.Properties, &sent); err != nil {
			return nil, problem.Wrap(problem.Undecryptable, "stored properties cannot be understood", err)
		}
	}
	maps.Copy(props, sent)
	id := r.ResourceID()
	body := map[string]any{"id": r.ID, "name": id.Name(), "type": id.Type(), "properties": props}
	if !r.Created.IsZero() {
		body["etag"] = `"` + r.ETag() + `"`
	}
	return body, nil
}

// serviceID gives the id of a service, whose name is always default.
func serviceID(c *arm.Call, svc service) resource.ID {
	return resource.Group(c.Params["subscription"], c.Params["group"]).
		Child("Microsoft.Storage", "storageAccounts", c.Params["account"]).Child("", svc.name, "default")
}

func (s *Service) service(c *arm.Call, svc service) (map[string]any, error) {
	account, err := s.load(c)
	if err != nil {
		return nil, err
	}
	r, err := s.cfg.Inventory.Get(c.Context(), serviceID(c, svc))
	if errors.Is(err, problem.NotFound) {
		r, err = inventory.Resource{ID: serviceID(c, svc).String()}, nil // it is there as long as the account is
	}
	if err != nil {
		return nil, err
	}
	body, err := show(r, svc.defaults)
	if err == nil {
		body["sku"] = account.SKU
	}
	return body, err
}

func (s *Service) getService(svc service) arm.Handler {
	return func(c *arm.Call) (arm.Reply, error) {
		body, err := s.service(c, svc)
		return arm.OK(body), err
	}
}

func (s *Service) listServices(svc service) arm.Handler {
	return func(c *arm.Call) (arm.Reply, error) {
		body, err := s.service(c, svc)
		return arm.List(c, []map[string]any{body}, ""), err
	}
}

func (s *Service) putService(svc service) arm.Handler {
	return func(c *arm.Call) (arm.Reply, error) {
		if _, err := s.load(c); err != nil {
			return arm.Reply{}, err
		}
		if _, _, err := s.write(c, serviceID(c, svc)); err != nil {
			return arm.Reply{}, err
		}
		body, err := s.service(c, svc)
		return arm.OK(body), err
	}
}

// write stores the properties that were sent; those that were not stay.
func (s *Service) write(c *arm.Call, id resource.ID) (inventory.Resource, bool, error) {
	var b documentBody
	if text, err := c.Body(); err != nil {
		return inventory.Resource{}, false, err
	} else if len(text) > 0 {
		if err := c.JSON(&b); err != nil {
			return inventory.Resource{}, false, err
		}
	}
	return s.cfg.Inventory.WriteInGroup(c.Context(), id, c.Caller.ObjectID, func(old inventory.Resource, exists bool) (inventory.Resource, error) {
		if !exists && c.HTTP.Method == http.MethodPatch {
			return old, childNotFound(c)
		}
		props := map[string]json.RawMessage{}
		if exists {
			if err := json.Unmarshal(old.Properties, &props); err != nil {
				return old, problem.Wrap(problem.Undecryptable, "stored properties cannot be understood", err)
			}
		}
		for name, v := range b.Properties {
			if string(v) != "null" {
				props[name] = v
			}
		}
		old.Properties = encode(props)
		return old, nil
	})
}

func childNotFound(c *arm.Call) error {
	return arm.Faultf(http.StatusNotFound, "ResourceNotFound", "The Resource '%s' named '%s' was not found.", c.Scope.Type(), c.Scope.Name())
}

func (s *Service) putChild(svc service) arm.Handler {
	return func(c *arm.Call) (arm.Reply, error) {
		if _, err := s.load(c); err != nil {
			return arm.Reply{}, err
		}
		if !svc.id.MatchString(c.Scope.Name()) {
			return arm.Reply{}, arm.Faultf(http.StatusBadRequest, "InvalidResourceName", "The name '%s' cannot be that of one of the %s.", c.Scope.Name(), svc.children)
		}
		r, created, err := s.write(c, c.Scope)
		if err != nil {
			return arm.Reply{}, err
		}
		reply, err := svc.answer(r)
		if created {
			reply.Status = svc.created
		}
		return reply, err
	}
}

func (svc service) answer(r inventory.Resource) (arm.Reply, error) {
	over := maps.Clone(svc.child)
	switch svc.children {
	case "containers", "shares":
		over["lastModifiedTime"] = r.Changed
	case "tables":
		over["tableName"] = r.ResourceID().Name()
	}
	body, err := show(r, over)
	return arm.OK(body).WithETag(r.ETag()), err
}

func (s *Service) getChild(svc service) arm.Handler {
	return func(c *arm.Call) (arm.Reply, error) {
		if _, err := s.load(c); err != nil {
			return arm.Reply{}, err
		}
		r, err := s.cfg.Inventory.Get(c.Context(), c.Scope)
		if errors.Is(err, problem.NotFound) {
			return arm.Reply{}, childNotFound(c)
		}
		if err != nil {
			return arm.Reply{}, err
		}
		return svc.answer(r)
	}
}

func (s *Service) listChildren(svc service) arm.Handler {
	return func(c *arm.Call) (arm.Reply, error) {
		if _, err := s.load(c); err != nil {
			return arm.Reply{}, err
		}
		id := serviceID(c, svc)
		all, _, err := s.cfg.Inventory.List(c.Context(), id.Type()+"/"+svc.children, id, "", 0)
		if err != nil {
			return arm.Reply{}, err
		}
		var items []any
		for _, r := range all {
			reply, err := svc.answer(r)
			if err != nil {
				return arm.Reply{}, err
			}
			items = append(items, reply.Body)
		}
		return arm.List(c, items, ""), nil
	}
}

func (s *Service) deleteChild(c *arm.Call) (arm.Reply, error) {
	err := s.cfg.Inventory.Delete(c.Context(), c.Scope)
	if errors.Is(err, problem.NotFound) {
		return arm.NoContent(), nil
	}
	return arm.Status(http.StatusOK), err
}
