package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/problem"
)

// DefaultValidity is how long a secret is valid when nothing else is asked for;
// MaxValidity is the most that can be.
const (
	DefaultValidity = 180 * 24 * time.Hour
	MaxValidity     = 100 * 365 * 24 * time.Hour
)

// maxSecret is the longest presented secret that is looked at, in bytes.
const maxSecret = 1024

// hash stands for a secret: an HMAC under a random salt. Secrets are generated
// here from more than 200 bits of randomness, so there is nothing to guess that a
// slow password hash would make dearer; it would only make every sign-in dear.
type hash struct {
	Salt []byte `json:"salt"`
	Sum  []byte `json:"sum"`
}

func newHash(secret string) hash {
	h := hash{Salt: make([]byte, 16)}
	_, _ = rand.Read(h.Salt) // documented never to fail
	h.Sum = h.of(secret)
	return h
}

func (h hash) of(secret string) []byte {
	mac := hmac.New(sha256.New, h.Salt)
	mac.Write([]byte(secret))
	return mac.Sum(nil)
}

// is compares in constant time.
func (h hash) is(secret string) bool { return subtle.ConstantTimeCompare(h.of(secret), h.Sum) == 1 }

const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// newSecret generates 40 characters in the form of the cloud's client secrets
// (three characters, a digit, "Q~", then the rest), by which secret scanners know
// them. Only letters and digits vary: shells and URLs leave those alone.
func newSecret() string {
	return random(letters, 3) + random("0123456789", 1) + "Q~" + random(letters, 34)
}

func random(alphabet string, n int) string {
	size, out := big.NewInt(int64(len(alphabet))), make([]byte, n)
	for i := range out {
		k, _ := rand.Int(rand.Reader, size) // the reader is documented never to fail
		out[i] = alphabet[k.Int64()]
	}
	return string(out)
}

// AddSecret generates a client secret and returns it; it cannot be had again.
// validity <= 0 stands for [DefaultValidity]. Other secrets stay valid, so that
// clients can move to the new one in their own time. It returns problem.NotFound,
// problem.Invalid for a bad name or validity, and problem.Conflict for users and
// when there are [MaxSecrets] already.
func (d *Directory) AddSecret(ctx context.Context, objectID, name string, validity time.Duration) (plain string, s Secret, err error) {
	if validity <= 0 {
		validity = DefaultValidity
	}
	if validity > MaxValidity {
		return "", s, problem.New(problem.Invalid, fmt.Sprintf("validity %s is over the limit of %s", validity, MaxValidity))
	}
	if err := checkName("name", name); err != nil {
		return "", s, err
	}
	now := d.clock.Now().UTC().Truncate(time.Second)
	plain = newSecret()
	s = Secret{ID: uuid.NewString(), Name: name, Hint: plain[:3], Created: now, Expires: now.Add(validity)}
	_, err = d.change(ctx, objectID, func(r *record) error {
		if err := r.room("secrets", len(r.Secrets), MaxSecrets); err != nil {
			return err
		}
		if r.Hashes == nil {
			r.Hashes = map[string]hash{}
		}
		r.Secrets, r.Hashes[s.ID] = append(r.Secrets, s), newHash(plain)
		return nil
	})
	if err != nil {
		return "", Secret{}, err
	}
	return plain, s, nil
}

// room refuses credentials for those who have none, and too many.
func (r *record) room(what string, have, limit int) error {
	switch {
	case r.Kind != ServicePrincipal && what != "federated credentials": // by which users sign in to the portal
		return problem.New(problem.Conflict, fmt.Sprintf("a %s has no %s", r.Kind, what))
	case have >= limit:
		return problem.New(problem.Conflict, fmt.Sprintf("principal %s has %d %s, the most that are allowed", r.ObjectID, have, what)).
			WithNext("remove one that is not used any more")
	}
	return nil
}

