package entra

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/token"
)

// Mode is what a mapping proves itself by to Entra.
type Mode string

// Modes.
const (
	Workload    Mode = "workload"    // a token of another issuer, in a file
	Secret      Mode = "secret"      // a client secret, in a file
	Certificate Mode = "certificate" // a certificate with its key, in a file: PEM, or PKCS #12 without password
	Machine     Mode = "machine"     // the managed identity of the machine that Latchkey runs on
)

// DefaultAuthorityHost is that of the public cloud.
const DefaultAuthorityHost = "https://login.microsoftonline.com"

// maxResource is more than any resource has, in bytes.
const maxResource = 1024

// Mapping says what an identity is in Entra.
type Mapping struct {
	// Identity is the resource id of a user-assigned identity or of an app, or the
	// name of a function app, for its own identity. Names of user-assigned identities
	// and of container apps are not unique, so that they need the whole id. Case does
	// not count.
	Identity string
	Mode     Mode

	TenantID string // not for Machine
	ClientID string // for Machine, "" is the machine's own identity

	// The files are read anew when a token is needed, and what they held last counts
	// while they cannot be read. Secrets and certificates that others on the machine
	// may read are refused.
	SecretFile      string // for Secret
	CertificateFile string // for Certificate
	TokenFile       string // for Workload

	AuthorityHost            string // https URL; "" is DefaultAuthorityHost
	DisableInstanceDiscovery bool   // for authorities that Entra does not know

	// Resources are those the mapping is for: "https://storage.azure.com" and what
	// is below it, "https://*.azure.com" for every host of a domain, or an app's id.
	// None stands for every resource that is not ours.
	Resources []string
}

var (
	tenantForm = regexp.MustCompile(`^[A-Za-z0-9.-]{1,253}$`)
	guidForm   = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)
)

// check finds what can never work.
func (m Mapping) check() error {
	if m.Identity == "" || strings.Contains(m.Identity, "/") && !strings.HasPrefix(m.Identity, "/") {
		return invalid("identity is neither a resource id nor the name of an app")
	}
	if err := m.checkMode(); err != nil {
		return err
	}
	if m.AuthorityHost != "" {
		if u, err := url.Parse(m.AuthorityHost); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
			return invalid("authorityHost is no https URL of a host")
		}
	}
	for i, pattern := range m.Resources {
		if strings.TrimSpace(pattern) == "" || strings.Contains(pattern, "*") && domainOf(pattern) == nil {
			return invalid(fmt.Sprintf("resources[%d] is neither a resource nor a pattern such as https://*.azure.com", i))
		}
	}
	return nil
}

func (m Mapping) checkMode() error {
	files := map[Mode]string{Secret: m.SecretFile, Certificate: m.CertificateFile, Workload: m.TokenFile}
	if _, known := files[m.Mode]; !known && m.Mode != Machine {
		return invalid(fmt.Sprintf("mode %q is none of workload, secret, certificate and machine", m.Mode))
	}
	for mode, field := range map[Mode]string{Secret: "secretFile", Certificate: "certificateFile", Workload: "tokenFile"} {
		if mode == m.Mode && files[mode] == "" {
			return invalid(fmt.Sprintf("mode %q needs %s", mode, field))
		}
		if mode != m.Mode && files[mode] != "" {
			return invalid(fmt.Sprintf("%s is for mode %q, not %q", field, mode, m.Mode))
		}
	}
	switch {
	case m.ClientID != "" && !guidForm.MatchString(m.ClientID):
		return invalid("clientId is no GUID")
	case m.Mode == Machine && m.TenantID != "":
		return invalid(`tenantId is not for mode "machine": the machine's identity has its own`)
	case m.Mode != Machine && m.ClientID == "":
		return invalid(fmt.Sprintf("mode %q needs clientId", m.Mode))
	case m.Mode != Machine && !tenantForm.MatchString(m.TenantID):
		return invalid("tenantId is neither a GUID nor a domain")
	}
	return nil
}

func invalid(message string) error { return problem.New(problem.Invalid, message) }

// file gives the file that the mapping needs, "" for none.
func (m Mapping) file() string { return m.SecretFile + m.CertificateFile + m.TokenFile }

// isFor says whether the mapping is for an identity that exists.
func (m Mapping) isFor(who identity.Assigned) bool {
	if who.Dangling() || who.ResourceID == "" {
		return false
	}
	if strings.EqualFold(strings.TrimRight(m.Identity, "/"), strings.TrimRight(who.ResourceID, "/")) {
		return true
	}
	at := strings.LastIndex(who.ResourceID, "/") + 1
	return who.System && strings.EqualFold(m.Identity, who.ResourceID[at:]) && strings.HasSuffix(strings.ToLower(who.ResourceID[:at]), functionApps)
}

// functionApps is what ids of function apps have before the name. Names of others,
// such as container apps, are not unique: anybody could make one of the same name.
const functionApps = "/providers/microsoft.web/sites/"

// covers says whether the mapping is for a resource; named asks for one that is named
// without a wildcard.
func (m Mapping) covers(resource string, named bool) bool {
	if !plausible(resource) {
		return false
	}
	if len(m.Resources) == 0 {
		return !named
	}
	for _, pattern := range m.Resources {
		if named && token.SameAudience(pattern, resource) || !named && matches(pattern, resource) {
			return true
		}
	}
	return false
}

// plausible keeps out what would not stay one scope.
func plausible(resource string) bool {
	return resource != "" && len(resource) <= maxResource &&
		!strings.ContainsFunc(resource, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) })
}

// matches says whether a pattern covers a resource.
func matches(pattern, resource string) bool {
	if domain := domainOf(pattern); domain != nil {
		u, err := url.Parse(token.Resource(resource))
		return err == nil && u.User == nil && strings.EqualFold(u.Scheme, domain.Scheme) &&
			len(u.Host) > len(domain.Host) && strings.EqualFold(u.Host[len(u.Host)-len(domain.Host):], domain.Host)
	}
	if token.SameAudience(pattern, resource) {
		return true
	}
	below := token.Resource(pattern) + "/"
	return len(resource) > len(below) && strings.EqualFold(resource[:len(below)], below)
}

// domainOf gives the scheme and, with a dot before it, the domain of a pattern such
// as https://*.azure.com; nil for another form.
func domainOf(pattern string) *url.URL {
	scheme, host, ok := strings.Cut(strings.TrimRight(pattern, "/"), "://*.")
	if !ok || scheme == "" || host == "" || strings.ContainsAny(host, "*/?#@") {
		return nil
	}
	return &url.URL{Scheme: scheme, Host: "." + host}
}
