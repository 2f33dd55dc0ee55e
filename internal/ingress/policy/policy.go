// Package policy owns who may come in at an app's ingress: address restrictions,
// pages of other origins, and certificates of clients. It decides about requests
// that it is shown, from settings as the management API takes them. It knows
// neither apps nor where requests go.
package policy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/rs/cors"

	"github.com/latchkey/latchkey/internal/problem"
)

// Settings are what an app says about who may come in. The zero value lets
// everybody in.
type Settings struct {
	IPRestrictions        json.RawMessage // ipSecurityRestrictions
	CORS                  json.RawMessage // corsPolicy
	ClientCertificateMode string          // require, accept, ignore or ""
}

// Policy is what became of settings. It never changes; nil lets everybody in.
type Policy struct {
	allow, deny  []netip.Prefix
	cors         *cors.Cors
	certificates certificates
}

// certificates says what is done about a client's certificate.
type certificates uint8

const (
	ignore certificates = iota
	accept
	require
)

// New understands settings. problem.Invalid names what cannot be: whoever gets it
// must let nobody in, as a restriction that is not understood is still one.
func New(s Settings) (*Policy, error) {
	p := &Policy{}
	if err := p.restrict(s.IPRestrictions); err != nil {
		return nil, err
	}
	if err := p.share(s.CORS); err != nil {
		return nil, err
	}
	switch strings.ToLower(s.ClientCertificateMode) {
	case "", "ignore":
	case "accept":
		p.certificates = accept
	case "require":
		p.certificates = require
	default:
		return nil, problem.New(problem.Invalid, "ingress.clientCertificateMode is none of require, accept and ignore")
	}
	return p, nil
}

// restrict reads address ranges. The platform refuses a mixture of Allow and Deny;
// here an address must then be in an allowed range and in no denied one.
func (p *Policy) restrict(text json.RawMessage) error {
	if len(text) == 0 {
		return nil
	}
	var rules []struct {
		Action string `json:"action"`
		Range  string `json:"ipAddressRange"`
	}
	if err := json.Unmarshal(text, &rules); err != nil {
		return problem.Wrap(problem.Invalid, "ingress.ipSecurityRestrictions is not a list of rules", err)
	}
	for i, r := range rules {
		field := fmt.Sprintf("ingress.ipSecurityRestrictions[%d]", i)
		prefix, err := prefixOf(r.Range)
		if err != nil {
			return problem.Wrap(problem.Invalid, field+".ipAddressRange is no address range", err).WithNext("write it as 10.1.0.0/16")
		}
		switch strings.ToLower(r.Action) {
		case "allow":
			p.allow = append(p.allow, prefix)
		case "deny":
			p.deny = append(p.deny, prefix)
		default:
			return problem.New(problem.Invalid, field+".action is neither Allow nor Deny")
		}
	}
	return nil
}

func prefixOf(text string) (netip.Prefix, error) {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix.Masked(), err
}

// AdmitsAddress reports whether a caller of an address may come in. An address
// that is not valid is in no range.
func (p *Policy) AdmitsAddress(caller netip.Addr) bool {
	if p == nil || len(p.allow)+len(p.deny) == 0 {
		return true
	}
	caller = caller.Unmap().WithZone("")
	within := func(list []netip.Prefix) bool {
		return slices.ContainsFunc(list, func(one netip.Prefix) bool { return one.Contains(caller) })
	}
	if !caller.IsValid() || within(p.deny) {
		return false
	}
	return len(p.allow) == 0 || within(p.allow)
}

// AdmitsCertificate reports whether a request has the certificate that is asked
// for. Whose it is, is for the app to judge.
func (p *Policy) AdmitsCertificate(r *http.Request) bool {
	return p == nil || p.certificates != require || r.TLS != nil && len(r.TLS.PeerCertificates) > 0
}

// ForwardsCertificate reports whether the app wants to see clients' certificates.
func (p *Policy) ForwardsCertificate() bool { return p != nil && p.certificates != ignore }

// share reads the policy for pages of other origins.
func (p *Policy) share(text json.RawMessage) error {
	if len(text) == 0 || string(text) == "null" {
		return nil
	}
	var s struct {
		Origins     []string `json:"allowedOrigins"`
		Methods     []string `json:"allowedMethods"`
		Headers     []string `json:"allowedHeaders"`
		Expose      []string `json:"exposeHeaders"`
		MaxAge      int      `json:"maxAge"`
		Credentials bool     `json:"allowCredentials"`
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return problem.Wrap(problem.Invalid, "ingress.corsPolicy cannot be understood", err)
	}
	if len(s.Origins) == 0 {
		return nil // no origin is allowed, which is so without a policy as well
	}
	if slices.Contains(s.Methods, "*") {
		s.Methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
	}
	p.cors = cors.New(cors.Options{
		AllowedOrigins: s.Origins, AllowedMethods: s.Methods, AllowedHeaders: s.Headers, ExposedHeaders: s.Expose,
		MaxAge: max(s.MaxAge, 0), AllowCredentials: s.Credentials, OptionsSuccessStatus: http.StatusOK,
	})
	return nil
}

// Preflight answers a page's question whether it may ask, if r is one; it reports
// whether it did.
func (p *Policy) Preflight(w http.ResponseWriter, r *http.Request) bool {
	if p == nil || p.cors == nil || r.Method != http.MethodOptions || r.Header.Get("Origin") == "" || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	p.cors.HandlerFunc(w, r)
	return true
}

// fields are what a server says to pages of other origins.
var fields = [...]string{
	"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers",
	"Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age",
}

// Shares reports whether answers to r need [Policy.Decorate].
func (p *Policy) Shares(r *http.Request) bool {
	return p != nil && p.cors != nil && len(r.Header["Origin"]) > 0
}

// Decorate makes the head of an answer say who may read it, in place of what the
// app says.
func (p *Policy) Decorate(h http.Header, r *http.Request) {
	said := sink{}
	p.cors.HandlerFunc(said, r)
	for _, name := range fields {
		delete(h, name)
	}
	for name, values := range said {
		if name == "Vary" {
			values = append(h["Vary"], values...)
		}
		h[name] = values
	}
}

// sink is an answer of which only the head is of interest.
type sink http.Header

func (s sink) Header() http.Header         { return http.Header(s) }
func (s sink) Write(b []byte) (int, error) { return len(b), nil }
func (s sink) WriteHeader(int)             {}
