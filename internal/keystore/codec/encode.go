package codec

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
)

// Encode gives the stored form of a document, sealing each value anew, and the
// document as a reader will see it. It returns keystore.ErrInvalid for a
// document that breaks a rule (see keystore.Normal).
func (c *Codec) Encode(doc keystore.Doc, d keystore.Document) ([]byte, keystore.Document, error) {
	d, err := keystore.Normal(doc, d)
	if err != nil {
		return nil, keystore.Document{}, err
	}
	w := writer{codec: c, doc: doc}
	w.document(d)
	if w.err != nil {
		return nil, keystore.Document{}, w.err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, w.buf.Bytes(), "", "  "); err != nil {
		return nil, keystore.Document{}, err
	}
	return out.Bytes(), d, nil
}

// writer writes compact JSON with members in the host's order. The first error
// stays.
type writer struct {
	codec *Codec
	doc   keystore.Doc
	buf   bytes.Buffer
	err   error
}

func (w *writer) document(d keystore.Document) {
	w.buf.WriteByte('{')
	if w.doc.IsHost() {
		w.member(memberMaster)
		w.key(d.Keys.Master, listMaster)
		w.list(memberHostKeys, d.Keys.Keys, listKeys)
		w.list(memberSystemKeys, d.Keys.System, listSystem)
	} else {
		w.list(memberKeys, d.Keys.Keys, listKeys)
	}
	cfg := w.codec.cfg
	w.optional(memberHostName, cfg.HostName)
	w.optional(memberInstanceID, cfg.InstanceID)
	w.text(memberSource, source)
	w.text(memberKeyID, cfg.Sealer.KeyID())
	w.extra(d.Extra)
	w.buf.WriteByte('}')
}

func (w *writer) list(name string, keys []accesskey.Key, list string) {
	w.member(name)
	w.buf.WriteByte('[')
	for _, k := range keys {
		w.comma()
		w.key(k, list)
	}
	w.buf.WriteByte(']')
}

func (w *writer) key(k accesskey.Key, list string) {
	s := w.codec.cfg.Sealer
	value, err := s.Seal(k.Value, place(w.doc, list, k.Name))
	if err != nil && w.err == nil {
		w.err = err
	}
	w.buf.WriteByte('{')
	w.text(memberName, k.Name)
	w.text(memberValue, value)
	w.member(memberEncrypted)
	w.value(s.Seals())
	w.extra(k.Extra)
	w.buf.WriteByte('}')
}

func (w *writer) text(name, value string) {
	w.member(name)
	w.value(value)
}

func (w *writer) optional(name, value string) {
	if value != "" {
		w.text(name, value)
		return
	}
	w.member(name)
	w.buf.WriteString("null")
}

// extra writes unknown members, which keystore.Normal has found to be JSON, in
// the order of their names.
func (w *writer) extra(extra map[string][]byte) {
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		w.member(name)
		w.buf.Write(extra[name])
	}
}

func (w *writer) member(name string) {
	w.comma()
	w.value(name)
	w.buf.WriteByte(':')
}

// comma separates from what came before, if anything did.
func (w *writer) comma() {
	if last := w.buf.Bytes(); len(last) > 0 && last[len(last)-1] != '{' && last[len(last)-1] != '[' {
		w.buf.WriteByte(',')
	}
}

// value writes a text or boolean as the host does: characters of HTML as they are.
func (w *writer) value(v any) {
	e := json.NewEncoder(&w.buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil && w.err == nil {
		w.err = err
	}
	w.buf.Truncate(w.buf.Len() - 1) // the encoder's newline
}
