package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/containerapp/runner"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/memory"
	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
	statememory "github.com/latchkey/latchkey/internal/state/memory"
)

const groupAt = "/subscriptions/5ab5c1b0-0000-4000-8000-000000000000/resourceGroups/rg"

// world is a control plane and a machine, with a runner between them.
type world struct {
	*testing.T
	*containerapp.Apps
	store   state.Store
	machine *memory.Machine
	id, env resource.ID
	stop    func() // ends the runner

	mu     sync.Mutex
	runner *runner.Runner
	open   error             // what opening the engine fails with
	secret error             // what reading secrets fails with
	values map[string]string // of secrets
	seen   map[string]string // what programs found in their environment, by replica
	views  []runner.View
	gone   []string

	drain  func(context.Context, engine.Ref) // of revisions that end; nil: at once
	scaled func() int                        // nil: the least
	wrap   func(engine.Engine) engine.Engine // nil: the runner gets the engine itself
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, store: statememory.New(clock.Real{}), values: map[string]string{"s": "one"}, seen: map[string]string{}, stop: func() {}}
	t.Cleanup(func() { _ = w.store.Close() })
	w.id, w.env = w.parse(groupAt+"/providers/Microsoft.App/containerApps/shop"), w.parse(groupAt+"/providers/Microsoft.App/managedEnvironments/env")
	w.machine = memory.NewMachine(clock.Real{}, map[string]memory.Program{"good": w.program, "bad": func(context.Context, memory.Process) int { return 1 }})
	inv := &inventory.Inventory{Store: w.store, Clock: clock.Real{}}
	_, _, err := inv.Write(t.Context(), w.parse(groupAt), "me", func(r inventory.Resource, _ bool) (inventory.Resource, error) { return r, nil })
	w.must(err)
	w.Apps = containerapp.New(containerapp.Config{Inventory: inv, Clock: clock.Real{}, OnDelete: []func(context.Context, containerapp.App) error{
		func(ctx context.Context, a containerapp.App) error { return w.now().Remove(ctx, a) },
	}})
	_, _, err = w.PutEnvironment(t.Context(), w.env, "me", containerapp.Spec{Location: "local"}, false)
	w.must(err)
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) parse(text string) resource.ID {
	w.Helper()
	id, err := resource.Parse(text)
	w.must(err)
	return id
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *world) now() *runner.Runner {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runner
}

func (w *world) program(ctx context.Context, p memory.Process) int {
	w.set(func() { w.seen[p.Start.Replica] = p.Env["SECRET"] + " " + p.Env["PLAIN"] + " " + p.Files["/secrets/s"] })
	return memory.Forever(ctx, p)
}

// start runs a runner until stop.
func (w *world) start() {
	r := runner.New(runner.Config{
		Apps: w.Apps, Store: w.store, Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler),
		Open: func(_ context.Context, changed func(engine.Ref)) (engine.Engine, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.open != nil {
				return nil, w.open
			}
			e := engine.Engine(memory.New(engine.Config{Installation: "test", Changed: changed, Clock: clock.Real{}}, w.machine))
			if w.wrap != nil {
				e = w.wrap(e)
			}
			return e, nil
		},
		Secrets: func(context.Context, containerapp.App) (map[string]string, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return map[string]string{"s": w.values["s"]}, w.secret
		},
		Seen: func(v runner.View) { w.set(func() { w.views = append(w.views, v) }) },
		Gone: func(app string) { w.set(func() { w.gone = append(w.gone, app) }) },
		Drain: func(ctx context.Context, ref engine.Ref) {
			if w.drain != nil {
				w.drain(ctx, ref)
			}
		},
		Replicas: func(engine.Ref, containerapp.Scale) int {
			if w.scaled != nil {
				return w.scaled()
			}
			return 1
		},
	})
	w.set(func() { w.runner = r })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	w.stop = func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			w.Error("the runner does not end")
		}
	}
}

// put makes an app of one container; suffix "" leaves the revision's name open.
func (w *world) put(image, suffix string) containerapp.App {
	w.Helper()
	a, _, err := w.Put(w.Context(), w.id, "me", containerapp.Spec{Location: "local", Properties: json.RawMessage(fmt.Sprintf(
		`{"environmentId":%q,"configuration":{"secrets":[{"name":"s","value":"stored"}]},"template":{"revisionSuffix":%q,"terminationGracePeriodSeconds":1,
		"volumes":[{"name":"files","storageType":"Secret"}],"containers":[{"name":"main","image":%q,
		"env":[{"name":"SECRET","secretRef":"s"},{"name":"PLAIN","value":"p"}],"volumeMounts":[{"volumeName":"files","mountPath":"/secrets"}]}]}}`,
		w.env, suffix, image))})
	w.must(err)
	return a
}

