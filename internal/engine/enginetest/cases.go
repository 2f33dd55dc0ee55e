package enginetest

import (
	"bytes"
	"context"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

func serves(x *bench) {
	s := x.spec("serve")
	s.Main[0].Env = []engine.Env{{Name: "PLAIN", Value: "a b=c"}, {Name: "SECRET", Value: "s3cret value", Secret: true}}
	x.place(s)
	st := x.ready(s.Ref, 1)
	env := x.env(st)
	want := map[string]string{"PLAIN": "a b=c", "SECRET": "s3cret value", "IDENTITY_HEADER": x.identity.Header(st.Replicas[0].Name, "main")}
	if given := want["IDENTITY_HEADER"]; x.b.Swaps {
		if want["IDENTITY_HEADER"] = env["IDENTITY_HEADER"]; env["IDENTITY_HEADER"] == given {
			x.t.Error("the container has what Identity gave")
		}
	}
	for k, v := range want {
		if env[k] != v || v == "" {
			x.t.Errorf("%s is %q, not %q", k, env[k], v)
		}
	}
	x.place(s) // the same again
	if again := x.ready(s.Ref, 1); again.Replicas[0].Name != st.Replicas[0].Name || again.Replicas[0].Containers[0].Restarts != 0 {
		x.t.Errorf("placing the same again changed %+v to %+v", st.Replicas, again.Replicas)
	}
}

func mounts(x *bench) {
	s := x.spec("serve")
	s.Volumes = []engine.Volume{{Name: "keys", Kind: engine.VolumeSecret, Files: []engine.File{{Path: "host.master", Data: []byte("the key")}, {Path: "below/two", Data: []byte("2")}}}}
	s.Main[0].Mounts = []engine.Mount{{Volume: "keys", Path: "/run/secrets/functions-keys", ReadOnly: true}}
	x.place(s)
	st := x.ready(s.Ref, 1)
	for path, want := range map[string]string{"host.master": "the key", "below/two": "2"} {
		if got := x.file(st, "/run/secrets/functions-keys/"+path); got != want {
			x.t.Errorf("%s has %q", path, got)
		}
	}
}

func initOrder(x *bench) {
	s := x.spec("serve")
	s.Init = []engine.Container{x.container("init-a", "fail-first", "2"), x.container("init-b", "exit", "0")}
	x.place(s)
	st := x.ready(s.Ref, 1)
	want := []string{"environment init-a 0", "ended init-a 0", "environment init-a 1", "ended init-a 1", "environment init-a 2", "ended init-a 2",
		"environment init-b 0", "ended init-b 0", "init-ended", "environment main 0"}
	if diff := cmp.Diff(want, x.identity.Calls()); diff != "" {
		x.t.Errorf("(-want +got)\n%s", diff)
	}
	for _, c := range st.Replicas[0].Containers {
		if c.Role == engine.RoleInit && (c.State != engine.ContainerTerminated || c.LastExit == nil || c.LastExit.Code != 0) {
			x.t.Errorf("%+v", c)
		}
	}
	if h := x.identity.Header(st.Replicas[0].Name, "init-a"); h != "" {
		x.t.Error("the secret of an init container is alive")
	}
}

func restarts(x *bench) {
	s := x.spec("fail-first", "100")
	x.place(s)
	st := x.await(s.Ref, "two restarts", func(s engine.Status) bool {
		return len(s.Replicas) == 1 && main(s).Restarts >= 2 && main(s).Reason == engine.ReasonCrash
	})
	if c := main(st); c.LastExit == nil || c.LastExit.Code != 1 || st.Ready != 0 || st.Reason != engine.ReasonCrash {
		x.t.Errorf("%+v", st)
	}
	want := []string{"init-ended", "environment main 0", "ended main 0", "environment main 1", "ended main 1"}
	if got := x.identity.Calls(); len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
		x.t.Errorf("%q", got)
	}
}

// main gives the first main container.
func main(s engine.Status) engine.ContainerStatus {
	for _, c := range s.Replicas[0].Containers {
		if c.Role == engine.RoleMain {
			return c
		}
	}
	return engine.ContainerStatus{}
}

func repairs(x *bench) {
	s := x.spec("serve")
	x.place(s)
	st := x.ready(s.Ref, 1)
	before := x.env(st)["IDENTITY_HEADER"]
	for _, o := range x.list() {
		if o.Container == "main" {
			x.b.Kill(x.t, o)
		}
	}
	st = x.await(s.Ref, "a restart", func(s engine.Status) bool { return len(s.Replicas) == 1 && main(s).Restarts == 1 && s.Ready == 1 })
	if exit := main(st).LastExit; exit == nil || exit.Code != 137 {
		x.t.Errorf("last exit %+v", exit)
	}
	if after := x.env(st)["IDENTITY_HEADER"]; after == before && !x.b.Swaps || after == "" {
		x.t.Errorf("the header was %q and is %q", before, after)
	}
}

