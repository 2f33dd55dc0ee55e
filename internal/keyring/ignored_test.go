package keyring_test

import (
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
)

// TestWhatAStoreLeavesOutIsTold: a key does not vanish without a word.
func TestWhatAStoreLeavesOutIsTold(t *testing.T) {
	e := newEnv(t)
	e.mem.Put(keystore.HostDoc, keystore.Document{
		Keys:    hostSet("m", []accesskey.Key{key("h", "v")}, nil),
		Ignored: []string{`host key "H" after one of that name`},
	})
	e.open()
	told := e.events.of(keyring.KeysIgnored)
	if len(told) != 1 || !strings.Contains(told[0].Text, `host key "H"`) {
		t.Errorf("told %v", told)
	}
}
