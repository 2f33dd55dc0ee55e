package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/armapi/functions"
	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/release"
	"github.com/latchkey/latchkey/internal/state"
)

// found is what is kept of the functions that an app's language worker found when
// the app last started, on whichever node. It goes with the app.
type found struct {
	Release   string             `json:"release"`
	Functions []release.Function `json:"functions"`
}

func foundKey(uid string) state.Key { return triggersOf(uid) + "functions" }

// functionsFound keeps the functions that a worker finds in the code of a release.
// That they can be listed while the app does not run is a help, not a condition.
func (n *Node) functionsFound(ctx context.Context, a app.App, rel string, next func(*instance.Model)) func(*instance.Model) {
	ctx = context.WithoutCancel(ctx)
	return func(m *instance.Model) {
		next(m)
		if !m.Found || len(m.App.Faults) > 0 {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := n.keepFound(ctx, a.UID, foundIn(m, rel)); err != nil {
			n.log.Warn("it cannot be kept which functions the app has", "app", a.Name, "reason", err)
		}
	}
}

func foundIn(m *instance.Model, rel string) found {
	f := found{Release: rel, Functions: make([]release.Function, len(m.Functions))}
	for i := range m.Functions {
		f.Functions[i] = describe(m.App.Host.HTTP.RoutePrefix, &m.Functions[i])
		f.Functions[i].Disabled = false // settings switch them off, and are looked at when they are listed
	}
	return f
}

func (n *Node) keepFound(ctx context.Context, uid string, f found) error {
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	before, err := n.store.Get(ctx, foundKey(uid))
	if err == nil && bytes.Equal(before.Value, text) {
		return nil
	}
	_, err = n.store.Write(ctx, state.Put(foundKey(uid), text, state.Any))
	return err
}

// found implements [functions.Config.Found]: the functions of the active release,
// or, until that has been started, of the last one whose functions a worker found.
func (n *Node) found(ctx context.Context, fa functions.App, files []release.Function) ([]release.Function, error) {
	a, err := n.apps.Get(ctx, fa.ID)
	if err != nil {
		return nil, err
	}
	doc, err := n.store.Get(ctx, foundKey(a.UID))
	switch {
	case errors.Is(err, state.ErrNotFound):
		return files, nil
	case err != nil:
		return nil, err
	}
	var f found
	if json.Unmarshal(doc.Value, &f) != nil || f.Release != fa.Release && len(files) > 0 {
		return files, nil
	}
	return f.Functions, nil
}
