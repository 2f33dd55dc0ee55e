package console

import (
	"net/http"
	"strings"
)

// ofFronts are the beginnings of headers by which what stands in front of apps tells
// them who asks. Apps believe them where nobody else can reach them; whoever may look at
// an app in the portal must not become somebody else by them.
var ofFronts = [...]string{
	"x-ms-client-principal", "x-ms-token-", "x-ms-platform-", "x-ms-site-", "x-arr-", "x-waws-", "x-appservice-", "x-azure-", "x-original-",
	"x-forwarded-", "forwarded", "x-real-ip", "x-client-", "x-cluster-client-", "client-ip", "true-client-ip", "cf-connecting-ip", "disguised-host",
	"was-default-hostname", "x-ssl-", "ssl-client-", "x-amzn-oidc-", "x-goog-",
}

// Vouched reports whether a header is one that only what stands in front of an app says.
// An underscore counts as a dash: programs take them for the same.
func Vouched(name string) bool {
	name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	if name == "x-forwarded-proto" { // says how, not who
		return false
	}
	for _, begin := range ofFronts {
		if strings.HasPrefix(name, begin) {
			return true
		}
	}
	return false
}

// fromOutside is what the front end of the platform adds to requests of strangers. An app
// that trusts such a front end takes a request without it for one of the platform
// itself, which needs no key.
const fromOutside = "X-Arr-Log-Id"

// AsStranger makes a request one of a stranger, for apps that trust what stands in front
// of them: nothing of that vouches for requests that the portal makes.
func AsStranger(r *http.Request) {
	for name := range r.Header {
		if Vouched(name) {
			delete(r.Header, name)
		}
	}
	r.Header[fromOutside] = []string{"latchkey-portal"}
}
