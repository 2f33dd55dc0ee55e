package manage

import (
	"context"
	"time"
)

const platformPath = "/providers/Latchkey.Platform"

// Node is a node of an installation.
type Node struct {
	Name       string    `json:"name"`
	Version    string    `json:"version"`
	Management string    `json:"management"`
	Alive      bool      `json:"alive"`
	Seen       time.Time `json:"seen"`
}

// Info is what an installation says of itself.
type Info struct {
	TenantID       string    `json:"tenantId"`
	SubscriptionID string    `json:"subscriptionId"`
	Version        string    `json:"version"`
	Created        time.Time `json:"created"`
	State          string    `json:"state"`
	Keyset         string    `json:"keyset"`
	CAFingerprint  string    `json:"caFingerprint"`
	Nodes          []Node    `json:"nodes"`
}

// Info reads what the installation is.
func (i *Installation) Info(ctx context.Context) (info Info, err error) {
	err = i.get(ctx, platformPath+"/installation", &info)
	return info, err
}

// RotateSeal makes a new data key and seals everything with it; it gives the
// number of documents there are.
func (i *Installation) RotateSeal(ctx context.Context) (sealed int, err error) {
	var answer struct {
		Sealed int `json:"sealed"`
	}
	err = i.post(ctx, platformPath+"/seal/rotate", nil, &answer)
	return answer.Sealed, err
}

// RewrapSeal puts the keyset under another key-encryption key: key, a secret, or a
// new one in the file if it is "".
func (i *Installation) RewrapSeal(ctx context.Context, key string) error {
	var in any
	if key != "" {
		in = map[string]string{"key": key}
	}
	return i.post(ctx, platformPath+"/seal/rewrap", in, nil)
}

// RotateTokens publishes a new key that signs tokens.
func (i *Installation) RotateTokens(ctx context.Context) error {
	return i.post(ctx, platformPath+"/tokens/rotate", nil, nil)
}
