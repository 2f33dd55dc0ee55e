package keyvault

import (
	"context"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

var _ keystore.Prober = (*Store)(nil)

// Probe implements [keystore.Prober]. Nothing is tried: a vault has no write without
// a trace, since each makes a version and a deletion is kept, and a role that only
// covers the app's own secrets would refuse a name made up for the purpose.
func (s *Store) Probe(context.Context) []keystore.Permission {
	untried := problem.New(problem.Unsupported, "a vault keeps a trace of each attempt; it shows at the first change")
	return []keystore.Permission{{What: "write", Err: untried}, {What: "delete", Err: untried}}
}