func (w *world) until(what string, done func() bool) {
	w.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r, _ := w.Revisions(context.Background(), w.id)
			w.Fatalf("still not so after a minute: %s; revisions: %+v", what, r)
		}
	}
}

// is waits until a revision has a status.
func (w *world) is(suffix string, p containerapp.Provisioning, r containerapp.Running) (s containerapp.Status) {
	w.Helper()
	w.until(fmt.Sprintf("revision %s is %s and %s", suffix, p, r), func() bool {
		rev, err := w.Revision(w.Context(), w.id, "shop--"+suffix)
		s = rev.Status
		return err == nil && s.Provisioning == p && s.Running == r
	})
	return s
}

// replicas names those that run of a revision.
func (w *world) replicas(suffix string) (names []string) {
	s, err := w.now().Observe(w.Context(), engine.Ref{App: w.id.String(), Revision: "shop--" + suffix})
	if err != nil {
		return nil
	}
	for _, r := range s.Replicas {
		if r.Ready {
			names = append(names, r.Name)
		}
	}
	return names
}

func (w *world) objects() int {
	e, err := w.now().Engine()
	w.must(err)
	list, err := e.List(w.Context())
	w.must(err)
	return len(list)
}

func TestAnAppRunsWithItsSecrets(t *testing.T) {
	w := newWorld(t)
	w.put("good", "a")
	if s := w.is("a", containerapp.Provisioned, containerapp.IsRunning); !s.Healthy || s.Replicas != 1 || s.Code+s.Reason != "" {
		t.Errorf("%+v", s)
	}
	names := w.replicas("a")
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(names) != 1 || w.seen[names[0]] != "one p one" {
		t.Errorf("replicas %v found %v", names, w.seen)
	}
}

func TestAChangedSecretIsSeenAfterATouchAndNotBefore(t *testing.T) {
	w := newWorld(t)
	w.put("good", "a")
	w.is("a", containerapp.Provisioned, containerapp.IsRunning)
	before := w.replicas("a")
	w.set(func() { w.values["s"] = "two" })
	_, err := w.Touch(w.Context(), w.id)
	w.must(err)
	w.until("another replica has the new value", func() bool {
		names := w.replicas("a")
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(names) == 1 && names[0] != before[0] && w.seen[names[0]] == "two p two"
	})
}

func TestAnUnknownSecretFailsTheRevisionAndTheOneBeforeServes(t *testing.T) {
	w := newWorld(t)
	w.put("good", "a")
	w.is("a", containerapp.Provisioned, containerapp.IsRunning)
	w.set(func() {
		w.secret = problem.New(problem.Denied, "secret db of vault shop cannot be read by identity system").WithNext("assign the role")
	})
	w.put("good", "b")
	s := w.is("b", containerapp.Failed, containerapp.FailedRunning)
	for _, want := range []string{"db", "vault shop", "identity system", "assign the role"} {
		if !strings.Contains(s.Reason, want) {
			t.Errorf("the reason does not name %s: %s", want, s.Reason)
		}
	}
	if len(w.replicas("a")) != 1 || len(w.replicas("b")) != 0 {
		t.Errorf("replicas of a: %v, of b: %v", w.replicas("a"), w.replicas("b"))
	}
	w.set(func() { w.secret = nil })
	w.is("b", containerapp.Provisioned, containerapp.IsRunning)
	w.until("the revision before ended", func() bool { return len(w.replicas("a")) == 0 })
	w.is("a", containerapp.Provisioned, containerapp.IsStopped)
}

func TestARevisionThatCrashesFailsAndTheOneBeforeServes(t *testing.T) {
	w := newWorld(t)
	w.put("good", "a")
	w.is("a", containerapp.Provisioned, containerapp.IsRunning)
	w.put("none", "b")
	if s := w.is("b", containerapp.Failed, containerapp.FailedRunning); s.Code != containerapp.CodeTemplate || !strings.Contains(s.Reason, "template.containers.main.image") {
		t.Errorf("%+v", s)
	}
	w.put("bad", "c")
	if s := w.is("c", containerapp.Failed, containerapp.FailedRunning); s.Code == "" || !strings.Contains(s.Reason, "CrashLoopBackOff") {
		t.Errorf("%+v", s)
	}
	if len(w.replicas("a")) != 1 {
		t.Error("the revision before does not serve")
	}
}

