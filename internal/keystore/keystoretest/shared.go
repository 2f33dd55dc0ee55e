package keystoretest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/keystore"
)

func needSecond(h Harness) bool  { return h.Second != nil }
func needOutside(h Harness) bool { return h.Outside != nil }

func sharedChecks() []check {
	return []check{
		{"two handles see one place", needSecond, twoHandles},
		{"sixteen updaters on two handles lose nothing", needSecond, sixteenUpdaters},
		{"first creation has one winner", needSecond, oneWinner},
		{"a write in between makes the change run again", needOutside, runsAgain},
		{"watch tells of our changes", nil, watchOwn},
		{"watch tells of another handle's changes", needSecond, watchSecond},
		{"watch tells of changes from outside", needOutside, watchOutside},
		{"watch ends with its context", nil, watchEnds},
	}
}

func twoHandles(t *testing.T, ctx context.Context, h Harness) {
	second := h.Second(t)
	rev := mustUpdate(t, ctx, h.Store, keystore.HostDoc, put(Host("1")))
	wantLoaded(t, ctx, second, keystore.HostDoc, Host("1"))
	if _, seen := mustLoad(t, ctx, second, keystore.HostDoc); seen != rev {
		t.Errorf("revisions differ: %q and %q", rev, seen)
	}
	mustUpdate(t, ctx, second, keystore.HostDoc, put(Host("2")))
	wantLoaded(t, ctx, h.Store, keystore.HostDoc, Host("2"))
}

func sixteenUpdaters(t *testing.T, ctx context.Context, h Harness) {
	const writers, each = 16, 4
	stores := []keystore.Store{h.Store, h.Second(t)}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				name := fmt.Sprintf("k-%d-%d", w, i)
				if _, _, err := stores[w%2].Update(ctx, "fn", add(name, name)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	wg.Wait()
	d, _ := mustLoad(t, ctx, stores[1], "fn")
	have := map[string]bool{}
	for _, k := range d.Keys.Keys {
		have[k.Name] = k.Value == k.Name
	}
	if len(have) != writers*each || len(d.Keys.Keys) != writers*each {
		t.Errorf("%d keys (%d names) of %d", len(d.Keys.Keys), len(have), writers*each)
	}
}

func oneWinner(t *testing.T, ctx context.Context, h Harness) {
	stores := []keystore.Store{h.Store, h.Second(t)}
	seen := make([]string, 16)
	var wg sync.WaitGroup
	for i := range seen {
		wg.Go(func() {
			d, _, err := stores[i%2].Update(ctx, keystore.HostDoc, func(old keystore.Document, exists bool) (keystore.Document, error) {
				if exists {
					return old, nil
				}
				return Host(fmt.Sprint(i)), nil
			})
			if err != nil {
				t.Error(err)
			}
			seen[i] = d.Keys.Master.Value
		})
	}
	wg.Wait()
	d, _ := mustLoad(t, ctx, h.Store, keystore.HostDoc)
	for i, value := range seen {
		if value != d.Keys.Master.Value {
			t.Errorf("updater %d saw %q, stored is %q", i, value, d.Keys.Master.Value)
		}
	}
}

func runsAgain(t *testing.T, ctx context.Context, h Harness) {
	for _, doc := range []keystore.Doc{"absent", "present"} {
		if doc == "present" {
			mustUpdate(t, ctx, h.Store, doc, put(Function("0")))
		}
		runs := 0
		mustUpdate(t, ctx, h.Store, doc, func(old keystore.Document, exists bool) (keystore.Document, error) {
			if runs++; runs == 1 {
				h.Outside(t, doc, Function("outside"))
			}
			return add("mine", "v")(old, exists)
		})
		d, _ := mustLoad(t, ctx, h.Store, doc)
		if n := len(d.Keys.Keys); runs < 2 || n != 3 || d.Keys.Keys[0].Value != "function-outside" {
			t.Errorf("%s: after %d runs the document is %v", doc, runs, d)
		}
	}
}

// watching starts a watch that puts what it hears on a channel.
func watching(t *testing.T, ctx context.Context, s keystore.Store) <-chan keystore.Doc {
	t.Helper()
	w, ok := s.(keystore.Watcher)
	if !ok {
		t.Fatalf("%s cannot watch; declare an exception", s)
	}
	inner, cancel := context.WithCancel(ctx)
	heard := make(chan keystore.Doc, 1000)
	done, err := w.Watch(inner, func(d keystore.Doc) { heard <- d })
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); <-done })
	return heard
}

func wantHeard(t *testing.T, ctx context.Context, heard <-chan keystore.Doc, want keystore.Doc) {
	t.Helper()
	for {
		select {
		case d := <-heard:
			if d == want || d == "" {
				return
			}
		case <-ctx.Done():
			t.Fatalf("the watch never told of %q", want)
		}
	}
}

func watchOwn(t *testing.T, ctx context.Context, h Harness) {
	heard := watching(t, ctx, h.Store)
	mustUpdate(t, ctx, h.Store, "fn", put(Function("1"))) // also makes the place
	wantHeard(t, ctx, heard, "fn")
	mustUpdate(t, ctx, h.Store, keystore.HostDoc, put(Host("1")))
	wantHeard(t, ctx, heard, keystore.HostDoc)
	if err := h.Store.Delete(ctx, "fn"); err != nil {
		t.Fatal(err)
	}
	wantHeard(t, ctx, heard, "fn")
}

func watchSecond(t *testing.T, ctx context.Context, h Harness) {
	heard := watching(t, ctx, h.Second(t))
	for i := range 3 {
		mustUpdate(t, ctx, h.Store, keystore.HostDoc, put(Host(fmt.Sprint(i))))
		wantHeard(t, ctx, heard, keystore.HostDoc)
	}
}

func watchOutside(t *testing.T, ctx context.Context, h Harness) {
	heard := watching(t, ctx, h.Store)
	h.Outside(t, "fn", Function("1"))
	wantHeard(t, ctx, heard, "fn")
	wantLoaded(t, ctx, h.Store, "fn", Function("1"))
	h.Outside(t, keystore.HostDoc, Host("1"))
	wantHeard(t, ctx, heard, keystore.HostDoc)
}

func watchEnds(t *testing.T, ctx context.Context, h Harness) {
	w, ok := h.Store.(keystore.Watcher)
	if !ok {
		t.Fatalf("%s cannot watch; declare an exception", h.Store)
	}
	inner, cancel := context.WithCancel(ctx)
	done, err := w.Watch(inner, func(keystore.Doc) {})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatal("the watch outlives its context")
	}
	if _, err := w.Watch(inner, func(keystore.Doc) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("watch under an ended context: %v", err)
	}
}
