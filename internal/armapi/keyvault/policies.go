package keyvault

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/vault"
)

// policiesShown is the answer to a change of access policies: all that there are
// after it.
type policiesShown struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Type       string `json:"type"`
	Location   string `json:"location"`
	Properties struct {
		AccessPolicies []policyShown `json:"accessPolicies"`
	} `json:"properties"`
}

// changePolicies adds to, replaces or takes from some access policies and leaves
// the others alone.
func (s *Service) changePolicies(c *arm.Call) (arm.Reply, error) {
	how := vault.PolicyChange(strings.ToLower(c.Params["change"]))
	if how != vault.AddPolicies && how != vault.ReplacePolicies && how != vault.RemovePolicies {
		return arm.Reply{}, arm.Faultf(http.StatusBadRequest, "BadRequest", "Access policies are changed by add, replace or remove, not '%.60s'.", c.Params["change"])
	}
	policies, err := s.readPolicies(c)
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
	v, err := s.cfg.Vaults.ChangePolicies(c.Context(), c.Scope, c.Caller.ObjectID, how, policies)
	if err != nil {
		return arm.Reply{}, fault(c, err)
	}
	shown := policiesShown{ID: v.ID.String() + "/accessPolicies/", Name: string(how), Type: vault.Type + "/accessPolicies", Location: v.Location}
	shown.Properties.AccessPolicies = showPolicies(v.Policies)
	return arm.OK(shown), nil
}

func (s *Service) readPolicies(c *arm.Call) ([]vault.Policy, error) {
	var text json.RawMessage
	if err := c.JSON(&text); err != nil {
		return nil, err
	}
	var b struct {
		Properties policiesBody `json:"properties"`
	}
	if err := arm.Decode(text, &b); err != nil {
		return nil, err
	}
	if err := s.checkTenants(policiesBody{Policies: b.Properties.Policies}); err != nil {
		return nil, err
	}
	list, err := vault.ParsePolicies(text)
	return list, fault(c, err)
}
