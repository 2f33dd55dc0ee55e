package keynotes

import (
	"context"
	"encoding/json"

	"github.com/latchkey/latchkey/internal/keystore"
)

// Restrictions is a [keyring.Memory]: what each document's keys were restricted
// to, as the keyring wrote it.
type Restrictions struct{ file file }

type restrictions struct {
	Documents map[keystore.Doc]json.RawMessage `json:"documents"`
}

// Recall gives what was last remembered of a document, nil when there is nothing.
func (r *Restrictions) Recall(_ context.Context, doc keystore.Doc) ([]byte, error) {
	var kept restrictions
	if err := r.file.read(&kept); err != nil {
		return nil, err
	}
	return kept.Documents[doc], nil
}

// Remember replaces what is remembered of a document; data is JSON, or nothing.
func (r *Restrictions) Remember(ctx context.Context, doc keystore.Doc, data []byte) error {
	var kept restrictions
	return r.file.update(ctx, &kept, func() {
		if kept.Documents == nil {
			kept.Documents = map[keystore.Doc]json.RawMessage{}
		}
		kept.Documents[doc] = data
		if len(data) == 0 {
			delete(kept.Documents, doc)
		}
	})
}
