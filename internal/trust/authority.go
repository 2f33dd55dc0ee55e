// Package trust owns what a machine needs to know of an installation before
// ordinary clients work with it: the certificate authority in the system's store,
// host entries of the apps, and environment variables. It shows what it will
// change before it does, and undoes exactly that. It does not call the
// installation and does not know where its callers have apps and addresses from.
package trust

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	maxCertificate = 64 << 10
	ownerName      = "Latchkey" // begins the name of every authority of ours
)

// Authority is an installation's certificate authority, without its key.
type Authority struct {
	File string // where it was read
	Cert *x509.Certificate
}

// ReadAuthority reads a file with one certificate. It returns problem.NotFound if
// there is none, problem.Undecryptable if the file holds something else.
func ReadAuthority(path string) (Authority, error) {
	text, err := atomicfile.Read(path, maxCertificate)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Authority{}, problem.New(problem.NotFound, "there is no certificate authority at "+path).
			WithNext("start the installation with latchkey up, or name its folder with --data-dir")
	case err != nil:
		return Authority{}, err
	}
	cert, err := onlyCertificate(text)
	if err != nil {
		return Authority{}, problem.Wrap(problem.Undecryptable, path+" is no certificate authority", err).
			WithNext("start the node again: it writes the file anew")
	}
	return Authority{path, cert}, nil
}

func onlyCertificate(text []byte) (*x509.Certificate, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it should hold one certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

// ID tells authorities apart, in names of files and marks.
func (a Authority) ID() string {
	sum := sha256.Sum256(a.Cert.Raw)
	return hex.EncodeToString(sum[:6])
}

// Fingerprint gives the SHA-256 as other tools show it: AB:CD:…
func (a Authority) Fingerprint() string {
	sum := sha256.Sum256(a.Cert.Raw)
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(pairs, ":")
}

// Domains gives the domains that the authority is good for, besides loopback
// addresses.
func (a Authority) Domains() []string { return a.Cert.PermittedDNSDomains }

// Constrained reports whether clients accept the authority for its domains and
// loopback addresses only.
func (a Authority) Constrained() bool {
	c := a.Cert
	if !c.IsCA || !c.PermittedDNSDomainsCritical || len(c.PermittedDNSDomains) == 0 || len(c.PermittedIPRanges) == 0 {
		return false
	}
	for _, domain := range c.PermittedDNSDomains {
		if strings.Trim(domain, ".") == "" {
			return false
		}
	}
	for _, r := range c.PermittedIPRanges {
		ones, _ := r.Mask.Size()
		if !r.IP.IsLoopback() || (r.IP.To4() != nil && ones < 8) || (r.IP.To4() == nil && ones < 128) {
			return false
		}
	}
	return true
}

// fit refuses an authority that a machine should not be made to trust.
func (a Authority) fit(now time.Time) error {
	switch {
	case !a.Constrained():
		return problem.New(problem.Denied, a.File+" is not limited to hosts of the installation, so the system will not be made to trust it").
			WithNext("install an authority that latchkey up made; for any other use the system's own tools")
	case now.After(a.Cert.NotAfter):
		return problem.New(problem.Invalid, a.File+" expired on "+a.Cert.NotAfter.UTC().Format(time.DateOnly))
	}
	return nil
}

func (a Authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Cert.Raw})
}