func TestWithoutAnEngineRevisionsFailUntilThereIsOne(t *testing.T) {
	w := newWorld(t)
	w.stop()
	w.set(func() {
		w.open = problem.New(problem.Unavailable, "no engine answers; tried unix:///x.sock").WithNext("use process")
	})
	w.start()
	w.put("good", "a")
	if s := w.is("a", containerapp.Failed, containerapp.FailedRunning); !strings.Contains(s.Reason, "unix:///x.sock") || !strings.Contains(s.Reason, "use process") {
		t.Errorf("%+v", s)
	}
	w.set(func() { w.open = nil })
	w.is("a", containerapp.Provisioned, containerapp.IsRunning)
	w.machine.Down(true)
	w.stop()
	w.machine.Down(false)
	w.start()
	w.is("a", containerapp.Provisioned, containerapp.IsRunning)
}

func TestARestartTakesOverWhatRunsAndRemovesWhatNobodyWants(t *testing.T) {
	w := newWorld(t)
	w.put("good", "a")
	w.is("a", containerapp.Provisioned, containerapp.IsRunning)
	before := w.replicas("a")
	w.stop()
	left := memory.New(engine.Config{Installation: "test", Clock: clock.Real{}}, w.machine)
	orphan := engine.Spec{Ref: engine.Ref{App: groupAt + "/providers/Microsoft.App/containerApps/old", Revision: "old--x"}, Replicas: 1,
		Main: []engine.Container{{Name: "main", Image: "good", CPU: 1, Memory: 1 << 20}}}
	w.must(left.Place(t.Context(), orphan))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := engine.Await(ctx, clock.Real{}, left, orphan.Ref, func(s engine.Status) bool { return s.Ready == 1 })
	w.must(err)
	w.must(left.Close())
	w.start()
	select {
	case <-w.now().Ready():
	case <-ctx.Done():
		t.Fatal("the runner is not ready")
	}
	w.until("the replica of before serves", func() bool { return len(w.replicas("a")) == 1 })
	if now := w.replicas("a"); now[0] != before[0] {
		t.Errorf("replica %s became %s", before, now)
	}
	if n := w.objects(); n != 1 {
		t.Errorf("there are %d objects", n)
	}
}

func TestStoppedAndDeletedAppsLeaveNothing(t *testing.T) {
	w := newWorld(t)
	w.put("good", "a")
	w.is("a", containerapp.Provisioned, containerapp.IsRunning)
	_, err := w.SetStopped(t.Context(), w.id, "me", true)
	w.must(err)
	w.is("a", containerapp.Provisioned, containerapp.IsStopped)
	w.until("nothing is left of a stopped app", func() bool { return w.objects() == 0 })
	_, err = w.SetStopped(t.Context(), w.id, "me", false)
	w.must(err)
	w.is("a", containerapp.Provisioned, containerapp.IsRunning)
	w.must(w.Delete(t.Context(), w.id, "me"))
	if n := w.objects(); n != 0 {
		t.Errorf("a deleted app left %d objects", n)
	}
	w.until("who routes is told", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.gone) == 1 && w.gone[0] == w.id.Key() && len(w.views[len(w.views)-1].Revisions) == 0
	})
	w.put("good", "a")
	w.is("a", containerapp.Provisioned, containerapp.IsRunning)
}

func TestAReplicaThatDiesIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.put("good", "a")
	w.is("a", containerapp.Provisioned, containerapp.IsRunning)
	if !w.machine.Kill(w.replicas("a")[0], "main") {
		t.Fatal("nothing was killed")
	}
	w.until("it runs again", func() bool {
		rev, err := w.Revision(t.Context(), w.id, "shop--a")
		return err == nil && rev.Status.Healthy && len(w.replicas("a")) == 1
	})
}

func TestAReportOfWhatWasBeforeARestartCountsNoMore(t *testing.T) {
	w := newWorld(t)
	w.stop()
	a := w.put("good", "a")
	seen, err := w.Revision(t.Context(), w.id, "shop--a")
	w.must(err)
	_, err = w.RestartRevision(t.Context(), w.id, "me", "shop--a")
	w.must(err)
	_, err = w.ReportOf(t.Context(), a, seen, containerapp.Status{Provisioning: containerapp.Failed})
	w.must(err)
	if now, err := w.Revision(t.Context(), w.id, "shop--a"); err != nil || now.Status.Provisioning != containerapp.InProgress {
		t.Errorf("%+v %v", now, err)
	}
	a.UID = "another life"
	if _, err := w.ReportOf(t.Context(), a, seen, containerapp.Status{}); !errors.Is(err, problem.NotFound) {
		t.Errorf("a report on another life of the app: %v", err)
	}
}