func (x *bench) list() []engine.Object {
	x.t.Helper()
	all, err := x.List(x.t.Context())
	if err != nil {
		x.t.Fatal(err)
	}
	return all
}

func scales(x *bench) {
	s := x.spec("wait")
	s.Ports = nil
	s.Replicas = 0
	x.place(s)
	for _, n := range []int{3, 1, 0, 1} {
		if err := x.Scale(x.t.Context(), s.Ref, n); err != nil {
			x.t.Fatal(err)
		}
		x.ready(s.Ref, n)
	}
	if err := x.Scale(x.t.Context(), engine.Ref{App: "none", Revision: "none"}, 1); problem.KindOf(err) != problem.NotFound {
		x.t.Errorf("%v", err)
	}
}

func updates(x *bench) {
	s := x.spec("serve")
	s.Replicas = 2
	x.place(s)
	before := x.ready(s.Ref, 2)
	s.Generation = "2"
	s.Main = []engine.Container{x.container("main", "serve")}
	s.Main[0].Env = []engine.Env{{Name: "VERSION", Value: "2"}}
	x.place(s)
	after := x.await(s.Ref, "two new replicas", func(s engine.Status) bool {
		if len(s.Replicas) > 0 {
			ready := 0
			for _, r := range s.Replicas {
				if r.Ready {
					ready++
				}
			}
			if ready < 2 {
				x.t.Errorf("%d ready replicas during the update", ready)
			}
		}
		return s.Ready == 2 && len(s.Replicas) == 2
	})
	for _, r := range after.Replicas {
		if r.Name == before.Replicas[0].Name || r.Name == before.Replicas[1].Name {
			x.t.Errorf("replica %s is left", r.Name)
		}
		if g := x.identity.Generation(r.Name, "main"); g != "2" {
			x.t.Errorf("the identity provider was told of generation %q", g)
		}
	}
	if v := x.env(after)["VERSION"]; v != "2" {
		x.t.Errorf("version %q", v)
	}
}

func probes(x *bench) {
	s := x.spec("serve")
	probe := engine.Probe{Port: Port, HTTP: &engine.HTTPProbe{Path: "/health"}, Period: 50 * time.Millisecond, FailureThreshold: 2, Timeout: 5 * time.Second}
	ready, live, start := probe, probe, probe
	ready.Kind, live.Kind, start.Kind = engine.Readiness, engine.Liveness, engine.Startup
	live.FailureThreshold, start.FailureThreshold = 3, 600
	s.Main[0].Probes = []engine.Probe{ready, live, start}
	s.Ports = nil // ports of probes are reachable without
	x.place(s)
	st := x.ready(s.Ref, 1)
	x.get(st, "/sick")
	x.await(s.Ref, "a restart by the liveness probe", func(s engine.Status) bool {
		return len(s.Replicas) == 1 && main(s).Restarts == 1 && s.Ready == 1
	})
	st, _ = x.Observe(x.t.Context(), s.Ref)
	if !slices.ContainsFunc(st.Events, func(e engine.Event) bool { return e.Reason == engine.ReasonUnhealthy }) {
		x.t.Errorf("%+v", st.Events)
	}
}

func logsAndExec(x *bench) {
	s := x.spec("serve")
	x.place(s)
	x.get(x.ready(s.Ref, 1), "/health")
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	defer cancel()
	var out bytes.Buffer
	if err := x.Logs(ctx, engine.Target{Revision: s.Ref}, engine.LogOptions{Tail: 1}, &out); err != nil || out.String() != "serving\n" {
		x.t.Errorf("%q %v", out.String(), err)
	}
	out.Reset()
	code, err := x.Exec(ctx, engine.Target{Revision: s.Ref}, engine.Exec{Command: append(execPrefix(x.b), "say", "hello"), Stdout: &out})
	if err != nil || code != 0 || out.String() != "hello\n" {
		x.t.Errorf("%d %q %v", code, out.String(), err)
	}
	if code, err := x.Exec(ctx, engine.Target{Revision: s.Ref}, engine.Exec{Command: append(execPrefix(x.b), "exit", "7")}); err != nil || code != 7 {
		x.t.Errorf("%d %v", code, err)
	}
	if _, err := x.Exec(ctx, engine.Target{Revision: s.Ref, Container: "none"}, engine.Exec{Command: []string{"x"}}); problem.KindOf(err) != problem.NotFound {
		x.t.Errorf("%v", err)
	}
}

// execPrefix is how the program is called inside a container.
func execPrefix(b Backend) []string { return slices.Clone(b.Program) }

