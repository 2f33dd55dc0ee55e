package files_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
)

// TestAFileWithOneKeyThatDoesNotOpenStaysAsItIs: the stock host makes a new value
// for that key, keeps the others and writes a snapshot; with more than ten of
// those it gives up. Here nothing is written, and snapshots of others do not
// matter.
func TestAFileWithOneKeyThatDoesNotOpenStaysAsItIs(t *testing.T) {
	const text = `{"keys":[{"name":"plain","value":"p","encrypted":false},{"name":"lost","value":"CfDJ8AAAAAAAAAAAAAAAAAAAAAAAAAAA","encrypted":true}]}`
	dir := t.TempDir()
	write(t, filepath.Join(dir, "fn.json"), []byte(text))
	for i := range 12 {
		write(t, filepath.Join(dir, fmt.Sprintf("fn.snapshot.2024-05-06 07.08.%02d.123456.json", i)), []byte(text))
	}
	s := open(dir, dataProtection(t, siteKey))
	_, _, load := s.Load(t.Context(), "fn")
	_, _, update := s.Update(t.Context(), "fn", func(keystore.Document, bool) (keystore.Document, error) {
		t.Error("a change was asked for")
		return keystore.Document{}, nil
	})
	for what, err := range map[string]error{"load": load, "update": update} {
		if !errors.Is(err, keystore.ErrUndecryptable) || !strings.Contains(err.Error(), `"lost"`) || strings.Contains(err.Error(), `"plain"`) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := string(read(t, filepath.Join(dir, "fn.json"))); got != text {
		t.Errorf("the file became %s", got)
	}
	if n := strings.Count(names(t, dir), "fn.snapshot"); n != 12 {
		t.Errorf("%d snapshots", n)
	}
}

// TestASystemKeyIsAddedToAFileWithoutAny: older hosts wrote no list of them.
func TestASystemKeyIsAddedToAFileWithoutAny(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "host.json"), []byte(`{"masterKey":{"name":"master","value":"m","encrypted":false},"functionKeys":[{"name":"Key1","value":"1","encrypted":false},{"name":"Key2","value":"2","encrypted":false}]}`))
	s := open(dir, nil)
	_, _, err := s.Update(t.Context(), keystore.HostDoc, func(old keystore.Document, exists bool) (keystore.Document, error) {
		old.Keys.System = append(old.Keys.System, accesskey.Key{Name: "x_extension", Value: "s"})
		return old, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	d, _, err := s.Load(t.Context(), keystore.HostDoc)
	want := accesskey.Set{
		Master: accesskey.Key{Name: "master", Value: "m"}, System: []accesskey.Key{{Name: "x_extension", Value: "s"}},
		Keys: []accesskey.Key{{Name: "Key1", Value: "1"}, {Name: "Key2", Value: "2"}},
	}
	if diff := cmp.Diff(want, d.Keys); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
