package reference

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// document is what is known of the references of one life of an app.
type document struct {
	App        string `json:"app"`        // resource id
	Generation int64  `json:"generation"` // of the app when all references were fetched last
	Identity   string `json:"identity"`   // mark of what the identity was made from then, see identityMark
	// Touch says that copies of the generation may have older values than these.
	Touch   bool              `json:"touch,omitempty"`
	Stopped time.Time         `json:"stopped,omitzero"` // since when the app is seen stopped; only for the quirk
	Records map[string]record `json:"records"`          // by recordKey
	// History has what became of the references so far, by recordKey, the oldest first.
	History map[string][]Change `json:"history,omitempty"`
}

// record is one reference.
type record struct {
	Text        string    `json:"text"`
	Status      Status    `json:"status"`
	Why         string    `json:"why,omitempty"`
	HTTPStatus  int       `json:"httpStatus,omitempty"`
	InnerCode   string    `json:"innerCode,omitempty"`
	Identity    Identity  `json:"identity,omitzero"`
	Since       time.Time `json:"since"` // of the status
	Value       string    `json:"value,omitempty"`
	Version     string    `json:"version,omitempty"` // of the value
	GoodSince   time.Time `json:"goodSince,omitzero"`
	Expires     time.Time `json:"expires,omitzero"`
	LastAttempt time.Time `json:"lastAttempt,omitzero"` // may lag
}

func (r record) good() bool  { return r.Value != "" }
func (r record) stale() bool { return r.good() && r.Status != Resolved }

// recordKey names a record. Names of settings do not differ in case alone.
func recordKey(s app.Section, name string) string { return string(s) + "/" + strings.ToLower(name) }

func documentKey(uid string) state.Key { return Documents + state.Key(uid) }

// identityMark stands for what an app's reference identity is made from.
func identityMark(a app.App) string {
	sum := sha256.Sum256([]byte(strings.ToLower(a.ReferenceIdentity) + "\x00" + string(a.Resource.Identity)))
	return hex.EncodeToString(sum[:8])
}

// current reports whether all references were fetched since the app became what
// it is. The generation that Touch makes because of these very values counts as
// theirs.
func (d document) current(a app.App) bool {
	return d.Identity == identityMark(a) && (a.Generation <= d.Generation || d.Touch && a.Generation == d.Generation+1)
}

// settle notes that copies older than the values are going.
func (d *document) settle(a app.App) (changed bool) {
	if !d.Touch || a.Generation <= d.Generation {
		return false
	}
	d.Touch = false
	if a.Generation == d.Generation+1 {
		d.Generation++
	}
	return true
}

// load reads the document of an app; the zero document if there is none. damaged
// says that there is one that cannot be read.
func (r *Resolver) load(ctx context.Context, uid string) (d document, damaged bool, err error) {
	doc, err := r.store.Get(ctx, documentKey(uid))
	switch {
	case errors.Is(err, state.ErrNotFound):
		return document{}, false, nil
	case errors.Is(err, problem.Undecryptable):
		return document{}, true, nil
	case err != nil:
		return document{}, false, err
	}
	d, err = decode(doc.Value)
	return d, err != nil, nil
}

func decode(text []byte) (d document, err error) {
	if err := json.Unmarshal(text, &d); err != nil {
		// without the cause, which may quote a piece of the document
		return document{}, problem.New(problem.Undecryptable, "what is known of an app's references cannot be understood")
	}
	return d, nil
}

// Forget removes what is known of the references of an app that is deleted.
func (r *Resolver) Forget(ctx context.Context, uid string) error {
	_, err := r.store.Write(ctx, state.Delete(documentKey(uid), state.Any))
	return err
}
