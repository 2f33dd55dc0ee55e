package keyring_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

// slow makes loads wait until they are released or given up; begun tells each.
func (e *env) slow() (begun chan keystore.Doc, release func()) {
	begun = make(chan keystore.Doc, 16)
	gate := make(chan struct{})
	e.tap.beforeLoad(func(ctx context.Context, doc keystore.Doc) error {
		begun <- doc
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return begun, sync.OnceFunc(func() { close(gate) })
}

func TestASlowStoreIsWaitedFor(t *testing.T) {
	e := newEnv(t)
	begun, release := e.slow()
	opened := make(chan error, 1)
	go func() { opened <- e.Open(e.ctx) }()
	<-begun
	e.clock.Advance(9 * time.Second)
	release()
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func TestAStoreThatDoesNotAnswerIsGivenUp(t *testing.T) {
	e := newEnv(t)
	begun, _ := e.slow()
	opened := make(chan error, 1)
	go func() { opened <- e.Open(e.ctx) }()
	<-begun
	e.clock.Advance(10 * time.Second)
	if err := <-opened; !errors.Is(err, problem.Unavailable) {
		t.Errorf("error %v", err)
	}
	if h := e.Health(); h.State != keyring.Unavailable || !strings.Contains(h.Reason, "10s") {
		t.Errorf("health %+v", h)
	}
}

func TestACallerThatGivesUpLeavesTheReadToTheOthers(t *testing.T) {
	e := standard(t)
	begun, release := e.slow()
	ctx, hangUp := context.WithCancel(e.ctx)
	decided := make(chan keyring.Decision, 1)
	go func() {
		decided <- e.Authorize(ctx, keyring.Request{Key: "f1value1", Function: e.Function("function1"), Source: source})
	}()
	for doc := range begun { // the host document is read again alongside
		if doc == "function1" {
			break
		}
	}
	hangUp()
	if d := <-decided; !d.Unavailable() {
		t.Errorf("decision %+v", d)
	}
	release()
	e.expect("f1value1", "function1", keyring.FunctionLevel, "f1key1", keyring.Matched)
	if h := e.Health(); h.State != keyring.OK {
		t.Errorf("health %+v", h)
	}
}

func TestCloseEndsReadsAndKeepsDeciding(t *testing.T) {
	e := standard(t)
	begun, _ := e.slow()
	ensured := make(chan error, 1)
	go func() { ensured <- e.Ensure(e.ctx, []string{"function1"}) }()
	<-begun
	e.Close()
	if err := <-ensured; err == nil {
		t.Error("no error")
	}
	e.expect("mastervalue", "", keyring.AdminLevel, "master", keyring.Matched)
	e.expect("f1value1", "function1", keyring.Anonymous, "", keyring.StoreUnavailable)
	e.Close()
}
