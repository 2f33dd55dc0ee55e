package token

import (
	"context"
	"encoding/base64"
	"math/big"
)

// JWK is a published key.
type JWK struct {
	KeyType string   `json:"kty"`
	Use     string   `json:"use"`
	KeyID   string   `json:"kid"`
	X5T     string   `json:"x5t"`
	N       string   `json:"n"`
	E       string   `json:"e"`
	X5C     []string `json:"x5c"`
	Issuer  string   `json:"issuer,omitempty"`
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
		list = append(list, JWK{
			KeyType: "RSA", Use: "sig", KeyID: k.ID, X5T: k.thumbprint(),
			N:   base64.RawURLEncoding.EncodeToString(k.public.N.Bytes()),
			E:   base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.public.E)).Bytes()),
			X5C: []string{base64.StdEncoding.EncodeToString(k.Certificate)},
		})
	}
	return list, nil
}
