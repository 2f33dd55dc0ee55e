package access

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/portal/page"
)

// Check is the question whether an identity may read a secret, and its answer.
type Check struct {
	Principal, Vault, Secret string
	Name, VaultName          string // for people
	Asked                    bool
	Allowed                  bool
	Role                     string
	Assignment               string
	By                       string
	Code                     string
	Restricted               bool `json:"restrictedNetwork"`
	Failed                   string
	// Mend is the address of the page that gives what is missing; "" if nothing is, if
	// a grant would not mend it, or if whoever is signed in may not give it.
	Mend string
}

// Text gives the decision's text.
func (c Check) Text() string {
	switch {
	case c.Allowed && c.By == "roles":
		return "check.byrole"
	case c.Allowed:
		return "check.bypolicy"
	case c.Code == "ForbiddenByPolicy":
		return "check.nopolicy"
	case c.network():
		return "check.network"
	}
	return "check.norole"
}

func (c Check) network() bool {
	return c.Code == "ForbiddenByConnection" || c.Code == "ForbiddenByFirewall"
}

// ask asks whether an identity may read a secret, if the page was asked that.
func (s *Shown) ask(v *page.Visit) error {
	q := v.R.URL.Query()
	c := Check{Principal: q.Get("principal"), Vault: q.Get("vault"), Secret: strings.TrimSpace(q.Get("secret"))}
	s.complete(&c)
	if c.Vault == "" || c.Principal == "" {
		s.Check = c
		return nil
	}
	c.VaultName, c.Name, c.Asked = LastOf(c.Vault), c.Principal, true
	for _, h := range s.Holders {
		if h.Principal == c.Principal {
			c.Name = h.Name
		}
	}
	err := v.API().Do(v.Context(), http.MethodPost, IDPath(c.Vault, "checkAccess")+"?api-version=2026-02-01", map[string]string{
		"objectId": c.Principal, "secret": c.Secret,
	}, &c)
	switch {
	case err != nil && page.Detail(err) != "":
		c.Failed, err = page.Detail(err), nil
	case err == nil && !c.Allowed && !c.network() && isSecret(c.Secret) && c.mayMend(v):
		c.Mend = GiveURL(c.Vault, c.Secret, c.Principal, Reads, s.Back+"?"+url.Values{"principal": {c.Principal}, "vault": {c.Vault}, "secret": {c.Secret}}.Encode()+"#check")
	}
	s.Check = c
	return err
}

// complete makes a whole question of one that comes from a reference: that names the
// vault by its name alone, and means the identity that references are read with.
func (s *Shown) complete(c *Check) {
	if c.Vault == "" {
		return
	}
	for _, r := range s.Vaults {
		if strings.EqualFold(r.Name, c.Vault) {
			c.Vault = r.ID
		}
	}
	if !isVault(c.Vault) {
		c.Vault = ""
	}
	for _, h := range s.Holders {
		if c.Principal == "" && h.Reads {
			c.Principal = h.Principal
		}
	}
}

// mayMend reports whether whoever is signed in may give what is missing.
func (c Check) mayMend(v *page.Visit) bool {
	if c.By == "policies" {
		return v.May(c.Vault).Do(changePolicies)
	}
	return v.May(scopeOf(c.Vault, c.Secret)).Do(Assign)
}
