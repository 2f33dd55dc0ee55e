package keynotes

import (
	"context"
	"encoding/json"

	"github.com/latchkey/latchkey/internal/keyring"
)

// Roster is a [keyring.Roster]: which functions the app has and since when others
// are gone, as the keyring wrote it.
type Roster struct{ file file }

var _ keyring.Roster = (*Roster)(nil)

// OpenRoster gives the roster of a folder. Nothing is read or made before it is
// needed. It is safe for concurrent use, by several processes too; errors are as
// those of [Open].
func OpenRoster(cfg Config) *Roster { return &Roster{newFile(cfg, RosterFile)} }

// Read gives what is kept, nil when there is nothing.
func (r *Roster) Read(context.Context) ([]byte, error) {
	var kept json.RawMessage
	err := r.file.read(&kept)
	return kept, err
}

// Revise replaces what is kept by what change makes of it.
func (r *Roster) Revise(ctx context.Context, change func(old []byte) ([]byte, error)) error {
	var kept json.RawMessage
	return r.file.revise(ctx, &kept, func() error {
		data, err := change(kept)
		kept = data
		return err
	})
}