func removes(x *bench) {
	s := x.spec("serve")
	s.Volumes = []engine.Volume{{Name: "scratch", Kind: engine.VolumeEmpty}}
	s.Main[0].Mounts = []engine.Mount{{Volume: "scratch", Path: "/scratch"}}
	s.Replicas = 2
	x.place(s)
	x.ready(s.Ref, 2)
	ctx, cancel := context.WithTimeout(x.t.Context(), patience)
	defer cancel()
	if err := x.Remove(ctx, s.Ref); err != nil {
		x.t.Fatal(err)
	}
	if left := x.list(); len(left) > 0 {
		x.t.Errorf("left: %+v", left)
	}
	calls := x.identity.Calls()
	if n := len(calls); calls[n-1] != "gone" || calls[n-2] != "gone" {
		x.t.Errorf("%q", calls)
	}
	if _, err := x.Observe(ctx, s.Ref); problem.KindOf(err) != problem.NotFound {
		x.t.Errorf("%v", err)
	}
	if err := x.Remove(ctx, s.Ref); err != nil {
		x.t.Errorf("again: %v", err)
	}
}

func resumes(x *bench) {
	s := x.spec("serve")
	s.Init = []engine.Container{x.container("init", "exit", "0")}
	x.place(s)
	before := x.ready(s.Ref, 1).Replicas[0].Name
	_ = x.Close()
	x.open()
	x.place(s)
	after := x.ready(s.Ref, 1)
	calls := x.identity.Calls()
	if !x.b.Survives {
		if all := strings.Join(calls, ","); strings.Contains(all, "resume") || strings.Count(all, "environment main") != 2 || strings.Count(all, "environment init") != 2 {
			x.t.Errorf("a replica that cannot outlive Latchkey was taken over: %q", calls)
		}
		return
	}
	if x.b.Swaps { // nobody but the backend knows what Identity gave, so it may be given anew
		if after.Replicas[0].Name != before || main(after).Restarts != 0 {
			x.t.Errorf("%+v after %s", after.Replicas[0], before)
		}
		x.get(after, "/health")
		return
	}
	if after.Replicas[0].Name != before || !slices.Contains(calls, "resume main 0") || strings.Count(strings.Join(calls, ","), "environment main") != 1 {
		x.t.Errorf("%s after %s: %q", after.Replicas[0].Name, before, calls)
	}
	x.get(after, "/health")
	_ = x.Close()
	x.identity.Refuse()
	x.open()
	x.place(s)
	x.await(s.Ref, "a replica made anew", func(st engine.Status) bool {
		return st.Ready == 1 && strings.Count(strings.Join(x.identity.Calls(), ","), "environment main") == 2
	})
	if _ = x.Close(); true { // and another spec finds the old replica and replaces it
		s.Generation = "other"
		x.open()
		x.place(s)
		if now := x.ready(s.Ref, 1); now.Replicas[0].Name == before {
			x.t.Error("a replica of an older spec was kept")
		}
	}
}

func sweeps(x *bench) {
	for _, name := range []string{"kept", "placed", "orphan"} {
		s := x.spec("wait")
		s.Revision, s.Ports = name, nil
		x.place(s)
		x.ready(s.Ref, 1)
	}
	_ = x.Close()
	x.open()
	s := x.spec("wait")
	s.Revision, s.Ports = "placed", nil
	x.place(s)
	x.ready(s.Ref, 1)
	swept, err := x.Sweep(x.t.Context(), func(r engine.Ref) bool { return r.Revision == "kept" })
	if err != nil {
		x.t.Fatal(err)
	}
	for _, o := range swept {
		if o.Revision.Revision != "orphan" {
			x.t.Errorf("swept %+v", o)
		}
	}
	have := map[string]bool{}
	for _, o := range x.list() {
		have[o.Revision.Revision] = true
	}
	if have["orphan"] || !have["placed"] || x.b.Survives && (!have["kept"] || len(swept) == 0) {
		x.t.Errorf("left %v, swept %v", have, swept)
	}
}

func strangers(x *bench) {
	s := x.spec("wait")
	s.Ports = nil
	x.place(s)
	x.ready(s.Ref, 1)
	other := newBench(x.t, x.b)
	if all := other.list(); len(all) > 0 {
		x.t.Errorf("%+v", all)
	}
	if swept, err := other.Sweep(x.t.Context(), nil); err != nil || len(swept) > 0 {
		x.t.Errorf("%v %v", swept, err)
	}
	x.ready(s.Ref, 1)
}

func missingImage(x *bench) {
	s := x.spec("serve")
	s.Main[0].Image = x.b.Missing
	x.place(s)
	st := x.await(s.Ref, "the reason", func(s engine.Status) bool { return s.Reason != "" })
	if st.Reason != engine.ReasonImageName && st.Reason != engine.ReasonImageNetwork || !strings.Contains(st.Message, x.b.Missing) {
		x.t.Errorf("%s: %s", st.Reason, st.Message)
	}
	s.Main[0].Image = x.b.Image
	x.place(s)
	x.ready(s.Ref, 1)
}

func portTaken(x *bench) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		x.t.Fatal(err)
	}
	defer l.Close()
	s := x.spec("serve")
	s.Ports[0].Host = l.Addr().(*net.TCPAddr).Port
	x.place(s)
	x.await(s.Ref, "the reason", func(s engine.Status) bool { return s.Reason == engine.ReasonPortTaken })
	_ = l.Close()
	x.ready(s.Ref, 1)
}
