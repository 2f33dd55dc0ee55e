package directory

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
)

const day = 24 * time.Hour

// addSecret makes a client secret and answers it; it cannot be had again.
func (s *Service) addSecret(c *arm.Call) (arm.Reply, error) {
	var body struct {
		Name string  `json:"name"`
		Days float64 `json:"days"` // 0 is the default
	}
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	if body.Name == "" {
		body.Name = "secret"
	}
	if most := identity.MaxValidity.Hours() / 24; body.Days < 0 || body.Days > most {
		return arm.Reply{}, problem.New(problem.Invalid, fmt.Sprintf("days must be 0 to %d", int(most)))
	}
	p, err := s.find(c)
	if err != nil {
		return arm.Reply{}, err
	}
	plain, secret, err := s.cfg.Directory.AddSecret(c.Context(), p.ObjectID, body.Name, time.Duration(math.Ceil(body.Days*float64(day))))
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(struct {
		identity.Secret
		Value    string `json:"secret"`
		AppID    string `json:"appId"`
		TenantID string `json:"tenantId"`
	}{secret, plain, p.AppID, s.cfg.TenantID}), nil
}

func (s *Service) removeSecret(c *arm.Call) (arm.Reply, error) {
	return s.removeCredential(c, func(p identity.Principal, id string) error {
		return s.cfg.Directory.RemoveSecret(c.Context(), p.ObjectID, id)
	})
}

func (s *Service) removeCertificate(c *arm.Call) (arm.Reply, error) {
	return s.removeCredential(c, func(p identity.Principal, id string) error {
		return s.cfg.Directory.RemoveCertificate(c.Context(), p.ObjectID, id)
	})
}

func (s *Service) removeCredential(c *arm.Call, remove func(p identity.Principal, id string) error) (arm.Reply, error) {
	var body struct {
		ID string `json:"id"`
	}
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	if body.ID == "" {
		return arm.Reply{}, problem.New(problem.Invalid, "id, which names the credential, is missing")
	}
	p, err := s.find(c)
	if err != nil {
		return arm.Reply{}, err
	}
	if err := remove(p, body.ID); err != nil {
		return arm.Reply{}, err
	}
	return s.get(c)
}

func (s *Service) addCertificate(c *arm.Call) (arm.Reply, error) {
	var body struct {
		Name string `json:"name"`
		PEM  string `json:"pem"`
	}
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	p, err := s.find(c)
	if err != nil {
		return arm.Reply{}, err
	}
	cert, err := s.cfg.Directory.AddCertificate(c.Context(), p.ObjectID, body.Name, []byte(body.PEM))
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(cert), nil
}

func (s *Service) disable(c *arm.Call) (arm.Reply, error) { return s.setDisabled(c, true) }
func (s *Service) enable(c *arm.Call) (arm.Reply, error)  { return s.setDisabled(c, false) }

func (s *Service) setDisabled(c *arm.Call, disabled bool) (arm.Reply, error) {
	p, err := s.find(c)
	if err != nil {
		return arm.Reply{}, err
	}
	if disabled {
		if err := s.keepsAnOwner(c.Context(), p); err != nil {
			return arm.Reply{}, err
		}
	}
	if p, err = s.cfg.Directory.SetDisabled(c.Context(), p.ObjectID, disabled); err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(show(p)), nil
}

// expireTokens ends all tokens that a principal has.
func (s *Service) expireTokens(c *arm.Call) (arm.Reply, error) {
	p, err := s.find(c)
	if err != nil {
		return arm.Reply{}, err
	}
	if p, err = s.cfg.Directory.ExpireTokens(c.Context(), p.ObjectID); err != nil {
		return arm.Reply{}, err
	}
	return arm.OK(show(p)), nil
}

// shownFederated is a federated credential as clients see it.
type shownFederated struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	identity.Federated
}

func showFederated(p identity.Principal, f identity.Federated) shownFederated {
	return shownFederated{principalID(p.ObjectID) + "/federatedCredentials/" + f.Name, principalType + "/federatedCredentials", f}
}

func (s *Service) listFederated(c *arm.Call) (arm.Reply, error) {
	p, err := s.find(c)
	if err != nil {
		return arm.Reply{}, err
	}
	list := []shownFederated{}
	for _, f := range p.Federated {
		list = append(list, showFederated(p, f))
	}
	return arm.List(c, list, ""), nil
}

func (s *Service) getFederated(c *arm.Call) (arm.Reply, error) {
	p, err := s.find(c)
	if err != nil {
		return arm.Reply{}, err
	}
	for _, f := range p.Federated {
		if strings.EqualFold(f.Name, c.Params["credential"]) {
			return arm.OK(showFederated(p, f)), nil
		}
	}
	return arm.Reply{}, problem.New(problem.NotFound, fmt.Sprintf("principal %s has no federated credential %q", p.ObjectID, clip(c.Params["credential"])))
}

func (s *Service) putFederated(c *arm.Call) (arm.Reply, error) {
	var body struct {
		Issuer    string   `json:"issuer"`
		Subject   string   `json:"subject"`
		Audiences []string `json:"audiences"`
	}
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	if len(body.Audiences) == 0 {
		body.Audiences = []string{"api://AzureADTokenExchange"}
	}
	p, err := s.find(c)
	if err != nil {
		return arm.Reply{}, err
	}
	if p.Kind == identity.ManagedIdentity {
		return arm.Reply{}, problem.New(problem.Conflict, fmt.Sprintf("the federated credentials of this principal belong to %s", p.ResourceID)).
			WithNext("change them there")
	}
	f, created, err := s.cfg.Directory.SetFederated(c.Context(), p.ObjectID, identity.Federated{
		Name: c.Params["credential"], Issuer: body.Issuer, Subject: body.Subject, Audiences: body.Audiences,
	})
	if err != nil {
		return arm.Reply{}, err
	}
	if created {
		return arm.Created(showFederated(p, f)), nil
	}
	return arm.OK(showFederated(p, f)), nil
}

func (s *Service) removeFederated(c *arm.Call) (arm.Reply, error) {
	p, err := s.find(c)
	if err == nil {
		err = s.cfg.Directory.RemoveFederated(c.Context(), p.ObjectID, c.Params["credential"])
	}
	if errors.Is(err, problem.NotFound) {
		return arm.NoContent(), nil
	}
	if err != nil {
		return arm.Reply{}, err
	}
	return arm.Status(200), nil
}
