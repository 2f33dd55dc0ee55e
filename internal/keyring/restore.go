package keyring

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
)

// found is what came of looking for metadata that keys had before.
type found struct {
	restored []string // keys of the same value that had lost it, which have it again
	lost     []string // keys of another value that replaced such with metadata
}

// whole gives a document as it was read with the metadata that its keys had a
// moment ago, or when it was last in use, as far as this ring knows: a functions host that rewrites a document
// drops it, and a restricted key must not become one without restrictions by
// that. Who takes restrictions away leaves an empty member, so a key without any
// has lost it. Callers have the turn.
func (r *Ring) whole(s *Scope, d keystore.Document) (keystore.Document, found) {
	var f found
	before := s.before
	if s.present {
		before = s.document.Keys
	}
	d = d.Clone()
	if s.doc.IsHost() {
		master := []accesskey.Key{d.Keys.Master}
		f.look([]accesskey.Key{before.Master}, master)
		d.Keys.Master = master[0]
	}
	f.look(before.Keys, d.Keys.Keys)
	f.look(before.System, d.Keys.System)
	return d, f
}

// look goes through one list of keys.
func (f *found) look(before, now []accesskey.Key) {
	before = withMeta(before)
	for i, k := range now {
		if k.HasMeta() || k.Value == "" {
			continue
		}
		if was, ok := withValue(before, k); ok {
			if now[i].Extra == nil {
				now[i].Extra = map[string][]byte{}
			}
			now[i].Extra[accesskey.MetaMember] = bytes.Clone(was.Extra[accesskey.MetaMember])
			f.restored = append(f.restored, k.Name)
		} else if indexOf(before, k.Name) >= 0 {
			f.lost = append(f.lost, k.Name)
		}
	}
}

// withMeta gives the keys with metadata, of which there are few among many.
func withMeta(keys []accesskey.Key) []accesskey.Key {
	var list []accesskey.Key
	for _, k := range keys {
		if k.HasMeta() {
			list = append(list, k)
		}
	}
	return list
}

// withValue finds a key with metadata that has the value of k, preferably under
// the same name.
func withValue(keys []accesskey.Key, k accesskey.Key) (accesskey.Key, bool) {
	var other accesskey.Key
	for _, was := range keys {
		switch {
		case !was.HasMeta() || was.Value != k.Value && !holds(was, k.Value):
		case strings.EqualFold(was.Name, k.Name):
			return was, true
		default:
			other = was
		}
	}
	return other, other.Value != ""
}

func (f found) events(s *Scope, store string, cause Cause) []Event {
	var events []Event
	if len(f.restored) > 0 {
		events = append(events, Event{
			Type: MetadataRestored, Cause: cause, Level: slog.LevelWarn, Function: s.name,
			Text: fmt.Sprintf("%s in %s: somebody else wrote the document without the restrictions and notes of %s; they stay in force, and are written back where that can be",
				s.label(), store, strings.Join(f.restored, ", ")),
		})
	}
	if len(f.lost) > 0 {
		events = append(events, Event{
			Type: MetadataLost, Cause: cause, Level: slog.LevelWarn, Function: s.name,
			Text: fmt.Sprintf("%s in %s: somebody else gave %s a new value; the new values have no restrictions",
				s.label(), store, strings.Join(f.lost, ", ")),
		})
	}
	return events
}
