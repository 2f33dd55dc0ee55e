package storetest

import (
	"context"
	"os"
	"strconv"
	"testing"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/flat"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/test/azurite"
)

// EnvOps makes every store take part in all operations of the cross tests, this
// many. Otherwise the slow ones take part in the first of 10,000 only, as many as
// fit into seconds. keystoretest.EnvSeed replays a run.
const EnvOps = "LATCHKEY_OPS"

// share gives in how many of the operations a store takes part.
func share(t *testing.T, otherwise int) int {
	t.Helper()
	text := os.Getenv(EnvOps)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is no number of operations", EnvOps, text)
	}
	return n
}

// narrow is the reference with the rule that kubernetes has about key names.
type narrow struct{ keystore.Store }

func (n narrow) Update(ctx context.Context, doc keystore.Doc, change keystore.Change) (keystore.Document, keystore.Revision, error) {
	return n.Store.Update(ctx, doc, func(old keystore.Document, exists bool) (keystore.Document, error) {
		d, err := change(old, exists)
		if err == nil {
			_, err = flat.Entries{}.With(doc, d)
		}
		return d, err
	})
}

func TestAllStoresDoTheSame(t *testing.T) {
	entrant := func(p *place, ops int) keystoretest.Entrant {
		return keystoretest.Entrant{Store: p.open(t), Ops: share(t, ops)}
	}
	wide := keystoretest.Group{Reference: memory.New(), Entrants: []keystoretest.Entrant{
		entrant(inMemory(t), 10_000), entrant(inControlPlane(t), 10_000),
		entrant(inBlobs(t), 1500), entrant(inFiles(t), 500), entrant(inVault(t), 150),
	}}
	flat := keystoretest.Group{Reference: narrow{memory.New()}, Entrants: []keystoretest.Entrant{
		entrant(inSecret(t), 500), entrant(inConfigMap(t), 500),
	}}
	keystoretest.Cross(t, share(t, 10_000), wide, flat)
}

func TestTheEmulatorDoesTheSame(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts a process")
	}
	ops := share(t, 200)
	s := inAccount("Azurite", azurite.Start(t, azurite.Options{}).ConnectionString()).open(t)
	keystoretest.Cross(t, ops, keystoretest.Group{
		Reference: memory.New(), Entrants: []keystoretest.Entrant{{Store: s, Ops: ops}},
	})
}
