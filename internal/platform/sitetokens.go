package platform

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/functions"
	"github.com/latchkey/latchkey/internal/funchost/access"
	"github.com/latchkey/latchkey/internal/state"
)

// siteKeyKey is where the secret lies from which the keys of site tokens are made, and
// those of entity tags.
const siteKeyKey state.Key = "/platform/site-key"

// siteTokenLife is how long a token for an app's host is good.
const siteTokenLife = 5 * time.Minute

func (n *Node) openSiteKey(ctx context.Context) error {
	doc, err := createOnce(ctx, n.store, siteKeyKey, func() ([]byte, error) {
		key := make([]byte, 32)
		_, err := rand.Read(key)
		return key, err
	})
	n.siteKey = doc.Value
	return err
}

// tokenKey gives the key of an app's site tokens: one for each life of the app.
func (n *Node) tokenKey(a app.App) string {
	mac := hmac.New(sha256.New, n.siteKey)
	mac.Write([]byte(a.UID))
	return hex.EncodeToString(mac.Sum(nil))
}

// tagKey gives the secret that entity tags of an app's access keys are made with:
// equal keys of two apps have other tags.
func (n *Node) tagKey(a app.App) []byte {
	mac := hmac.New(sha256.New, n.siteKey)
	mac.Write([]byte("tags of keys\x00" + a.UID))
	return mac.Sum(nil)
}

// adminToken makes a token for the runtime API of an app, for functions.Config.
func (n *Node) adminToken(ctx context.Context, f functions.App) (string, error) {
	a, err := n.apps.Get(ctx, f.ID)
	if err != nil {
		return "", err
	}
	return access.Sign(n.tokenKey(a), a.Name, n.cfg.Clock, siteTokenLife)
}
