package keyring

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// Memory is where a ring keeps, outside the key store, which keys had metadata,
// so that a stock host that rewrites a document while no ring runs does not free
// them. What is kept holds no value, but verifiers of values that people may have
// chosen: keep it where keys could be kept. It must be safe for concurrent use.
type Memory interface {
	// Recall gives what was last remembered of a document, nil when there is
	// nothing. An error keeps the document from coming into use.
	Recall(ctx context.Context, doc keystore.Doc) ([]byte, error)
	// Remember replaces what is remembered of a document.
	Remember(ctx context.Context, doc keystore.Doc, data []byte) error
}

// remembered is the form of what is kept.
type remembered struct {
	Salt   []byte          `json:"salt"`
	Master *rememberedKey  `json:"master,omitempty"`
	Keys   []rememberedKey `json:"keys,omitempty"`
	System []rememberedKey `json:"system,omitempty"`
}

type rememberedKey struct {
	Name  string          `json:"name"`
	Value string          `json:"value"` // a verifier
	Meta  json.RawMessage `json:"meta"`
}

// recallMeta reads, before a document first comes into use, what is remembered of
// it. Callers have the turn.
func (r *Ring) recallMeta(ctx context.Context, s *Scope) error {
	if r.cfg.Memory == nil || s.recalled {
		return nil
	}
	data, err := r.cfg.Memory.Recall(ctx, s.doc)
	if err != nil {
		return problem.Wrap(problem.Unavailable, "what restrictions "+s.label()+" had cannot be read", err)
	}
	s.salt = accesskey.NewSalt()
	var m remembered
	if len(data) > 0 {
		if json.Unmarshal(data, &m) != nil || copy(s.salt[:], m.Salt) != len(s.salt) {
			return problem.New(problem.Undecryptable, "what restrictions "+s.label()+" had cannot be understood")
		}
	}
	s.recalled, s.remembered, s.before = true, data, m.set()
	return nil
}

// set gives the keys with verifiers in place of values.
func (m remembered) set() (set accesskey.Set) {
	keys := func(list []rememberedKey) (out []accesskey.Key) {
		for _, k := range list {
			out = append(out, accesskey.Key{Name: k.Name, Value: k.Value, Extra: map[string][]byte{accesskey.MetaMember: k.Meta}})
		}
		return out
	}
	if m.Master != nil {
		set.Master = keys([]rememberedKey{*m.Master})[0]
	}
	set.Keys, set.System = keys(m.Keys), keys(m.System)
	return set
}

// remember keeps which keys of a document that is in use have metadata, if that
// has changed. A failure is no reason not to use the keys: it is tried again with
// the next read. Callers have the turn.
func (r *Ring) remember(ctx context.Context, s *Scope) {
	if r.cfg.Memory == nil || !s.recalled || !s.present {
		return
	}
	data := s.memorable()
	if bytes.Equal(data, s.remembered) {
		return
	}
	if err := r.cfg.Memory.Remember(ctx, s.doc, data); err != nil {
		r.cfg.Log.Warn("what restrictions "+s.label()+" have could not be remembered", "error", err)
		return
	}
	s.remembered = data
}

// memorable gives what is to be remembered; nil when no key has metadata.
func (s *Scope) memorable() []byte {
	pick := func(list ...accesskey.Key) (out []rememberedKey) {
		for _, k := range list {
			if k.HasMeta() && k.Value != "" && json.Valid(k.Extra[accesskey.MetaMember]) {
				out = append(out, rememberedKey{k.Name, accesskey.NewVerifier(s.salt, k.Value).String(), k.Extra[accesskey.MetaMember]})
			}
		}
		return out
	}
	m := remembered{Salt: s.salt[:], Keys: pick(s.document.Keys.Keys...), System: pick(s.document.Keys.System...)}
	if master := pick(s.document.Keys.Master); master != nil {
		m.Master = &master[0]
	}
	if m.Master == nil && m.Keys == nil && m.System == nil {
		return nil
	}
	data, err := json.Marshal(m)
	if err != nil {
		return s.remembered // not reached: all of it is valid
	}
	return data
}
