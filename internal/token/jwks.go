package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"math/big"

	"github.com/latchkey/latchkey/internal/problem"
)

const coordinate = 32 // bytes of one on P-256

// JWK is a published key. RSA keys have N and E, and no alg, as the cloud's; EC
// keys have Algorithm, Curve, X and Y.
type JWK struct {
	KeyType   string    `json:"kty"`
	Use       string    `json:"use"`
	Algorithm Algorithm `json:"alg,omitempty"`
	KeyID     string    `json:"kid"`
	X5T       string    `json:"x5t"`
	N         string    `json:"n,omitempty"`
	E         string    `json:"e,omitempty"`
	Curve     string    `json:"crv,omitempty"`
	X         string    `json:"x,omitempty"`
	Y         string    `json:"y,omitempty"`
	X5C       []string  `json:"x5c"`
	Issuer    string    `json:"issuer,omitempty"`
}

// JWKS gives the keys that sign, will sign, or have signed tokens that may still
// be valid. Errors are the store's.
func (a *Authority) JWKS(ctx context.Context) ([]JWK, error) {
	set, err := a.current(ctx)
	if err != nil {
		return nil, err
	}
	var list []JWK
	for _, k := range living(set.keys, a.cfg.Clock.Now()) {
		j, err := k.jwk()
		if err != nil {
			return nil, problem.Wrap(problem.Internal, "the key "+k.ID+" cannot be published", err)
		}
		list = append(list, j)
	}
	return list, nil
}

func (k *storedKey) jwk() (JWK, error) {
	j := JWK{Use: "sig", KeyID: k.ID, X5T: k.thumbprint(), X5C: []string{base64.StdEncoding.EncodeToString(k.Certificate)}}
	encode := base64.RawURLEncoding.EncodeToString
	switch public := k.private.Public().(type) {
	case *rsa.PublicKey:
		j.KeyType, j.N, j.E = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			return JWK{}, err
		}
		j.KeyType, j.Algorithm, j.Curve = "EC", ES256, "P-256"
		j.X, j.Y = encode(point[1:1+coordinate]), encode(point[1+coordinate:])
	}
	return j, nil
}