// RemoveSecret makes a secret invalid; problem.NotFound if there is none of that
// id. Tokens got with it stay valid until they expire; disable the principal to
// end those.
func (d *Directory) RemoveSecret(ctx context.Context, objectID, secretID string) error {
	_, err := d.change(ctx, objectID, func(r *record) error {
		i := slices.IndexFunc(r.Secrets, func(s Secret) bool { return strings.EqualFold(s.ID, secretID) })
		if i < 0 {
			return problem.New(problem.NotFound, fmt.Sprintf("principal %s has no secret %q", r.ObjectID, clip(secretID)))
		}
		delete(r.Hashes, r.Secrets[i].ID)
		r.Secrets = slices.Delete(r.Secrets, i, i+1)
		return nil
	})
	return err
}

// VerifySecret gives the principal with the app id if the secret is one of its
// own. Else the error is a *[Refused], or that of the store. A wrong secret takes
// as long as a right one, and an app that does not exist as long as one with one
// secret. Whoever does not know a secret does not learn that it has expired or
// that the principal is disabled.
func (d *Directory) VerifySecret(ctx context.Context, appID, secret string) (Principal, Secret, error) {
	r, err := d.client(ctx, appID)
	if err != nil {
		d.decoy.is(secret[:min(len(secret), maxSecret)])
		return Principal{}, Secret{}, err
	}
	s, ok := r.match(secret)
	switch {
	case !ok:
		return Principal{}, Secret{}, refuse(WrongSecret, "")
	case r.Disabled:
		return Principal{}, Secret{}, refuse(Disabled, "")
	case !d.clock.Now().Before(s.Expires):
		return Principal{}, Secret{}, refuse(SecretExpired, fmt.Sprintf("secret %q (%s) expired on %s", s.Name, s.ID, s.Expires.Format(time.DateOnly)))
	}
	d.note(r.ObjectID, s.ID, s.LastUsed)
	return r.public(), s, nil
}

// match compares with every secret, whether or not one has matched already.
func (r record) match(secret string) (found Secret, ok bool) {
	if len(secret) > maxSecret {
		return Secret{}, false
	}
	for _, s := range r.Secrets {
		if h, exists := r.Hashes[s.ID]; exists && h.is(secret) {
			found, ok = s, true
		}
	}
	return found, ok
}

// client finds who claims to have an app id.
func (d *Directory) client(ctx context.Context, appID string) (record, error) {
	r, err := d.byApp(ctx, appID)
	if problem.KindOf(err) == problem.NotFound && err != nil {
		return r, refuse(UnknownApp, "")
	}
	return r, err
}

// Accepts is [Directory.Active] for a token of an epoch: one of an earlier epoch
// than the principal's was made before [Directory.ExpireTokens].
func (d *Directory) Accepts(ctx context.Context, objectID string, epoch int64) (name string, err error) {
	r, err := d.get(ctx, objectID)
	switch {
	case err != nil && problem.KindOf(err) == problem.NotFound:
		return "", refuse(UnknownPrincipal, "")
	case err != nil:
		return "", err
	case r.Disabled:
		return "", refuse(Disabled, "")
	case epoch != r.Epoch:
		return "", refuse(TokensExpired, "")
	}
	return r.Name, nil
}

// ExpireTokens ends all tokens that a principal has at once, wherever they are
// kept; it can get new ones. problem.NotFound if there is no such principal.
func (d *Directory) ExpireTokens(ctx context.Context, objectID string) (Principal, error) {
	return d.change(ctx, objectID, func(r *record) error {
		r.Epoch++
		return nil
	})
}

// Active says whether tokens of a principal count: nil error with its name, or a
// *[Refused] for one that is disabled or gone, or the store's error.
func (d *Directory) Active(ctx context.Context, objectID string) (name string, err error) {
	r, err := d.get(ctx, objectID)
	switch {
	case err != nil && problem.KindOf(err) == problem.NotFound:
		return "", refuse(UnknownPrincipal, "")
	case err != nil:
		return "", err
	case r.Disabled:
		return "", refuse(Disabled, "")
	}
	return r.Name, nil
}
