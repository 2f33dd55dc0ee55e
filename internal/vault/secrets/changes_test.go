package secrets_test

import (
	"context"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/vault/secrets"
)

func (e *env) next(changes <-chan secrets.Change) secrets.Change {
	e.Helper()
	select {
	case c, ok := <-changes:
		if !ok {
			e.Fatal("no more changes")
		}
		return c
	case <-e.ctx.Done():
		e.Fatal("no change came")
	}
	return secrets.Change{}
}

func TestChangesAreTold(t *testing.T) {
	e := newEnv(t)
	e.set(one, "before", "1")
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	changes := e.Changes(ctx)
	steps := []func(){
		func() { e.set(one, "Name", "1") },
		func() { e.set(one, "name", "2") },
		func() { _, _ = e.Update(e.ctx, one, "name", "", secrets.Attributes{Enabled: ptr(false)}) },
		func() {
			for version, p := range e.versions(one, "name") {
				if p.PreviousVersion == "" {
					_, _ = e.Update(e.ctx, one, "name", version, secrets.Attributes{Enabled: ptr(false)})
				}
			}
		},
		func() { e.delete(one, "name") },
		func() { _, _ = e.Recover(e.ctx, one, "name") },
	}
	for i, step := range steps {
		step()
		if got := e.next(changes); got != (secrets.Change{VaultUID: one.UID, Secret: "name"}) {
			t.Errorf("step %d: %+v", i, got)
		}
	}
	blob := e.backup(one, "name")
	if _, err := e.Restore(e.ctx, two, blob); err != nil {
		t.Fatal(err)
	}
	if got := e.next(changes); got != (secrets.Change{VaultUID: two.UID, Secret: "name"}) {
		t.Errorf("%+v", got)
	}
	cancel()
	for range changes { // ends
	}
}

func TestLostChangesAreTold(t *testing.T) {
	e := newEnv(t)
	changes := e.Changes(e.ctx)
	e.memory.Forget()
	if got := e.next(changes); got != (secrets.Change{Resync: true}) {
		t.Errorf("%+v", got)
	}
	e.set(one, "n", "1")
	if got := e.next(changes); got.Secret != "n" {
		t.Errorf("%+v", got)
	}
}

func TestChangesComeBackAfterTheStateWasAway(t *testing.T) {
	e := newEnv(t)
	e.memory.SetUnavailable(true)
	changes := e.Changes(e.ctx)
	for range 3 {
		if err := e.clock.AwaitTimers(e.ctx, 1); err != nil {
			t.Fatal(err)
		}
		e.clock.Advance(2 * time.Second)
	}
	e.memory.SetUnavailable(false)
	back := make(chan struct{})
	go func() { // whether it waits right now is not known
		for clock.Sleep(e.ctx, clock.Real{}, time.Millisecond) == nil {
			select {
			case <-back:
				return
			default:
				e.clock.Advance(2 * time.Second)
			}
		}
	}()
	if got := e.next(changes); !got.Resync {
		t.Errorf("%+v", got)
	}
	close(back)
	e.set(one, "n", "1")
	if got := e.next(changes); got.Secret != "n" {
		t.Errorf("%+v", got)
	}
}
