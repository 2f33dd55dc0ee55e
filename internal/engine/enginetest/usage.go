package enginetest

import (
	"errors"
	"time"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// measures holds engines that are a Meter to it; those that cannot tell say so.
func measures(x *bench) {
	m, ok := x.Engine.(engine.Meter)
	if !ok {
		x.t.Skip("the engine is no Meter")
	}
	s := x.spec("burn")
	if _, err := m.Usage(x.t.Context(), s.Ref); errors.Is(err, problem.Unsupported) {
		x.t.Skip(err)
	} else if !errors.Is(err, problem.NotFound) {
		x.t.Error(err)
	}
	s.Ports = nil
	s.Main = append(s.Main, x.container("idle", "wait"))
	x.place(s)
	x.ready(s.Ref, 1)
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		list, err := m.Usage(x.t.Context(), s.Ref)
		if err != nil {
			x.t.Fatal(err)
		}
		by := map[string]engine.Usage{}
		for _, u := range list {
			by[u.Container] = u
		}
		busy, idle := by["main"], by["idle"]
		if len(list) == 2 && busy.CPU > 300*time.Millisecond && idle.CPU < busy.CPU && busy.Memory > 0 && idle.Memory > 0 && busy.Replica == idle.Replica && busy.Replica != "" {
			return
		}
		if time.Now().After(end) {
			x.t.Fatalf("%+v", list)
		}
	}
}