// told is an engine that tells what it is asked for before it does it.
type told struct {
	engine.Engine
	remove func(engine.Ref)
	scale  func(engine.Ref, int)
}

func (e told) Remove(ctx context.Context, ref engine.Ref) error {
	e.remove(ref)
	return e.Engine.Remove(ctx, ref)
}

func (e told) Scale(ctx context.Context, ref engine.Ref, n int) error {
	e.scale(ref, n)
	return e.Engine.Scale(ctx, ref, n)
}

func TestARevisionThatIsWantedAgainBeforeItsRequestsEndedGoesOn(t *testing.T) {
	w := newWorld(t)
	w.stop()
	var removed, placed atomic.Int64
	w.scaled = func() int { placed.Add(1); return 1 }
	drains, drained := make(chan struct{}, 8), make(chan struct{})
	w.wrap = func(e engine.Engine) engine.Engine {
		return told{Engine: e, remove: func(engine.Ref) { removed.Add(1) }}
	}
	w.drain = func(ctx context.Context, _ engine.Ref) {
		drains <- struct{}{}
		select {
		case <-drained:
		case <-ctx.Done():
		}
	}
	w.start()
	w.put("good", "a")
	w.is("a", containerapp.Provisioned, containerapp.IsRunning)
	before := w.replicas("a")
	for range 3 { // one way out is begun, not three
		_, err := w.SetStopped(t.Context(), w.id, "me", true)
		w.must(err)
		w.is("a", containerapp.Provisioned, containerapp.IsStopped)
		_, err = w.SetStopped(t.Context(), w.id, "me", false)
		w.must(err)
		w.is("a", containerapp.Provisioned, containerapp.IsRunning)
	}
	had := placed.Load()
	drained <- struct{}{}
	w.until("it is placed as if it had never ended", func() bool { return placed.Load() > had })
	_, err := w.SetStopped(t.Context(), w.id, "me", true)
	w.must(err)
	w.until("it ends again", func() bool { return len(drains) == 2 })
	if now := w.replicas("a"); len(now) != 1 || now[0] != before[0] || removed.Load() != 0 {
		t.Errorf("replica %s became %s, with %d removals", before, now, removed.Load())
	}
	close(drained)
	w.until("nothing is left of a stopped app", func() bool { return w.objects() == 0 })
}

func TestARevisionThatIsWantedAgainWhileItIsRemovedComesBackWithoutAFault(t *testing.T) {
	w := newWorld(t)
	w.stop()
	asked, onward := make(chan struct{}, 8), make(chan struct{})
	w.wrap = func(e engine.Engine) engine.Engine {
		return told{Engine: e, remove: func(engine.Ref) {
			asked <- struct{}{}
			<-onward
		}}
	}
	w.start()
	w.put("good", "a")
	w.is("a", containerapp.Provisioned, containerapp.IsRunning)
	before := w.replicas("a")
	_, err := w.SetStopped(t.Context(), w.id, "me", true)
	w.must(err)
	w.until("the engine is asked to remove it", func() bool { return len(asked) == 1 })
	_, err = w.SetStopped(t.Context(), w.id, "me", false)
	w.must(err)
	close(onward)
	w.until("another replica runs", func() bool {
		rev, err := w.Revision(t.Context(), w.id, "shop--a")
		w.must(err)
		if rev.Status.Provisioning == containerapp.Failed || rev.Status.Code != "" {
			t.Fatalf("it failed: %+v", rev.Status)
		}
		now := w.replicas("a")
		return len(now) == 1 && now[0] != before[0] && rev.Status.Running == containerapp.IsRunning
	})
}

func TestAScaleThatComesWhileARevisionIsPlacedIsNotLost(t *testing.T) {
	w := newWorld(t)
	w.stop()
	var calls, scaled atomic.Int64
	w.wrap = func(e engine.Engine) engine.Engine {
		return told{Engine: e, scale: func(_ engine.Ref, n int) { scaled.Store(int64(n)) }}
	}
	w.scaled = func() int { return int(min(calls.Add(1), 2)) } // 1 when it is placed, 2 from then on
	w.start()
	w.put("good", "a")
	w.until("the engine is told the number that is wanted now", func() bool { return scaled.Load() == 2 })
	w.until("there are as many replicas", func() bool { return len(w.replicas("a")) == 2 })
}
