package kubernetes

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// Annotation is the object's annotation with what its entries cannot say: a JSON
// object with a note for each document that has more to it than names and values.
const Annotation = "latchkey.dev/keys"

// note is what entries cannot say of one document: its own members, those of its
// keys, the order of the keys, and that it exists although it has no key.
type note struct {
	Extra  members   `json:"extra,omitempty"`
	Master members   `json:"master,omitempty"`
	Keys   []keyNote `json:"keys,omitempty"`
	System []keyNote `json:"system,omitempty"`
}

// members are members of a stored form that are not known here.
type members map[string]json.RawMessage

// keyNote is what entries cannot say of one key.
type keyNote struct {
	Name  string  `json:"name"`
	Extra members `json:"extra,omitempty"`
}

// parseNotes reads the annotation; text is "" if there is none.
func parseNotes(text string) (map[keystore.Doc]json.RawMessage, error) {
	notes := map[keystore.Doc]json.RawMessage{}
	if text == "" {
		return notes, nil
	}
	if err := json.Unmarshal([]byte(text), &notes); err != nil || notes == nil {
		return nil, problem.New(keystore.ErrUndecryptable, "annotation "+Annotation+", which has the metadata of the keys, is damaged").
			WithNext("restore it; or remove it, and with it the notes, limits and expiry of all keys: kubectl annotate {object} " + Annotation + "-")
	}
	for doc := range notes {
		if keystore.CheckDoc(doc) != nil {
			delete(notes, doc)
		}
	}
	return notes, nil
}

// writeNotes gives the annotation, "" for none.
func writeNotes(notes map[keystore.Doc]json.RawMessage) (string, error) {
	if len(notes) == 0 {
		return "", nil
	}
	raw, err := encode(notes)
	return string(raw), err
}

func parseNote(doc keystore.Doc, raw json.RawMessage) (note, error) {
	var n *note
	if err := json.Unmarshal(raw, &n); err != nil || n == nil {
		return note{}, problem.New(keystore.ErrUndecryptable, fmt.Sprintf("the part of annotation %s for document %q is damaged", Annotation, string(doc))).
			WithNext("restore it; or remove it, and with it the notes, limits and expiry of the document's keys")
	}
	return *n, nil
}

// apply gives d with what the note says of it. Keys that the note does not know
// come last; what it says of keys that are gone does not count.
func (n note) apply(d keystore.Document) keystore.Document {
	d.Extra = n.Extra.raw()
	if d.Keys.Master.Value != "" {
		d.Keys.Master.Extra = n.Master.raw()
	}
	arrange(d.Keys.Keys, n.Keys)
	arrange(d.Keys.System, n.System)
	return d
}

func arrange(keys []accesskey.Key, notes []keyNote) {
	place := make(map[string]int, len(notes))
	for i, n := range notes {
		place[strings.ToLower(n.Name)] = i
	}
	at := func(k accesskey.Key) int {
		if i, ok := place[strings.ToLower(k.Name)]; ok {
			return i
		}
		return len(notes)
	}
	slices.SortStableFunc(keys, func(a, b accesskey.Key) int { return cmp.Compare(at(a), at(b)) })
	for i, k := range keys {
		if n := at(k); n < len(notes) {
			keys[i].Extra = notes[n].Extra.raw()
		}
	}
}

// noteOf gives the note of a document, nil if plain, which is what the entries
// alone say, says it all.
func noteOf(d, plain keystore.Document, exists bool) (json.RawMessage, error) {
	n := note{
		Extra: rawMembers(d.Extra), Master: rawMembers(d.Keys.Master.Extra),
		Keys: keyNotes(d.Keys.Keys, plain.Keys.Keys), System: keyNotes(d.Keys.System, plain.Keys.System),
	}
	if exists && len(n.Extra) == 0 && len(n.Master) == 0 && n.Keys == nil && n.System == nil {
		return nil, nil
	}
	return encode(n)
}

// keyNotes gives the notes of a list of keys, nil if they have no members and are
// in the order of plain.
func keyNotes(keys, plain []accesskey.Key) []keyNote {
	var notes []keyNote
	needed := len(keys) != len(plain)
	for i, k := range keys {
		notes = append(notes, keyNote{k.Name, rawMembers(k.Extra)})
		needed = needed || len(k.Extra) > 0 || k.Name != plain[i].Name
	}
	if !needed {
		return nil
	}
	return notes
}

func rawMembers(extra map[string][]byte) members {
	if len(extra) == 0 {
		return nil
	}
	m := make(members, len(extra))
	for name, raw := range extra {
		m[name] = raw
	}
	return m
}

func (m members) raw() map[string][]byte {
	if len(m) == 0 {
		return nil
	}
	extra := make(map[string][]byte, len(m))
	for name, raw := range m {
		extra[name] = raw
	}
	return extra
}
