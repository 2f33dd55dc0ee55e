package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Prefix is where the keys are in the state.
const Prefix state.Key = "/token/"

const (
	keysKey = Prefix + "keys"
	keyBits = 2048
)

// storedKey is a signing key as it is kept; the store seals it.
type storedKey struct {
	ID          string    `json:"kid"`
	Created     time.Time `json:"created"`
	Signs       time.Time `json:"signs"`            // signs from then on, until another does
	Retires     time.Time `json:"retires,omitzero"` // is gone from then on; zero while no other takes over
	Private     []byte    `json:"private"`          // PKCS #8
	Certificate []byte    `json:"certificate"`      // self-signed, DER, for the key set

	// What open derives from Private.
	algorithm Algorithm
	private   crypto.Signer
	signer    jose.Signer
}

// keySet is all keys of a document, oldest first. It does not change.
type keySet struct {
	keys     []*storedKey
	revision state.Revision
}

// newKey makes a key that signs from a time on. Its id is the thumbprint of its
// certificate, as the cloud's are.
func newKey(algorithm Algorithm, now, signs time.Time) (*storedKey, error) {
	private, err := generate(algorithm)
	if err != nil {
		return nil, problem.Wrap(problem.Internal, "no signing key can be generated", err)
	}
	certificate, err := selfSigned(private, now)
	if err != nil {
		return nil, problem.Wrap(problem.Internal, "no certificate can be made for the signing key", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, problem.Wrap(problem.Internal, "the signing key cannot be encoded", err)
	}
	k := &storedKey{Created: now, Signs: signs, Private: der, Certificate: certificate}
	k.ID = k.thumbprint()
	return k, k.open()
}

func generate(algorithm Algorithm) (crypto.Signer, error) {
	if algorithm == ES256 {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return rsa.GenerateKey(rand.Reader, keyBits)
}

func selfSigned(private crypto.Signer, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "Latchkey token signing"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(5, 0, 0),
	}
	return x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
}

func (k *storedKey) thumbprint() string {
	sum := sha1.Sum(k.Certificate)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// open makes a key that was read ready for use.
func (k *storedKey) open() error {
	parsed, err := x509.ParsePKCS8PrivateKey(k.Private)
	if err != nil {
		return err
	}
	var ok bool
	if k.private, k.algorithm, ok = usable(parsed); !ok || k.ID == "" {
		return errors.New("it is no RSA or P-256 key with an id")
	}
	options := (&jose.SignerOptions{}).WithType("JWT").WithHeader("x5t", k.thumbprint()).WithHeader("kid", k.ID)
	k.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.algorithm), Key: k.private}, options)
	return err
}

// usable gives a parsed key with the one algorithm that it is good for.
func usable(parsed any) (crypto.Signer, Algorithm, bool) {
	switch private := parsed.(type) {
	case *rsa.PrivateKey:
		return private, RS256, true
	case *ecdsa.PrivateKey:
		return private, ES256, private.Curve == elliptic.P256()
	}
	return nil, "", false
}

func decodeKeys(doc state.Document) (*keySet, error) {
	set := &keySet{revision: doc.Revision}
	err := json.Unmarshal(doc.Value, &set.keys)
	for i, k := range set.keys {
		if err == nil && k == nil {
			err = fmt.Errorf("key %d is null", i)
		}
		if err == nil {
			err = k.open()
		}
	}
	if err != nil {
		return nil, problem.Wrap(problem.Undecryptable, "the token signing keys cannot be understood", err).
			WithNext("restore the state from a backup, or delete the document " + string(keysKey) + " to void all tokens and begin with new keys")
	}
	return set, nil
}

// signing gives the key that signs now: the last one whose time has come. If there
// is none, the clock was set back after keys were replaced, in a drill or because
// it had been wrong; the first one to come signs then, or nobody could sign in and
// put that right. It verifies already. nil if all are gone.
func (s *keySet) signing(now time.Time) *storedKey {
	var found, next *storedKey
	for _, k := range s.keys {
		switch {
		case k.gone(now):
		case k.Signs.After(now):
			if next == nil || k.Signs.Before(next.Signs) {
				next = k
			}
		case found == nil || !k.Signs.Before(found.Signs):
			found = k
		}
	}
	if found == nil {
		return next
	}
	return found
}

// byID gives a key that verifies now.
func (s *keySet) byID(id string, now time.Time) *storedKey {
	for _, k := range s.keys {
		if k.ID == id && !k.gone(now) {
			return k
		}
	}
	return nil
}

func (k *storedKey) gone(now time.Time) bool { return !k.Retires.IsZero() && !now.Before(k.Retires) }

// current gives the keys: those followed, or else read from the store and made if
// there are none.
func (a *Authority) current(ctx context.Context) (*keySet, error) {
	if set := a.keys.Load(); set != nil && set.signing(a.cfg.Clock.Now()) != nil {
		return set, nil
	}
	return a.load(ctx)
}

func (a *Authority) load(ctx context.Context) (*keySet, error) {
	doc, err := a.cfg.Store.Get(ctx, keysKey)
	if errors.Is(err, state.ErrNotFound) {
		return a.first(ctx)
	}
	if err != nil {
		return nil, err
	}
	set, err := decodeKeys(doc)
	if err == nil && set.signing(a.cfg.Clock.Now()) == nil {
		err = problem.New(problem.Internal, "no token signing key is in force; the clock of this machine may be wrong")
	}
	return set, err
}
