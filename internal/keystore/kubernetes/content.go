package kubernetes

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/flat"
	"github.com/latchkey/latchkey/internal/problem"
)

// Limits that the API server has for an object, in bytes.
const (
	maxData        = 1 << 20   // values, and names of a ConfigMap's entries
	maxAnnotations = 256 << 10 // names and values of all annotations
)

// content is the keys in an object at one time.
type content struct {
	entries flat.Entries
	// notes has what the entries cannot say, by document: see note.
	notes map[keystore.Doc]json.RawMessage
	// notesFault is why there are no notes although there is an annotation. Then
	// all documents are damaged: a note may say that a key is not to be accepted.
	notesFault error
	// damaged has the documents with an entry that is no text.
	damaged map[keystore.Doc]bool
}

// read gives the keys in an object.
func read(kind Kind, o apiObject) content {
	c := content{entries: flat.Entries{}, damaged: map[keystore.Doc]bool{}}
	for name, stored := range o.Data {
		value, err := stored, error(nil)
		if kind == Secret {
			var data []byte
			data, err = base64.StdEncoding.DecodeString(stored)
			value = string(data)
		}
		if n, ok := flat.ParseName(name); ok && (err != nil || !utf8.ValidString(value)) {
			c.damaged[n.Doc] = true
		}
		c.entries[name] = value
	}
	c.notes, c.notesFault = parseNotes(o.Metadata.Annotations[Annotation])
	return c
}

// write gives the form in which an object of a kind has an entry's value.
func write(kind Kind, value string) string {
	if kind == Secret {
		return base64.StdEncoding.EncodeToString([]byte(value))
	}
	return value
}

// document gives a document; exists is false if there is none.
func (c content) document(doc keystore.Doc) (d keystore.Document, exists bool, err error) {
	if c.notesFault != nil {
		return d, false, c.notesFault
	}
	if c.damaged[doc] {
		return d, false, problem.New(keystore.ErrUndecryptable, fmt.Sprintf("a key of document %q is no text", string(doc))).
			WithNext("write the key again, or delete its entry from the object")
	}
	d, exists = c.entries.Document(doc)
	raw, noted := c.notes[doc]
	if !noted {
		return d, exists, nil
	}
	n, err := parseNote(doc, raw)
	if err != nil {
		return keystore.Document{}, false, err
	}
	return n.apply(d), true, nil
}

// docs gives the documents that exist, damaged ones included, sorted.
func (c content) docs() []keystore.Doc {
	docs := append(c.entries.Docs(), slices.Collect(maps.Keys(c.notes))...)
	docs = append(docs, slices.Collect(maps.Keys(c.damaged))...)
	slices.Sort(docs)
	return slices.Compact(docs)
}

func (c content) has(doc keystore.Doc) bool { return slices.Contains(c.docs(), doc) }

// revision identifies the state of a document, "" for one that does not exist.
func (c content) revision(doc keystore.Doc) keystore.Revision {
	if c.notesFault == nil && !c.has(doc) {
		return ""
	}
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s\n%s\n%v", c.entries.Revision(doc), c.notes[doc], c.notesFault != nil)
	return keystore.Revision(hex.EncodeToString(h.Sum(nil)))
}

// with gives new content in which d takes the place of the document.
func (c content) with(doc keystore.Doc, d keystore.Document) (content, error) {
	d, err := keystore.Normal(doc, d)
	if err != nil {
		return c, err
	}
	next := c.without(doc)
	if next.entries, err = c.entries.With(doc, d); err != nil {
		return c, err
	}
	plain, exists := next.entries.Document(doc)
	raw, err := noteOf(d, plain, exists)
	if err != nil {
		return c, problem.Wrap(keystore.ErrInvalid, fmt.Sprintf("metadata of document %q cannot be kept", string(doc)), err)
	}
	if raw != nil {
		next.notes[doc] = raw
	}
	return next, next.check(doc, d)
}

// check refuses what the API server would change on the way.
func (c content) check(doc keystore.Doc, d keystore.Document) error {
	keys := append(append(slices.Clone(d.Keys.Keys), d.Keys.System...), d.Keys.Master)
	for _, k := range keys {
		if !utf8.ValidString(k.Value) {
			return problem.New(keystore.ErrInvalid, fmt.Sprintf("the value of key %q cannot be kept in this store: it is no text", k.Name))
		}
	}
	if !utf8.Valid(c.notes[doc]) {
		return problem.New(keystore.ErrInvalid, fmt.Sprintf("metadata of document %q cannot be kept in this store: it is no text", string(doc)))
	}
	return nil
}

// without gives new content without a document.
func (c content) without(doc keystore.Doc) content {
	next := content{entries: c.entries.Without(doc), notes: map[keystore.Doc]json.RawMessage{}, damaged: maps.Clone(c.damaged)}
	maps.Copy(next.notes, c.notes)
	delete(next.notes, doc)
	delete(next.damaged, doc)
	return next
}

// fits refuses what is larger than an object may be.
func (c content) fits(annotation string, others map[string]string) error {
	size, notes := 0, len(Annotation)+len(annotation)
	for name, value := range c.entries {
		size += len(name) + len(value)
	}
	for name, value := range others {
		if name != Annotation {
			notes += len(name) + len(value)
		}
	}
	switch {
	case size > maxData:
		return problem.New(keystore.ErrInvalid, "all keys together would be larger than the 1 MiB an object may have").
			WithNext("delete keys that nobody uses")
	case notes > maxAnnotations:
		return problem.New(keystore.ErrInvalid, "the metadata of all keys together would be larger than the 256 KiB that annotations may have").
			WithNext("delete keys that nobody uses, or shorten their notes")
	}
	return nil
}

// encode gives JSON without the escapes that HTML would need, so that members
// come back byte for byte.
func encode(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
