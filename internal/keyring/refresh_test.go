package keyring_test

import (
	"testing"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
)

// TestARefreshFindsWhatAStoreDoesNotTell: a revoked key is as dead as a new one
// is alive, without anybody having presented a wrong key.
func TestARefreshFindsWhatAStoreDoesNotTell(t *testing.T) {
	e := newEnv(t) // its store cannot watch
	e.put(keystore.HostDoc, hostSet("m", []accesskey.Key{key("h", "host's")}, nil))
	e.put("f", accesskey.Set{Keys: []accesskey.Key{key("k", "old")}})
	e.put("unasked", accesskey.Set{Keys: []accesskey.Key{key("k", "v")}})
	if err := e.Start(e.ctx); err != nil {
		t.Fatal(err)
	}
	e.expect("old", "f", keyring.FunctionLevel, "k", keyring.Matched)
	e.put(keystore.HostDoc, hostSet("m", []accesskey.Key{key("h", "host's new")}, nil))
	e.put("f", accesskey.Set{Keys: []accesskey.Key{key("k", "new")}})
	e.expect("old", "f", keyring.FunctionLevel, "k", keyring.Matched) // nobody told
	e.Refresh()
	e.events.await(t, "the function's keys to be read", isChange(keyring.Outside, "f"))
	e.events.await(t, "the host's keys to be read", isChange(keyring.Outside, ""))
	for value, reason := range map[string]keyring.Reason{
		"old": keyring.Unknown, "new": keyring.Matched, "host's": keyring.Unknown, "host's new": keyring.Matched, "m": keyring.Matched,
	} {
		if d := e.Match(value, e.Function("f")); d.Reason != reason {
			t.Errorf("%q: %v", value, d.Reason)
		}
	}
	for _, ev := range e.events.of(keyring.DocumentRead) {
		if ev.Function == "unasked" {
			t.Error("a document that nobody needed was read")
		}
	}
}

func TestARefreshOfAStoreThatIsAwayKeepsTheKeys(t *testing.T) {
	e := standard(t)
	if err := e.Start(e.ctx); err != nil {
		t.Fatal(err)
	}
	e.mem.SetUnavailable(true)
	e.Refresh()
	e.events.awaitAll(t, "the store to be missed", healthIs(keyring.Degraded))
	e.expect("mastervalue", "", keyring.AdminLevel, "master", keyring.Matched)
}
