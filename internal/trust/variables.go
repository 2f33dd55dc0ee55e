package trust

import (
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Variable is one variable of the environment.
type Variable struct{ Name, Value string }

// Installation is what variables tell clients; what is empty is left out.
type Installation struct {
	CAFile, BundleFile       string // the authority alone; with the system's
	Endpoint                 string // https://host:port
	TenantID, SubscriptionID string
	ClientID, ClientSecret   string
}

// Variables gives the variables by which client libraries and tools find and
// trust the installation. The client's id and secret are among them only if they
// are given.
func (i Installation) Variables() []Variable {
	host := ""
	if u, err := url.Parse(i.Endpoint); err == nil {
		host = u.Host
	}
	providers := ""
	if host != "" {
		providers = "none" // there is nothing to register
	}
	all := []Variable{
		{"SSL_CERT_FILE", i.BundleFile}, {"CURL_CA_BUNDLE", i.BundleFile}, {"REQUESTS_CA_BUNDLE", i.BundleFile}, {"NODE_EXTRA_CA_CERTS", i.CAFile},
		{"AZURE_AUTHORITY_HOST", i.Endpoint}, {"AZURE_TENANT_ID", i.TenantID}, {"AZURE_SUBSCRIPTION_ID", i.SubscriptionID},
		{"AZURE_CLIENT_ID", i.ClientID}, {"AZURE_CLIENT_SECRET", i.ClientSecret},
		{"ARM_METADATA_HOSTNAME", host}, {"ARM_TENANT_ID", i.TenantID}, {"ARM_SUBSCRIPTION_ID", i.SubscriptionID},
		{"ARM_RESOURCE_PROVIDER_REGISTRATIONS", providers},
		{"ARM_CLIENT_ID", i.ClientID}, {"ARM_CLIENT_SECRET", i.ClientSecret},
	}
	var given []Variable
	for _, v := range all {
		if v.Value != "" {
			given = append(given, v)
		}
	}
	return given
}

// Shells are the forms that Assignment knows.
var Shells = [...]string{"bash", "fish", "powershell"}

// Assignment gives the line that sets the variable in a shell, whatever the value
// is made of. It returns problem.Unsupported for other shells, problem.Invalid for
// values of more than one line.
func (v Variable) Assignment(shell string) (string, error) {
	if strings.ContainsAny(v.Value, "\x00\r\n") {
		return "", problem.New(problem.Invalid, "the value of "+v.Name+" has more than one line")
	}
	switch shell {
	case "bash":
		return "export " + v.Name + "='" + strings.ReplaceAll(v.Value, "'", `'\''`) + "'", nil
	case "fish":
		return "set -gx " + v.Name + " '" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(v.Value) + "'", nil
	case "powershell":
		// Typographic quotes end a text there too.
		quoted := strings.NewReplacer("'", "''", "\u2018", "\u2018\u2018", "\u2019", "\u2019\u2019", "\u201a", "\u201a\u201a", "\u201b", "\u201b\u201b").Replace(v.Value)
		return "$env:" + v.Name + " = '" + quoted + "'", nil
	}
	return "", problem.New(problem.Unsupported, "shell "+shell+" is not known").WithNext("use " + strings.Join(Shells[:], ", "))
}
