// Package armclient owns the client side of the management API for our own
// command line: the credential file, signing in, calls with their errors, and
// reaching hosts of the installation that no name server knows. It does not know
// what the calls are about.
package armclient

import (
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
)

// Credential is how a client signs in, as the owner's file and that of `latchkey
// login` have it. It is a secret.
type Credential struct {
	Endpoint       string    `json:"endpoint"`         // of the management API and the token service: https://host:port
	CAFile         string    `json:"caFile,omitempty"` // of the authority that vouches for it; "" is the system's
	TenantID       string    `json:"tenantId"`
	SubscriptionID string    `json:"subscriptionId"`
	ClientID       string    `json:"clientId"`
	ClientSecret   string    `json:"clientSecret"`
	Expires        time.Time `json:"expires,omitzero"`
}

const maxCredential = 64 << 10

// ReadCredential reads a credential file. The error matches fs.ErrNotExist if
// there is none, problem.Undecryptable if it is damaged.
func ReadCredential(path string) (Credential, error) {
	var c Credential
	text, err := atomicfile.Read(path, maxCredential)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(text, &c); err != nil || c.ClientID == "" || c.Endpoint == "" {
		return c, problem.New(problem.Undecryptable, path+" is no credential file").
			WithNext("move it aside; latchkey up --new-owner-credential makes the owner's anew, latchkey login any other")
	}
	return c, nil
}

// Write writes a credential file, readable by its owner only.
func (c Credential) Write(path string) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(path, append(text, '\n'))
}

// base checks the endpoint: credentials are sent to it, so it must be https.
func (c Credential) base() (*url.URL, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Scheme != "https" || u.Host == "" || (u.Path != "" && u.Path != "/") {
		return nil, problem.New(problem.Invalid, fmt.Sprintf("endpoint %q is not https://host:port", c.Endpoint))
	}
	return u, nil
}
