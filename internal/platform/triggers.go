package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/platform/fleet"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/hosted"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/trigger"
)

// triggersPrefix is where the small state of triggers is kept, by the app's UID.
const triggersPrefix state.Key = "/triggers/"

func triggersOf(uid string) state.Key { return triggersPrefix + state.Key(uid) + "/" }

// triggerMemory is the [trigger.Memory] of one app, shared by all nodes.
type triggerMemory struct {
	store state.Store
	uid   string
}

var _ trigger.Memory = triggerMemory{}

func (m triggerMemory) key(name string) state.Key {
	return triggersOf(m.uid) + state.Key(url.QueryEscape(name))
}

// Get implements [trigger.Memory].
func (m triggerMemory) Get(ctx context.Context, name string) (json.RawMessage, error) {
	doc, err := m.store.Get(ctx, m.key(name))
	if errors.Is(err, state.ErrNotFound) {
		return nil, nil
	}
	return doc.Value, err
}

// Put implements [trigger.Memory].
func (m triggerMemory) Put(ctx context.Context, name string, document json.RawMessage) error {
	if len(document) > trigger.MaxDocument {
		return problem.New(problem.TooLarge, fmt.Sprintf("a trigger's state has %d bytes, more than %d", len(document), trigger.MaxDocument))
	}
	_, err := m.store.Write(ctx, state.Put(m.key(name), document, state.Any))
	return err
}

// deleteTriggers removes what the triggers of an app that is deleted remember.
func (n *Node) deleteTriggers(ctx context.Context, a app.App) error {
	for {
		list, err := n.store.List(ctx, triggersOf(a.UID), state.Page{KeysOnly: true, Limit: state.MaxOps})
		if err != nil || len(list.Documents) == 0 {
			return err
		}
		ops := make([]state.Op, len(list.Documents))
		for i, doc := range list.Documents {
			ops[i] = state.Delete(doc.Key, state.Any)
		}
		if _, err := n.store.Write(ctx, ops...); err != nil {
			return err
		}
	}
}

// seen is what is remembered of an app's functions: whether they are listened
// for, in one generation.
type seen struct {
	Generation int64 `json:"generation"`
	Listens    bool  `json:"listens"`
}

const seenDocument = "app"

// eager tells whether an app is to run although nobody asks for it: it is always
// on, has functions that are listened for, or it is not known which it has.
func (n *Node) eager(ctx context.Context, w fleet.Want) (bool, error) {
	a, err := n.apps.ByName(ctx, w.Name)
	if err != nil {
		return false, err
	}
	whole, err := n.apps.Snapshot(ctx, a.ID)
	if err != nil || alwaysOn(whole) {
		return err == nil, err
	}
	memory := triggerMemory{n.store, w.UID}
	var known seen
	doc, err := memory.Get(ctx, seenDocument)
	if err != nil {
		return false, err
	}
	if doc != nil && json.Unmarshal(doc, &known) == nil && known.Generation == w.Generation {
		return known.Listens, nil
	}
	dir, err := n.releases.Folder(ctx, w.Name, w.Release)
	if err != nil {
		return false, err
	}
	m, err := hosted.LoadModel(dir, n.effective(whole, nil))
	if err != nil {
		return false, err
	}
	return hosted.Indexed(m) || listens(m), nil
}

func alwaysOn(a app.Snapshot) bool {
	var web struct {
		AlwaysOn bool `json:"alwaysOn"`
	}
	return len(a.Web) > 0 && json.Unmarshal(a.Web, &web) == nil && web.AlwaysOn
}

func listens(m *instance.Model) bool {
	return slices.ContainsFunc(m.Functions, func(f funcapp.Function) bool { return hosted.Listens(&f) })
}

// modelSeen remembers of each model whether its functions are listened for, so
// that the app is started, or not, when the node starts.
func (n *Node) modelSeen(ctx context.Context, a app.App, next func(*instance.Model)) func(*instance.Model) {
	memory, generation := triggerMemory{n.store, a.UID}, a.Generation
	ctx = context.WithoutCancel(ctx)
	return func(m *instance.Model) {
		next(m)
		if m.Unindexed || len(m.App.Faults) > 0 {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		doc, err := json.Marshal(seen{generation, listens(m)})
		if before, _ := memory.Get(ctx, seenDocument); err == nil && !bytes.Equal(before, doc) {
			err = memory.Put(ctx, seenDocument, doc)
		}
		if err != nil {
			n.log.Warn("it cannot be remembered whether the app has triggers", "app", a.Name, "reason", err)
		}
	}
}
