package vault

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// networkACLs are the rules of the network as clients set them.
type networkACLs struct {
	Bypass   *string        `json:"bypass,omitempty"`
	Default  *string        `json:"defaultAction,omitempty"`
	IPs      *[]ipRule      `json:"ipRules,omitempty"`
	Networks *[]networkRule `json:"virtualNetworkRules,omitempty"`
}

type ipRule struct {
	Value string `json:"value"` // an address or a range
}

// networkRule is kept and lets nobody in: there are no virtual networks here.
type networkRule struct {
	ID            string `json:"id"`
	IgnoreMissing *bool  `json:"ignoreMissingVnetServiceEndpoint,omitempty"`
}

// Limits of the rules.
const (
	maxIPRules      = 1000
	maxNetworkRules = 200
	maxNetworkID    = 2048
)

const (
	trustedServices = "AzureServices"
	allowAll        = "Allow"
	denyAll         = "Deny"
	publicOn        = "Enabled"
)

func (n *networkACLs) check() error {
	if n == nil {
		return nil
	}
	if err := oneOf(n.Bypass, "properties.networkAcls.bypass", trustedServices, "None"); err != nil {
		return err
	}
	if err := oneOf(n.Default, "properties.networkAcls.defaultAction", allowAll, denyAll); err != nil {
		return err
	}
	ips, networks := or(n.IPs, nil), or(n.Networks, nil)
	if len(ips) > maxIPRules || len(networks) > maxNetworkRules {
		return invalid("properties.networkAcls", fmt.Sprintf("has more than %d IP rules or %d network rules", maxIPRules, maxNetworkRules))
	}
	for i, rule := range ips {
		if _, err := rule.prefix(); err != nil {
			return invalid(fmt.Sprintf("properties.networkAcls.ipRules[%d].value", i), "must be an address or a range such as 10.0.0.0/8")
		}
	}
	for i, rule := range networks {
		if rule.ID == "" || len(rule.ID) > maxNetworkID {
			return invalid(fmt.Sprintf("properties.networkAcls.virtualNetworkRules[%d].id", i), "must be the id of a subnet")
		}
	}
	return nil
}

func (r ipRule) prefix() (netip.Prefix, error) {
	if strings.Contains(r.Value, "/") {
		p, err := netip.ParsePrefix(r.Value)
		return p.Masked(), err
	}
	addr, err := netip.ParseAddr(r.Value)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, errors.New("no address")
	}
	addr = addr.Unmap()
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// over gives the rules with those said put in.
func (n *networkACLs) over(before *networkACLs) *networkACLs {
	if n == nil || before == nil {
		return pick(n, before)
	}
	return &networkACLs{
		Bypass: pick(n.Bypass, before.Bypass), Default: pick(n.Default, before.Default),
		IPs: pick(n.IPs, before.IPs), Networks: pick(n.Networks, before.Networks),
	}
}

// network gives the rules as decisions need them. What cannot be understood lets
// nobody in.
func (p *properties) network() Network {
	n := Network{Public: strings.EqualFold(or(p.Public, publicOn), publicOn), TrustedService: true}
	if p.ACLs == nil {
		return n
	}
	n.TrustedService = strings.EqualFold(or(p.ACLs.Bypass, trustedServices), trustedServices)
	n.Deny = !strings.EqualFold(or(p.ACLs.Default, allowAll), allowAll)
	for _, rule := range or(p.ACLs.IPs, nil) {
		if prefix, err := rule.prefix(); err == nil {
			n.Allowed = append(n.Allowed, prefix)
		}
	}
	return n
}

// admits reports whether an address is let in when public access is on.
func (n Network) admits(addr netip.Addr) bool {
	if !n.Deny {
		return true
	}
	addr = addr.Unmap().WithZone("")
	for _, prefix := range n.Allowed {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}
