package identity

import (
	"context"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/problem"
)

// Limits of a certificate.
const (
	minRSA         = 2048    // bits
	maxRSA         = 8192    // bits; larger ones make a signature dear to check
	maxCertificate = 1 << 16 // bytes of PEM text
)

// AddCertificate registers the first certificate in a PEM text. A private key
// beside it is not kept. It returns problem.NotFound, problem.Invalid for what is
// no RSA certificate or has expired, problem.Exists if the principal has it
// already, and problem.Conflict as [Directory.AddSecret] does. An empty name
// stands for the certificate's subject.
func (d *Directory) AddCertificate(ctx context.Context, objectID, name string, text []byte) (Certificate, error) {
	c, err := parseCertificate(name, text)
	if err != nil {
		return c, err
	}
	c.Created = d.clock.Now().UTC().Truncate(time.Second)
	if !c.Created.Before(c.Expires) {
		return c, problem.New(problem.Invalid, "the certificate expired on "+c.Expires.Format(time.DateOnly))
	}
	_, err = d.change(ctx, objectID, func(r *record) error {
		if err := r.room("certificates", len(r.Certificates), MaxCertificates); err != nil {
			return err
		}
		if slices.ContainsFunc(r.Certificates, func(o Certificate) bool { return o.SHA256 == c.SHA256 }) {
			return problem.New(problem.Exists, fmt.Sprintf("principal %s has certificate %s already", r.ObjectID, c.SHA1))
		}
		r.Certificates = append(r.Certificates, c)
		return nil
	})
	return c, err
}

func parseCertificate(name string, text []byte) (c Certificate, err error) {
	if len(text) > maxCertificate {
		return c, problem.New(problem.TooLarge, fmt.Sprintf("the certificate is over the limit of %d bytes", maxCertificate))
	}
	block := firstCertificate(text)
	if block == nil {
		return c, problem.New(problem.Invalid, "there is no PEM block of type CERTIFICATE")
	}
	parsed, err := x509.ParseCertificate(block)
	if err != nil {
		return c, problem.Wrap(problem.Invalid, "the certificate cannot be read", err)
	}
	key, ok := parsed.PublicKey.(*rsa.PublicKey)
	if !ok || key.N.BitLen() < minRSA || key.N.BitLen() > maxRSA {
		return c, problem.New(problem.Invalid, fmt.Sprintf("the certificate's key is not RSA of %d to %d bits", minRSA, maxRSA))
	}
	subject := strings.ToValidUTF8(parsed.Subject.String(), "?")
	if name == "" {
		name = "certificate"
		if subject != "" {
			name = strings.ToValidUTF8(subject[:min(len(subject), MaxName)], "")
		}
	}
	if err := checkName("name", name); err != nil {
		return c, err
	}
	old, sum := sha1.Sum(block), sha256.Sum256(block)
	return Certificate{
		ID: uuid.NewString(), Name: name, Subject: subject,
		SHA1: fmt.Sprintf("%X", old), SHA256: fmt.Sprintf("%X", sum),
		NotBefore: parsed.NotBefore.UTC(), Expires: parsed.NotAfter.UTC(), DER: block,
	}, nil
}

func firstCertificate(text []byte) []byte {
	for {
		block, rest := pem.Decode(text)
		if block == nil || block.Type == "CERTIFICATE" && len(block.Bytes) > 0 {
			if block == nil {
				return nil
			}
			return block.Bytes
		}
		text = rest
	}
}

// RemoveCertificate removes a certificate by its id or SHA-1 thumbprint;
// problem.NotFound if there is none such.
func (d *Directory) RemoveCertificate(ctx context.Context, objectID, id string) error {
	_, err := d.change(ctx, objectID, func(r *record) error {
		i := slices.IndexFunc(r.Certificates, func(c Certificate) bool {
			return strings.EqualFold(c.ID, id) || strings.EqualFold(c.SHA1, id)
		})
		if i < 0 {
			return problem.New(problem.NotFound, fmt.Sprintf("principal %s has no certificate %q", r.ObjectID, clip(id)))
		}
		r.Certificates = slices.Delete(r.Certificates, i, i+1)
		return nil
	})
	return err
}

// VerifyCertificate gives the principal with the app id if the assertion was made
// by it, signed with one of its certificates and meant for us, which isUs says of
// an audience. Else the error is a *[Refused], or that of the store. Whether an
// assertion was presented before is for the caller to know.
func (d *Directory) VerifyCertificate(ctx context.Context, appID string, a Assertion, isUs func(audience string) bool) (Principal, Certificate, error) {
	r, err := d.client(ctx, appID)
	if err != nil {
		return Principal{}, Certificate{}, err
	}
	c, err := r.signer(a)
	if err != nil {
		return Principal{}, Certificate{}, err
	}
	if err := d.checkOwn(r, c, a, isUs); err != nil {
		return Principal{}, Certificate{}, err
	}
	d.note(r.ObjectID, c.ID, c.LastUsed)
	return r.public(), c, nil
}

// signer finds the certificate that signed the assertion.
func (r record) signer(a Assertion) (Certificate, error) {
	for _, c := range r.Certificates {
		if !a.names(c) {
			continue
		}
		parsed, err := x509.ParseCertificate(c.DER)
		if err != nil {
			return c, problem.Wrap(problem.Undecryptable, fmt.Sprintf("certificate %s of principal %s cannot be read", c.SHA1, r.ObjectID), err)
		}
		if !a.signedBy(parsed.PublicKey) {
			return c, refuse(WrongSignature, "certificate "+c.SHA1)
		}
		return c, nil
	}
	return Certificate{}, refuse(UnknownCertificate, "thumbprint "+a.Thumbprint())
}

// checkOwn checks what the client says of itself, once it is known to be it.
func (d *Directory) checkOwn(r record, c Certificate, a Assertion, isUs func(string) bool) error {
	now := d.clock.Now()
	switch {
	case r.Disabled:
		return refuse(Disabled, "")
	case now.Before(c.NotBefore.Add(-Skew)) || !now.Before(c.Expires):
		return refuse(CertificateExpired, "certificate "+c.SHA1)
	case !strings.EqualFold(a.Issuer, r.AppID) || !strings.EqualFold(a.Subject, r.AppID):
		return refuse(WrongIssuer, "iss and sub must both be the client id")
	case !slices.ContainsFunc(a.Audiences, isUs):
		return refuse(WrongAudience, "")
	case a.ID == "":
		return refuse(MalformedAssertion, "there is no jti")
	}
	return a.checkTimes(now)
}
