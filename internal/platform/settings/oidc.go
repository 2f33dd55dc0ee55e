package settings

import (
	"net/url"
	"strconv"
	"strings"
)

// OIDC is an OpenID Connect provider by which people sign in to the portal.
type OIDC struct {
	Issuer           string   `json:"issuer"` // as its discovery document says
	ClientID         string   `json:"clientId"`
	ClientSecretFile string   `json:"clientSecretFile"` // none for a public client
	Name             string   `json:"name"`             // for people; none is the issuer's host
	Scopes           []string `json:"scopes"`           // besides openid
	GroupsClaim      string   `json:"groupsClaim"`
	Groups           []string `json:"groups"` // "value=group": who has the value in the claim is in the group
	CAFile           string   `json:"caFile"` // trusted besides what the machine trusts
}

// Title is the provider's name for people.
func (o OIDC) Title() string {
	if o.Name != "" {
		return o.Name
	}
	u, err := url.Parse(o.Issuer)
	if err != nil {
		return o.Issuer
	}
	return u.Host
}

// GroupOf gives the groups by values of the claim.
func (o OIDC) GroupOf() map[string]string {
	ties := map[string]string{}
	for _, tie := range o.Groups {
		value, group, _ := cutLast(tie)
		ties[value] = group
	}
	return ties
}

// cutLast cuts at the last equals sign: names in directories have such signs, too.
func cutLast(tie string) (value, group string, ok bool) {
	i := strings.LastIndexByte(tie, '=')
	if i < 0 {
		return "", "", false
	}
	return strings.TrimSpace(tie[:i]), strings.TrimSpace(tie[i+1:]), true
}

func (o OIDC) faults() (faults []string) {
	if o.Issuer == "" {
		if o.ClientID != "" || o.ClientSecretFile != "" || len(o.Groups) > 0 || o.GroupsClaim != "" {
			faults = append(faults, "portal.oidc.issuer: must be given with the other settings of portal.oidc")
		}
		return faults
	}
	if u, err := url.Parse(o.Issuer); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		faults = append(faults, "portal.oidc.issuer: must be an https URL without user, query and fragment")
	}
	if o.ClientID == "" {
		faults = append(faults, "portal.oidc.clientId: must be given with portal.oidc.issuer")
	}
	if len(o.Groups) > 0 && o.GroupsClaim == "" {
		faults = append(faults, "portal.oidc.groups: needs portal.oidc.groupsClaim")
	}
	seen := map[string]bool{}
	for i, tie := range o.Groups {
		value, group, ok := cutLast(tie)
		if !ok || value == "" || group == "" || seen[value] {
			faults = append(faults, "portal.oidc.groups["+strconv.Itoa(i)+"]: must be such as platform-team=operators, with each value once")
		}
		seen[value] = true
	}
	return faults
}
