package codec

import (
	"fmt"
	"net"
	"regexp"
	"strings"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// TakeOverSetting names the app setting behind Config.TakeOver.
const TakeOverSetting = "LATCHKEY_KEYS_OF"

// SiteOf gives an app's name with its slot as in host names: orders-staging; "" if
// settings do not say it.
func SiteOf(setting func(name string) string) string {
	site := setting("WEBSITE_SITE_NAME")
	if slot := setting("WEBSITE_SLOT_NAME"); site != "" && slot != "" && !strings.EqualFold(slot, "production") {
		site += "-" + slot
	}
	return strings.ToLower(site)
}

// domains are those under which the platform gives each app a name of its own.
var domains = []string{".azurewebsites.net", ".azurewebsites.us", ".chinacloudsites.cn"}

// belongs returns problem.Conflict, naming both apps, for a document that another app
// has written. A document that does not say who wrote it, in a way that can be
// compared, is taken for the app's own.
func (c *Codec) belongs(doc keystore.Doc, hostName string) error {
	own := strings.ToLower(c.cfg.App)
	if own == "" {
		own = appAt(c.cfg.HostName, domains)
	}
	host := bare(hostName)
	owner := appAt(hostName, append(c.ownDomain(), domains...))
	if own == "" || owner == "" || host == bare(c.cfg.HostName) || sameApp(own, owner) || c.takenOver(owner, host) {
		return nil
	}
	return problem.New(problem.Conflict, fmt.Sprintf("key document %q belongs to app %q, whose host is %q, and this is app %q", string(doc), owner, host, own)).
		WithNext("give each app a place of its own for its keys; if these are to be the keys of this app, set " + TakeOverSetting + "=" + owner)
}

func (c *Codec) takenOver(owner, host string) bool {
	return strings.EqualFold(c.cfg.TakeOver, owner) || bare(c.cfg.TakeOver) == host
}

// ownDomain gives the domain of this app's host if apps have names of their own in it:
// this one has.
func (c *Codec) ownDomain() []string {
	label, rest, ok := strings.Cut(bare(c.cfg.HostName), ".")
	if !ok || rest == "" || c.cfg.App == "" || !strings.EqualFold(label, c.cfg.App) {
		return nil
	}
	return []string{"." + rest}
}

// appAt gives the app that has a host name in one of the domains; "" for names that are
// of no single app, such as localhost.
func appAt(hostName string, domains []string) string {
	host := bare(hostName)
	for _, domain := range domains {
		if name, ok := strings.CutSuffix(host, domain); ok && name != "" {
			return labelOf(name)
		}
	}
	return ""
}

// bare takes off the port and the case.
func bare(hostName string) string {
	host := strings.ToLower(strings.TrimSpace(hostName))
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if net.ParseIP(host) != nil {
		return ""
	}
	return host
}

// unique is what the platform appends to names of apps in host names that have a
// region.
var unique = regexp.MustCompile(`-[a-z0-9]{16}$`)

func labelOf(name string) string {
	label, region, _ := strings.Cut(name, ".")
	if region != "" {
		label = unique.ReplaceAllString(label, "")
	}
	return label
}

// longName is how long a name is at least that the platform cut off to append
// something.
const longName = 40

func sameApp(own, owner string) bool {
	return own == owner || len(owner) >= longName && strings.HasPrefix(own, owner)
}
