package blob

import (
	"context"
	"errors"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/latchkey/latchkey/internal/keystore"
)

var _ keystore.Prober = (*Store)(nil)

// probeName is a blob that is never there, and probeState a state that none has.
const (
	probeName  = ".latchkey-probe"
	probeState = "0x1"
)

// Probe implements [keystore.Prober]: a write that takes the place of a state which
// does not exist, so that it fails, permitted or not; and deleting what is not there.
// What the container itself lacks shows when it is made.
func (s *Store) Probe(ctx context.Context) []keystore.Permission {
	name := s.cfg.App + "/" + probeName
	_, _, err := s.conn.write(ctx, name, probeState, []byte("{}"))
	if errors.Is(err, errRaced) {
		err = nil
	}
	_, deleting := s.conn.remove(ctx, name, azcore.ETagAny)
	return []keystore.Permission{{What: "write", Err: err}, {What: "delete", Err: deleting}}
}
