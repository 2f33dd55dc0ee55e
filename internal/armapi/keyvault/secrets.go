package keyvault

import (
	"errors"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/vault"
	"github.com/latchkey/latchkey/internal/vault/secrets"
)

const secretType = vault.Type + "/secrets"

// secretBody is what clients send of a secret. Members that are nil were not sent.
type secretBody struct {
	Tags       map[string]string `json:"tags"`
	Properties struct {
		Value       *string `json:"value"` // a secret
		ContentType *string `json:"contentType"`
		Attributes  struct {
			Enabled   *bool  `json:"enabled"`
			NotBefore *int64 `json:"nbf"` // seconds since 1970
			Expires   *int64 `json:"exp"`
		} `json:"attributes"`
	} `json:"properties"`
}

// maxTime is the last second of the year 9999, after which times cannot be written.
const maxTime = 253402300799

func readSecret(c *arm.Call) (b secretBody, a secrets.Attributes, err error) {
	if err := c.JSON(&b); err != nil {
		return b, a, err
	}
	p := b.Properties
	a = secrets.Attributes{ContentType: p.ContentType, Tags: b.Tags, Enabled: p.Attributes.Enabled}
	if a.NotBefore, err = moment(p.Attributes.NotBefore, "nbf"); err != nil {
		return b, a, err
	}
	a.Expires, err = moment(p.Attributes.Expires, "exp")
	return b, a, err
}

func moment(sent *int64, name string) (*time.Time, error) {
	if sent == nil {
		return nil, nil
	}
	if *sent < 0 || *sent > maxTime {
		return nil, badRequest("properties.attributes."+name, "The "+name+" must be seconds since 1970.")
	}
	t := time.Unix(*sent, 0).UTC()
	return &t, nil
}

// secretShown is a secret as clients see it here: never with its value.
type secretShown struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags,omitempty"`
	Properties secretProperties  `json:"properties"`
}

type secretProperties struct {
	ContentType    string           `json:"contentType,omitempty"`
	Attributes     secretAttributes `json:"attributes"`
	URI            string           `json:"secretUri"`
	URIWithVersion string           `json:"secretUriWithVersion"`
}

type secretAttributes struct {
	Enabled   bool   `json:"enabled"`
	NotBefore *int64 `json:"nbf,omitempty"`
	Expires   *int64 `json:"exp,omitempty"`
	Created   int64  `json:"created"`
	Updated   int64  `json:"updated"`
}

func (s *Service) describeSecret(v vault.Vault, p secrets.Properties) secretShown {
	uri := s.cfg.VaultURL(v.Name) + "secrets/" + p.Name
	return secretShown{
		ID: v.SecretID(p.Name).String(), Name: p.Name, Type: secretType, Location: v.Location, Tags: p.Tags,
		Properties: secretProperties{
			ContentType: p.ContentType, URI: uri, URIWithVersion: uri + "/" + p.Version,
			Attributes: secretAttributes{p.Enabled, unix(p.NotBefore), unix(p.Expires), p.Created.Unix(), p.Updated.Unix()},
		},
	}
}

func unix(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.Unix()
	return &n
}

// find gives what is known of the latest version of the secret that a call is
// about. A disabled secret is not read, but managed.
func (s *Service) find(c *arm.Call, v vault.Vault) (secrets.Properties, error) {
	b, err := s.cfg.Secrets.Get(c.Context(), v, c.Params["secret"], "")
	if errors.Is(err, vault.SecretDisabled) {
		return s.latest(c, v)
	}
	return b.Properties, err
}

