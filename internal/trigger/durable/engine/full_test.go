package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger/durable/instances"
)

// Whoever may send events must not be able to make an instance one that nobody
// can end.
func TestAnInstanceFullOfEventsCanBeEnded(t *testing.T) {
	a := newApp()
	a.orchestrators["approval"] = approval
	b := newBench(t, a)
	if _, err := b.Start(t.Context(), "full", "approval", "", nil); err != nil {
		t.Fatal(err)
	}
	b.await(t, "full", func(i *instances.Instance) bool { return i.Status == instances.Running && len(i.History) > 2 })
	if err := b.Suspend(t.Context(), "full", ""); err != nil {
		t.Fatal(err)
	}
	b.await(t, "full", func(i *instances.Instance) bool { return i.Status == instances.Suspended })
	for size := 512 << 10; size > 0; size /= 2 {
		var err error
		for err == nil {
			err = b.Raise(t.Context(), "full", "other", json.RawMessage(`"`+strings.Repeat("x", size)+`"`))
		}
		if !errors.Is(err, problem.TooLarge) {
			t.Fatal(err)
		}
	}
	if err := b.Terminate(t.Context(), "full", strings.Repeat("because ", 1000)); err != nil {
		t.Fatal(err)
	}
	if i := b.await(t, "full", func(i *instances.Instance) bool { return i.Status.Final() }); i.Status != instances.Terminated {
		t.Errorf("it is %s: %.200s", i.Status, i.Output)
	}
}

func TestAResultWithoutRoomEndsTheWait(t *testing.T) {
	a := newApp()
	const parts = 8
	a.activities["big"] = func(string) (string, error) { return `"` + strings.Repeat("x", 200<<10) + `"`, nil }
	a.orchestrators["many"] = func(*history) string {
		acts := make([]string, parts)
		for n := range acts {
			acts[n] = fmt.Sprintf(`{"actionType":0,"functionName":"big","input":"%d"}`, n)
		}
		return state(false, "null", `{"actionType":12,"compoundActions":[`+strings.Join(acts, ",")+`]}`)
	}
	b := newBench(t, a)
	if i := b.run(t, "one", "many", `1`); i.Status != instances.Failed || !strings.Contains(string(i.Output), "900 KiB") {
		t.Errorf("it is %s: %.200s", i.Status, i.Output)
	}
}

func TestAListIsBoundedByItsSize(t *testing.T) {
	b := newBench(t, newApp())
	const many = 24
	for n := range many {
		if _, err := b.Start(t.Context(), fmt.Sprintf("i%02d", n), "nobody", "", json.RawMessage(`"`+strings.Repeat("x", 500<<10)+`"`)); err != nil {
			t.Fatal(err)
		}
	}
	seen, pages := 0, 0
	for after, more := "", true; more; pages++ {
		list, next, err := b.List(t.Context(), instances.Query{}, after, 1000)
		if err != nil || len(list) == 0 {
			t.Fatal(len(list), err)
		}
		size := 0
		for _, i := range list {
			size += len(i.Input)
			if i.History != nil || i.Inbox != nil {
				t.Error("a list carries histories")
			}
		}
		if size > maxPage+512<<10 {
			t.Errorf("a page has %d bytes", size)
		}
		seen, after, more = seen+len(list), list[len(list)-1].ID, next
	}
	if seen != many || pages < 2 {
		t.Errorf("%d instances on %d pages", seen, pages)
	}
}
