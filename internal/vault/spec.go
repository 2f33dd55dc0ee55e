package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
)

// Spec is what a request says of a vault. What it does not say is nil or empty;
// members that clients cannot set, and such that nobody knows, are left out.
type Spec struct {
	Location string
	Tags     map[string]string
	Recover  bool // createMode is "recover"
	// Allow, if set, is asked with the vault as it is right before that is changed,
	// perhaps more than once; its error ends the change.
	Allow func(had Vault) error
	said  properties
}

// properties are the members of a vault's properties that are kept. nil is for
// what was not said.
type properties struct {
	SKU             *sku         `json:"sku,omitempty"`
	TenantID        *string      `json:"tenantId,omitempty"`
	Policies        *[]Policy    `json:"accessPolicies,omitempty"`
	Deployment      *bool        `json:"enabledForDeployment,omitempty"`
	DiskEncryption  *bool        `json:"enabledForDiskEncryption,omitempty"`
	Templates       *bool        `json:"enabledForTemplateDeployment,omitempty"`
	SoftDelete      *bool        `json:"enableSoftDelete,omitempty"`
	RetentionDays   *int         `json:"softDeleteRetentionInDays,omitempty"`
	RBAC            *bool        `json:"enableRbacAuthorization,omitempty"`
	PurgeProtection *bool        `json:"enablePurgeProtection,omitempty"`
	Public          *string      `json:"publicNetworkAccess,omitempty"`
	ACLs            *networkACLs `json:"networkAcls,omitempty"`
}

type sku struct {
	Family string `json:"family"`
	Name   string `json:"name"`
}

// body is a whole request.
type body struct {
	Location   *string            `json:"location"`
	Tags       map[string]*string `json:"tags"`
	Properties *struct {
		properties
		CreateMode *string `json:"createMode"`
	} `json:"properties"`
}

// Limits of what a request may say.
const (
	maxSpec     = 512 << 10 // bytes of the properties
	maxPolicies = 1024
	maxTags     = 15
	maxTagName  = 512 // characters
	maxTagValue = 256
	maxLocation = 90
	minDays     = 7
)

// ParseSpec reads the body of a request that creates or changes a vault. It
// returns problem.Invalid, or TooLarge, naming the member that is wrong.
func ParseSpec(text []byte) (Spec, error) {
	var b body
	if err := decode(text, &b); err != nil {
		return Spec{}, err
	}
	s := Spec{Location: normalLocation(or(b.Location, ""))}
	if strings.ContainsFunc(s.Location, notLocation) || len(s.Location) > maxLocation {
		return Spec{}, invalid("location", "must be the name of a region: letters and digits")
	}
	var err error
	if s.Tags, err = tags(b.Tags); err != nil || b.Properties == nil {
		return s, err
	}
	s.said = b.Properties.properties
	switch mode := or(b.Properties.CreateMode, "default"); {
	case strings.EqualFold(mode, "recover"):
		s.Recover = true
	case !strings.EqualFold(mode, "default"):
		return Spec{}, invalid("properties.createMode", "must be default or recover")
	}
	return s, s.said.check()
}

// ParsePolicies reads the body of a request that changes access policies:
// {"properties": {"accessPolicies": […]}}. Errors are those of ParseSpec.
func ParsePolicies(text []byte) ([]Policy, error) {
	var b struct {
		Properties struct {
			Policies *[]Policy `json:"accessPolicies"`
		} `json:"properties"`
	}
	if err := decode(text, &b); err != nil {
		return nil, err
	}
	if b.Properties.Policies == nil {
		return nil, invalid("properties.accessPolicies", "is missing")
	}
	list := *b.Properties.Policies
	return list, checkPolicies(list)
}

// decode never quotes the body in its errors.
func decode(text []byte, into any) error {
	if len(text) > maxSpec {
		return problem.New(problem.TooLarge, fmt.Sprintf("the body has %d bytes, more than the limit of %d", len(text), maxSpec))
	}
	err := json.Unmarshal(text, into)
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong) && wrong.Field != "":
		return invalid(wrong.Field, "has a value of the wrong type")
	case errors.As(err, &wrong):
		return problem.New(problem.Invalid, "the body must be an object")
	}
	return problem.New(problem.Invalid, "the body is no valid JSON")
}

func invalid(member, why string) *problem.Error {
	return problem.New(problem.Invalid, fmt.Sprintf("member '%s' %s", member, why))
}

func notLocation(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}

// tags leaves out what is null.
func tags(said map[string]*string) (map[string]string, error) {
	if said == nil {
		return nil, nil
	}
	if len(said) > maxTags {
		return nil, invalid("tags", fmt.Sprintf("has %d tags, more than the limit of %d", len(said), maxTags))
	}
	out := make(map[string]string, len(said))
	for name, value := range said {
		if name == "" || utf8.RuneCountInString(name) > maxTagName || strings.ContainsAny(name, `<>%&\?/`) || utf8.RuneCountInString(or(value, "")) > maxTagValue {
			return nil, problem.New(problem.Invalid, "member 'tags' has a tag that breaks a rule").WithNext(fmt.Sprintf(
				"names have up to %d characters and none of <>%%&\\?/, values up to %d characters", maxTagName, maxTagValue))
		}
		if value != nil {
			out[name] = *value
		}
	}
	return out, nil
}

// check refuses values that no vault can have, and brings the others into the form
// they are kept in.
func (p *properties) check() error {
	switch {
	case p.TenantID != nil && !isGUID(*p.TenantID):
		return invalid("properties.tenantId", "must be a GUID")
	case p.SoftDelete != nil && !*p.SoftDelete:
		return invalid("properties.enableSoftDelete", "cannot be set to false: deleted vaults can always be recovered")
	case p.PurgeProtection != nil && !*p.PurgeProtection:
		return invalid("properties.enablePurgeProtection", "cannot be set to false: enabling purge protection is an irreversible action").WithNext("leave the member out")
	case p.RetentionDays != nil && (*p.RetentionDays < minDays || *p.RetentionDays > maxRetention):
		return invalid("properties.softDeleteRetentionInDays", fmt.Sprintf("must be %d to %d", minDays, maxRetention))
	}
	if err := p.checkSKU(); err != nil {
		return err
	}
	if err := oneOf(p.Public, "properties.publicNetworkAccess", "Enabled", "Disabled"); err != nil {
		return err
	}
	if err := p.ACLs.check(); err != nil || p.Policies == nil {
		return err
	}
	return checkPolicies(*p.Policies)
}

func (p *properties) checkSKU() error {
	if p.SKU == nil {
		return nil
	}
	if p.SKU.Family == "" {
		p.SKU.Family = "A"
	}
	if err := oneOf(&p.SKU.Family, "properties.sku.family", "A"); err != nil {
		return err
	}
	return oneOf(&p.SKU.Name, "properties.sku.name", "standard", "premium")
}

// oneOf compares without regard to case and leaves the spelling of the choice.
func oneOf(value *string, member string, choices ...string) error {
	if value == nil {
		return nil
	}
	at := slices.IndexFunc(choices, func(c string) bool { return strings.EqualFold(c, *value) })
	if at < 0 {
		return invalid(member, "must be "+strings.Join(choices, " or "))
	}
	*value = choices[at]
	return nil
}

// allowed asks whether a vault may be changed.
func (s Spec) allowed(old inventory.Resource) error {
	if s.Allow == nil {
		return nil
	}
	had, err := FromResource(old)
	if err == nil {
		err = s.Allow(had)
	}
	if err != nil {
		return inventory.Final(err)
	}
	return nil
}
