package fleet

import (
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

func lower(name string) string { return strings.ToLower(name) }

// follower takes what the control plane wants. A document that cannot be
// understood leaves its app as it is.
type follower Fleet

// Reset implements state.Follower.
func (o *follower) Reset(documents []state.Document) {
	f := (*Fleet)(o)
	f.cut.Store(nil)
	seen := map[state.Key]bool{}
	for _, doc := range documents {
		seen[doc.Key] = true
	}
	for key := range f.keys { // first: the name may be that of another app by now
		if !seen[key] {
			f.remove(key)
		}
	}
	for _, doc := range documents {
		f.put(doc)
	}
	f.once.Do(func() { close(f.ready) })
}

// Apply implements state.Follower.
func (o *follower) Apply(e state.Event) {
	f := (*Fleet)(o)
	f.cut.Store(nil)
	if e.Kind == state.EventDelete {
		f.remove(e.Key)
		return
	}
	f.put(e.Document)
}

// Cut implements state.Follower.
func (o *follower) Cut(err error) {
	f := (*Fleet)(o)
	if f.cut.Load() == nil {
		f.cut.Store(&cut{err, f.cfg.Clock.Now()})
		f.cfg.Log.Error("the control plane cannot be read; apps are served as last known", "reason", err, "next", problem.NextOf(err))
	}
}

func (f *Fleet) put(doc state.Document) {
	w, isApp, err := f.cfg.Decode(doc)
	if err != nil {
		f.cfg.Log.Error("an app's document cannot be understood; the app stays as it is", "document", string(doc.Key), "reason", err)
		return
	}
	if !isApp {
		return
	}
	name := lower(w.Name)
	f.keys[doc.Key] = name
	v, known := f.slots.Load(name)
	if !known {
		v = newSlot(f, w)
		f.slots.Store(name, v)
	}
	s := v.(*slot)
	if known && *s.want.Load() == w {
		return
	}
	s.want.Store(&w)
	s.changed()
	s.stir()
}

func (f *Fleet) remove(key state.Key) {
	name, known := f.keys[key]
	if !known {
		return
	}
	delete(f.keys, key)
	if v, ok := f.slots.LoadAndDelete(name); ok {
		s := v.(*slot)
		s.gone.Store(true)
		s.changed()
	}
}
