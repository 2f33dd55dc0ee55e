package managedidentity

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/managed"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

// federatedBody is what clients send.
type federatedBody struct {
	Properties *struct {
		Issuer    string   `json:"issuer"`
		Subject   string   `json:"subject"`
		Audiences []string `json:"audiences"`
	} `json:"properties"`
}

// principal reads the identity of an id, with its principal.
func (s *Service) principal(c *arm.Call, id resource.ID) (managed.Identity, identity.Principal, error) {
	i, err := s.cfg.Identities.Get(c.Context(), id)
	if err != nil {
		return i, identity.Principal{}, missing(err, id)
	}
	p, err := s.cfg.Identities.Principal(c.Context(), i.ObjectID)
	return i, p, missing(err, id)
}

func (s *Service) putFederated(c *arm.Call) (arm.Reply, error) {
	var b federatedBody
	if err := c.JSON(&b); err != nil {
		return arm.Reply{}, err
	}
	if b.Properties == nil {
		return arm.Reply{}, arm.Fault{Status: http.StatusBadRequest, Code: "InvalidRequestContent", Target: "properties", Message: "The member 'properties' is missing."}
	}
	i, p, err := s.principal(c, c.Scope.Parent())
	if err != nil {
		return arm.Reply{}, err
	}
	old, exists := find(p, c.Scope.Name())
	if err := c.Precondition("", exists); err != nil {
		return arm.Reply{}, err
	}
	f, created, err := s.cfg.Directory.SetFederated(c.Context(), p.ObjectID, identity.Federated{
		Name: spelling(old, exists, c.Scope.Name()), Issuer: b.Properties.Issuer, Subject: b.Properties.Subject, Audiences: b.Properties.Audiences,
	})
	if err != nil {
		return arm.Reply{}, federatedFault(missing(err, i.ID))
	}
	reply := arm.OK(showFederated(i.ID, f))
	if created {
		reply.Status = http.StatusCreated
	}
	return reply, nil
}

// find gives a federated credential by its name, whatever the case.
func find(p identity.Principal, name string) (identity.Federated, bool) {
	i := slices.IndexFunc(p.Federated, func(f identity.Federated) bool { return strings.EqualFold(f.Name, name) })
	if i < 0 {
		return identity.Federated{}, false
	}
	return p.Federated[i], true
}

// spelling gives the name of a credential as it was spelled first.
func spelling(old identity.Federated, exists bool, name string) string {
	if exists {
		return old.Name
	}
	return name
}

// federatedFault says which member of the body is wrong.
func federatedFault(err error) error {
	var p *problem.Error
	if !errors.Is(err, problem.Invalid) || !errors.As(err, &p) {
		return err
	}
	field, _, _ := strings.Cut(p.Message, " ")
	if field != "name" {
		field = "properties." + field
	}
	return arm.Fault{Status: http.StatusBadRequest, Code: "BadRequest", Target: field, Message: "The " + p.Message + "."}
}

func showFederated(owner resource.ID, f identity.Federated) map[string]any {
	return map[string]any{
		"id": owner.Child("", "federatedIdentityCredentials", f.Name).String(), "name": f.Name, "type": federatedType,
		"properties": map[string]any{"issuer": f.Issuer, "subject": f.Subject, "audiences": f.Audiences},
	}
}

func (s *Service) getFederated(c *arm.Call) (arm.Reply, error) {
	i, p, err := s.principal(c, c.Scope.Parent())
	if err != nil {
		return arm.Reply{}, err
	}
	f, exists := find(p, c.Scope.Name())
	if !exists {
		return arm.Reply{}, missing(problem.NotFound, c.Scope)
	}
	return arm.OK(showFederated(i.ID, f)), nil
}

// deleteFederated answers 204 for a credential that is not there.
func (s *Service) deleteFederated(c *arm.Call) (arm.Reply, error) {
	i, err := s.cfg.Identities.Get(c.Context(), c.Scope.Parent())
	if err == nil {
		err = s.cfg.Directory.RemoveFederated(c.Context(), i.ObjectID, c.Scope.Name())
	}
	if errors.Is(err, problem.NotFound) {
		return arm.NoContent(), nil
	}
	return arm.Status(http.StatusOK), err
}

// listFederated lists the credentials in order of their names.
func (s *Service) listFederated(c *arm.Call) (arm.Reply, error) {
	after, err := c.SkipToken()
	if err != nil {
		return arm.Reply{}, err
	}
	most, err := c.Top(identity.MaxFederated)
	if err != nil {
		return arm.Reply{}, err
	}
	i, p, err := s.principal(c, c.Scope)
	if err != nil {
		return arm.Reply{}, err
	}
	slices.SortFunc(p.Federated, func(a, b identity.Federated) int {
		return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	})
	items, next := []map[string]any{}, ""
	for _, f := range p.Federated {
		if strings.ToLower(f.Name) <= after {
			continue
		}
		if len(items) == most {
			next = strings.ToLower(items[most-1]["name"].(string))
			break
		}
		items = append(items, showFederated(i.ID, f))
	}
	return arm.List(c, items, next), nil
}
