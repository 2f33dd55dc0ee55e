package memory_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/memory"
)

func harness(*testing.T) keystoretest.Harness {
	s := memory.New()
	corrupt := func(_ *testing.T, doc keystore.Doc) { s.Corrupt(doc) }
	return keystoretest.Harness{
		Store:    s,
		Second:   func(*testing.T) keystore.Store { return s },
		ReadOnly: func(*testing.T) keystore.Store { return s.ReadOnly() },
		Outside:  func(_ *testing.T, doc keystore.Doc, d keystore.Document) { s.Put(doc, d) },
		Corrupt:  corrupt,
		Raw: func(t *testing.T, doc keystore.Doc) []byte {
			d, rev, err := s.Load(t.Context(), doc)
			return fmt.Append(nil, d, rev, err)
		},
		Break: func(*testing.T) func() {
			s.SetUnavailable(true)
			return func() { s.SetUnavailable(false) }
		},
	}
}

func TestConformance(t *testing.T) {
	keystoretest.Run(t, keystoretest.Config{New: harness, Except: map[string]string{
		"a truncated document is never replaced":       "documents have no stored form to cut off",
		"what dead writers leave is ignored and swept": "memory dies with its writer",
	}})
}

func TestAgreesWithItself(t *testing.T) {
	keystoretest.CrossTest(t, memory.New(), memory.New())
}

func TestReadOnlyCanHappenToARunningStore(t *testing.T) {
	s := memory.New()
	s.SetReadOnly(true)
	change := func(keystore.Document, bool) (keystore.Document, error) { return keystoretest.Function("1"), nil }
	if _, _, err := s.Update(t.Context(), "fn", change); !errors.Is(err, keystore.ErrReadOnly) {
		t.Errorf("update: %v", err)
	}
	if s.Capabilities().ReadOnly {
		t.Error("declared capabilities changed")
	}
	s.SetReadOnly(false)
	if _, _, err := s.Update(t.Context(), "fn", change); err != nil {
		t.Errorf("update after the fault: %v", err)
	}
}

func TestPutMakesACorruptDocumentGood(t *testing.T) {
	s := memory.New()
	s.Corrupt("fn")
	if _, _, err := s.Load(context.Background(), "fn"); !errors.Is(err, keystore.ErrUndecryptable) {
		t.Errorf("load: %v", err)
	}
	s.Put("fn", keystoretest.Function("1"))
	if _, _, err := s.Load(context.Background(), "fn"); err != nil {
		t.Errorf("load: %v", err)
	}
}