// latest finds the version of a secret that none came after.
func (s *Service) latest(c *arm.Call, v vault.Vault) (secrets.Properties, error) {
	versions, replaced := map[string]secrets.Properties{}, map[string]bool{}
	for next := ""; ; {
		page, more, err := s.cfg.Secrets.Versions(c.Context(), v, c.Params["secret"], secrets.Page{After: next, Limit: pageSize})
		if err != nil {
			return secrets.Properties{}, err
		}
		for _, p := range page {
			versions[p.Version], replaced[p.PreviousVersion] = p, true
		}
		if next = more; next == "" {
			break
		}
	}
	for version, p := range versions {
		if !replaced[version] {
			return p, nil
		}
	}
	return secrets.Properties{}, problem.New(problem.Conflict, "the secret is being changed").WithNext("try again")
}

func (s *Service) putSecret(c *arm.Call) (arm.Reply, error) {
	v, err := s.load(c)
	if err != nil {
		return arm.Reply{}, err
	}
	b, a, err := readSecret(c)
	if err != nil {
		return arm.Reply{}, err
	}
	if b.Properties.Value == nil {
		return arm.Reply{}, badRequest("properties.value", "The value of the secret is required. To change what else is known of it, use PATCH.")
	}
	_, err = s.find(c, v)
	status := http.StatusOK
	if errors.Is(err, problem.NotFound) {
		status = http.StatusCreated
	}
	set, err := s.cfg.Secrets.Set(c.Context(), v, c.Params["secret"], *b.Properties.Value, a)
	if err != nil {
		return arm.Reply{}, fault(c, err)
	}
	return arm.Reply{Status: status, Body: s.describeSecret(v, set.Properties)}, nil
}

// patchSecret changes what is known of the latest version; a value makes a new one,
// which has what is not said from the one before.
func (s *Service) patchSecret(c *arm.Call) (arm.Reply, error) {
	v, err := s.load(c)
	if err != nil {
		return arm.Reply{}, err
	}
	b, a, err := readSecret(c)
	if err != nil {
		return arm.Reply{}, err
	}
	p, err := s.change(c, v, b.Properties.Value, a)
	if err != nil {
		return arm.Reply{}, fault(c, err)
	}
	return arm.OK(s.describeSecret(v, p)), nil
}

func (s *Service) change(c *arm.Call, v vault.Vault, value *string, a secrets.Attributes) (secrets.Properties, error) {
	if value == nil {
		return s.cfg.Secrets.Update(c.Context(), v, c.Params["secret"], "", a)
	}
	old, err := s.find(c, v)
	if err != nil {
		return old, err
	}
	set, err := s.cfg.Secrets.Set(c.Context(), v, c.Params["secret"], *value, inherited(a, old))
	return set.Properties, err
}

// inherited takes what attributes leave open from the version before.
func inherited(a secrets.Attributes, old secrets.Properties) secrets.Attributes {
	if a.ContentType == nil {
		a.ContentType = &old.ContentType
	}
	if a.Tags == nil {
		a.Tags = old.Tags
	}
	if a.Enabled == nil {
		a.Enabled = &old.Enabled
	}
	if a.NotBefore == nil {
		a.NotBefore = &old.NotBefore
	}
	if a.Expires == nil {
		a.Expires = &old.Expires
	}
	return a
}

func (s *Service) getSecret(c *arm.Call) (arm.Reply, error) {
	v, err := s.load(c)
	if err != nil {
		return arm.Reply{}, err
	}
	p, err := s.find(c, v)
	if err != nil {
		return arm.Reply{}, fault(c, err)
	}
	return arm.OK(s.describeSecret(v, p)), nil
}

func (s *Service) listSecrets(c *arm.Call) (arm.Reply, error) {
	v, err := s.load(c)
	if err != nil {
		return arm.Reply{}, err
	}
	after, limit, err := page(c)
	if err != nil {
		return arm.Reply{}, err
	}
	list, next, err := s.cfg.Secrets.List(c.Context(), v, secrets.Page{After: after, Limit: limit})
	if err != nil {
		return arm.Reply{}, fault(c, err)
	}
	items := make([]secretShown, len(list))
	for n, p := range list {
		items[n] = s.describeSecret(v, p)
	}
	return arm.List(c, items, next), nil
}
