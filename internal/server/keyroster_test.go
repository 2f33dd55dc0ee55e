package server

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore/memory"
	"github.com/latchkey/latchkey/internal/route"
)

// TestFaultsAreReportedOnceTheWorkerHasTheFunctions and not before as well, when the
// app's files are all that is known.
func TestFaultsAreReportedOnceTheWorkerHasTheFunctions(t *testing.T) {
	ring, err := keyring.New(keyring.Config{Store: memory.New()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ring.Close)
	var log strings.Builder
	n := &Node{log: slog.New(slog.NewTextHandler(&log, nil)), keys: ring}
	m := &instance.Model{App: &funcapp.App{}, Routes: &route.Table{}, Functions: []funcapp.Function{
		{Name: "f", Faults: []funcapp.Fault{{Function: "f", Message: "it has no trigger"}}},
	}}
	first := *m
	first.Unindexed = true
	for i, model := range []*instance.Model{&first, m} {
		n.modelLoaded(model)
		if told := strings.Count(log.String(), "it has no trigger"); told != i {
			t.Errorf("told %d times after model %d", told, i)
		}
	}
}
