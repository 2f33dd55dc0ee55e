package cli

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"time"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/platform/settings"
	"github.com/latchkey/latchkey/internal/problem"
)

// issuerPatience bounds each answer of the portal's issuer.
const issuerPatience = 15 * time.Second

// portalIssuer reads what the settings of the portal's issuer name.
func portalIssuer(o settings.OIDC) (platform.PortalIssuer, error) {
	if o.Issuer == "" {
		return platform.PortalIssuer{}, nil
	}
	p := platform.PortalIssuer{
		Issuer: o.Issuer, ClientID: o.ClientID, Name: o.Title(), Scopes: o.Scopes, GroupsClaim: o.GroupsClaim, Groups: o.GroupOf(),
	}
	if len(p.Scopes) == 0 {
		p.Scopes = []string{"profile"}
	}
	var err error
	if o.ClientSecretFile != "" {
		if p.ClientSecret, err = secretIn("portal.oidc.clientSecretFile", o.ClientSecretFile); err != nil {
			return p, err
		}
	}
	if o.CAFile != "" {
		p.Client, err = clientTrusting("portal.oidc.caFile", o.CAFile)
	}
	return p, err
}

func secretIn(setting, file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", problem.Wrap(problem.Invalid, setting+" cannot be read", err)
	}
	if text = bytes.TrimRight(text, "\r\n"); len(text) == 0 {
		return "", problem.New(problem.Invalid, setting+" "+file+" is empty")
	}
	return string(text), nil
}

// clientTrusting makes a client that trusts a file's certificates besides those that
// the machine trusts.
func clientTrusting(setting, file string) (*http.Client, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, setting+" cannot be read", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, problem.New(problem.Invalid, setting+" "+file+" has no certificates")
	}
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, IdleConnTimeout: time.Minute}
	return &http.Client{Timeout: issuerPatience, Transport: t}, nil
}
