package secrets

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/vault"
)

// Where secrets are kept. The head of a secret has its latest version; the others
// lie below the secret's UID, so that one that is made anew under the same name has
// none of them. Deleted heads lie apart. due has the deleted ones of all vaults in
// the order of their times; garbage has UIDs whose versions are to be removed, or
// are not yet those of a secret.
const (
	root    state.Key = "/vaults/"
	due     state.Key = "/vault-due/"
	garbage state.Key = "/vault-garbage/"
	heads             = "/heads/"
)

func headsOf(uid string) state.Key   { return root + state.Key(uid) + heads }
func deletedOf(uid string) state.Key { return root + state.Key(uid) + "/deleted/" }
func garbageOf(uid string) state.Key { return garbage + state.Key(uid) + "/" }

func versionsOf(uid, secret string) state.Key {
	return root + state.Key(uid) + "/versions/" + state.Key(secret) + "/"
}

func dueKey(uid, name string, at time.Time) state.Key {
	return due + state.Key(fmt.Sprintf("%012d/%s/%s", at.Add(time.Second-1).Unix(), uid, name))
}

// version is one version as it is kept.
type version struct {
	ID          string            `json:"id"`
	Value       string            `json:"value"`
	ContentType string            `json:"contentType,omitempty"`
	Disabled    bool              `json:"disabled,omitempty"`
	NotBefore   *int64            `json:"nbf,omitempty"` // Unix time
	Expires     *int64            `json:"exp,omitempty"` // likewise
	Created     time.Time         `json:"created"`
	Updated     time.Time         `json:"updated"`
	Tags        map[string]string `json:"tags,omitempty"`
	Previous    string            `json:"previous,omitempty"`
}

// head is a secret as it is kept.
type head struct {
	UID    string  `json:"uid"`
	Name   string  `json:"name"`
	Latest version `json:"latest"`
	// Of a deleted secret:
	DeletedAt time.Time `json:"deletedAt,omitzero"`
	PurgeAt   time.Time `json:"purgeAt,omitzero"`

	revision state.Revision
}

func decodeHead(doc state.Document) (h head, err error) {
	if err := json.Unmarshal(doc.Value, &h); err != nil {
		return h, damaged(doc.Key)
	}
	h.revision = doc.Revision
	return h, nil
}

// damaged does not give the cause: it could quote a value.
func damaged(key state.Key) error {
	return problem.New(problem.Undecryptable, fmt.Sprintf("document %q cannot be understood", key))
}

func (h head) put(key state.Key, cond state.Revision) (state.Op, error) {
	text, err := json.Marshal(h)
	return state.Put(key, text, cond), err
}

func (x version) put(uid, secret string, cond state.Revision) (state.Op, error) {
	text, err := json.Marshal(x)
	return state.Put(versionsOf(uid, secret)+state.Key(x.ID), text, cond), err
}

// properties gives what clients see of a version.
func (h head) properties(v vault.Vault, x version) Properties {
	return Properties{
		Name: h.Name, Version: x.ID, ContentType: x.ContentType, Enabled: !x.Disabled,
		NotBefore: fromUnix(x.NotBefore), Expires: fromUnix(x.Expires),
		Created: whole(x.Created), Updated: whole(x.Updated), Tags: maps.Clone(x.Tags),
		PreviousVersion: x.Previous, RecoveryLevel: v.RecoveryLevel(), RecoverableDays: v.RetentionDays,
	}
}

func (h head) deleted(v vault.Vault) Deleted {
	return Deleted{Properties: h.properties(v, h.Latest), DeletedAt: whole(h.DeletedAt), PurgeAt: whole(h.PurgeAt)}
}

// gone reports whether a deleted secret cannot be recovered any more.
func (h head) gone(now time.Time) bool { return !now.Before(h.PurgeAt) }

func whole(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func fromUnix(s *int64) time.Time {
	if s == nil {
		return time.Time{}
	}
	return time.Unix(*s, 0).UTC()
}

func unix(t *time.Time, had *int64) *int64 {
	if t == nil {
		return had
	}
	if t.IsZero() {
		return nil
	}
	s := t.Unix()
	return &s
}

// with gives the version with attributes set.
func (x version) with(a Attributes, now time.Time) version {
	if a.ContentType != nil {
		x.ContentType = *a.ContentType
	}
	if a.Tags != nil {
		x.Tags = maps.Clone(a.Tags)
	}
	if a.Enabled != nil {
		x.Disabled = !*a.Enabled
	}
	x.NotBefore, x.Expires, x.Updated = unix(a.NotBefore, x.NotBefore), unix(a.Expires, x.Expires), now
	return x
}

// newID gives 32 hexadecimal digits that nothing else has.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

func isID(s string) bool {
	return len(s) == 32 && !strings.ContainsFunc(s, func(r rune) bool { return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'f') })
}
