package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/concern"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/codec"
	"github.com/latchkey/latchkey/internal/platform/keynotes"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/hosted"
	"github.com/latchkey/latchkey/internal/server/stores"
	"github.com/latchkey/latchkey/internal/state"
)

// keysThatEnd gives the keys of an app that may end: those that the control plane has
// itself, or what is remembered of those elsewhere. No key store is asked. fault says
// why some of them cannot be read; it is "" if all can.
func (n *Node) keysThatEnd(ctx context.Context, a app.App) (keys []concern.Key, fault string, err error) {
	settings, _, err := n.apps.Settings(ctx, a.ID)
	if err != nil {
		return nil, "", err
	}
	kind, err := stores.ParseKind(hosted.Settings(settings).Get(stores.TypeSetting))
	own := err == nil && (kind == "" || kind == stores.Files)
	if own {
		keys, fault, err = n.ownKeys(ctx, a)
	} else {
		keys, err = n.rememberedKeys(ctx, a)
	}
	if err != nil || len(keys) == 0 {
		return keys, fault, err
	}
	return keys, fault, n.addUses(ctx, a, keys)
}

// ownKeys reads documents of the control plane.
func (n *Node) ownKeys(ctx context.Context, a app.App) (keys []concern.Key, fault string, err error) {
	prefix := keysPrefix + state.Key(keyPlace(a)) + "/"
	list, err := n.store.List(ctx, prefix, state.Page{Unreadable: true})
	if err != nil {
		return nil, "", err
	}
	read := codec.New(codec.Config{})
	for _, d := range list.Documents {
		doc := keystore.Doc(strings.TrimPrefix(string(d.Key), string(prefix)))
		if d.Value != nil && !mayEnd(d.Value) {
			continue // most documents: nothing is to be understood
		}
		decoded, err := read.Decode(doc, d.Value)
		if d.Value == nil || err != nil {
			fault = "the keys of " + string(doc) + " cannot be understood"
			continue
		}
		keys = append(keys, endingKeys(doc, decoded.Keys)...)
	}
	return keys, fault, nil
}

// mayEnd reports whether a document can have a key with an end.
func mayEnd(document []byte) bool {
	return bytes.Contains(document, []byte(`"`+accesskey.MetaMember+`"`)) || bytes.Contains(bytes.ToLower(document), []byte(".until-"))
}

// endingKeys picks the keys of a document that have an end.
func endingKeys(doc keystore.Doc, set accesskey.Set) (keys []concern.Key) {
	pick := func(kind accesskey.Kind, list ...accesskey.Key) {
		for _, k := range list {
			m, err := k.Meta()
			_, _, former := accesskey.ParseRetiredName(k.Name)
			if err != nil || m.Expires.IsZero() && len(m.Former) == 0 && !former {
				continue
			}
			ending := concern.Key{Kind: kind.String(), Name: k.Name, Meta: m}
			if kind == accesskey.Master {
				ending.Name = accesskey.MasterName
			}
			if kind == accesskey.Function {
				ending.Function = string(doc)
			}
			keys = append(keys, ending)
		}
	}
	if !doc.IsHost() {
		pick(accesskey.Function, set.Keys...)
		return keys
	}
	pick(accesskey.Master, set.Master)
	pick(accesskey.Host, set.Keys...)
	pick(accesskey.System, set.System...)
	return keys
}

// rememberedKeys reads what is remembered of keys in other stores.
func (n *Node) rememberedKeys(ctx context.Context, a app.App) (keys []concern.Key, err error) {
	prefix := keynotes.RestrictionsPrefix + state.Key(keyPlace(a)) + "/"
	list, err := n.store.List(ctx, prefix, state.Page{})
	if err != nil {
		return nil, err
	}
	type key struct {
		Name string
		Meta json.RawMessage
	}
	for _, d := range list.Documents {
		var known struct {
			Master       *key
			Keys, System []key
		}
		if json.Unmarshal(d.Value, &known) != nil {
			continue // the ring says so when it runs
		}
		keysOf := func(list []key) (out []accesskey.Key) {
			for _, k := range list {
				out = append(out, accesskey.Key{Name: k.Name, Extra: map[string][]byte{accesskey.MetaMember: k.Meta}})
			}
			return out
		}
		set := accesskey.Set{Keys: keysOf(known.Keys), System: keysOf(known.System)}
		if known.Master != nil {
			set.Master = keysOf([]key{*known.Master})[0]
		}
		keys = append(keys, endingKeys(keystore.Doc(strings.TrimPrefix(string(d.Key), string(prefix))), set)...)
	}
	return keys, nil
}

// addUses fills in when keys were used last. Former values of the master key, which
// are no keys of their own, are added for their uses.
func (n *Node) addUses(ctx context.Context, a app.App, keys []concern.Key) error {
	place := keyPlace(a)
	uses, err := keynotes.NewUses(n.store, place, nil).Load(ctx)
	if errors.Is(err, problem.Undecryptable) {
		return nil // then nothing is known of uses
	}
	if err != nil {
		return err
	}
	last := map[string]time.Time{}
	for _, u := range uses {
		last[useID(u.Key.Kind.String(), u.Key.Function, u.Key.Name)] = u.Last
	}
	for i := range keys {
		k := &keys[i]
		id := useID(k.Kind, k.Function, k.Name)
		k.Used, k.Refused = last[id], n.presented.last(place, id)
		for _, f := range k.Meta.Former {
			for _, base := range []string{accesskey.MasterName, accesskey.MasterStoredName} {
				if at := last[useID(k.Kind, "", accesskey.RetiredName(base, f.Expires))]; at.After(k.FormerUsed) {
					k.FormerUsed = at
				}
			}
		}
	}
	return nil
}

func useID(kind, function, name string) string {
	return strings.ToLower(kind + "/" + function + "/" + name)
}

// presentedKept bounds for how many keys it is remembered that they were presented.
const presentedKept = 4096

// presented remembers, on this node, when keys were presented that have ended. It is
// safe for concurrent use.
type presented struct {
	mu   sync.Mutex
	keys *lru.Cache[string, time.Time]
}

func newPresented() *presented {
	keys, _ := lru.New[string, time.Time](presentedKept) // fails for sizes below 1
	return &presented{keys: keys}
}

// note takes an event and reports whether it was about a key that has ended.
func (p *presented) note(place string, e keyring.Event, now time.Time) bool {
	if p == nil || e.Type != keyring.KeyRefused || e.Reason != keyring.KeyExpired {
		return false
	}
	function, name := "", e.Name
	if e.Kind == accesskey.Function {
		function = e.Function
	}
	if e.Retired != "" {
		name = e.Retired
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys.Add(place+" "+useID(e.Kind.String(), function, name), now)
	return true
}

func (p *presented) last(place, id string) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, _ := p.keys.Get(place + " " + id)
	return at
}
