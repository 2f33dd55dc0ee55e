package kubernetes_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/kubernetes"
)

func TestAFunctionIsFoundWhateverTheCaseOfItsName(t *testing.T) {
	onBoth(t, func(t *testing.T, kind kubernetes.Kind) {
		s := newPlace(t, kind).open()
		must(t, try(t, s, keystore.FunctionDoc("FUNCTION1"), keystoretest.Function("1")))
		must(t, try(t, s, keystore.FunctionDoc("Function2"), keystoretest.Function("2")))
		for doc, want := range map[keystore.Doc]keystore.Document{"function1": keystoretest.Function("1"), "function2": keystoretest.Function("2")} {
			got, _, err := s.Load(t.Context(), doc)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%s: %v %s", doc, err, diff)
			}
		}
	})
}

// TestAnObjectWithLittleInIt: no data, empty data, one entry.
func TestAnObjectWithLittleInIt(t *testing.T) {
	onBoth(t, func(t *testing.T, kind kubernetes.Kind) {
		value := map[kubernetes.Kind]string{kubernetes.Secret: "dmFsdWU=", kubernetes.ConfigMap: "value"}[kind]
		for name, data := range map[string]map[string]any{
			"no data": nil, "empty data": {"data": map[string]string{}},
			"one entry": {"data": map[string]string{"functions.fn.default": value}},
		} {
			p := newPlace(t, kind)
			object := map[string]any{"kind": map[kubernetes.Kind]string{kubernetes.Secret: "Secret", kubernetes.ConfigMap: "ConfigMap"}[kind],
				"apiVersion": "v1", "metadata": map[string]any{"name": p.name}}
			for member, value := range data {
				object[member] = value
			}
			if code := p.do("POST", string(kind), "application/json", object); code != 201 {
				t.Fatalf("create answers %d", code)
			}
			s := p.open()
			d, _, err := s.Load(t.Context(), "fn")
			if name != "one entry" {
				docs, list := s.List(t.Context())
				if !errors.Is(err, keystore.ErrNotFound) || list != nil || len(docs) != 0 {
					t.Errorf("%s: %v; %v, %v", name, err, docs, list)
				}
				continue
			}
			if diff := cmp.Diff([]accesskey.Key{{Name: "default", Value: "value"}}, d.Keys.Keys); err != nil || diff != "" {
				t.Errorf("%s: %v %s", name, err, diff)
			}
		}
	})
}
