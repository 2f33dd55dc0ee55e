package platform_test

import (
	"crypto/rand"
	"encoding/base64"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// timed makes an app whose only function runs every second, and gives its runs.
func timed(t *testing.T, p *platformtest.Platform, name string) <-chan struct{} {
	t.Helper()
	ran := make(chan struct{}, 1000)
	p.CreateApp(t, name, platformtest.Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/tick" {
			select {
			case ran <- struct{}{}:
			default:
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	})))
	p.Deploy(t, name, platformtest.Package(t, nil, map[string]string{
		"tick/function.json": `{"bindings": [{"type": "timerTrigger", "name": "timer", "schedule": "* * * * * *"}]}`,
	}))
	return ran
}

func runs(t *testing.T, what string, ran <-chan struct{}, times int) {
	t.Helper()
	for range times {
		select {
		case <-ran:
		case <-time.After(60 * time.Second):
			t.Fatalf("%s: no run", what)
		}
	}
}

// drop forgets the runs so far.
func drop(ran <-chan struct{}) {
	for {
		select {
		case <-ran:
		default:
			return
		}
	}
}

// TestTimersRunUnaskedWhileTheirAppIsStarted: nobody calls these apps.
func TestTimersRunUnaskedWhileTheirAppIsStarted(t *testing.T) {
	t.Parallel()
	p := platformtest.Start(t, platform.Config{})
	one, other := timed(t, p, "one"), timed(t, p, "other")
	runs(t, "deployed", one, 2)
	runs(t, "deployed", other, 1)
	p.Do(t, http.MethodPost, p.Site("one")+"/stop", nil, nil)
	drop(one)
	runs(t, "while the other is stopped", other, 3) // a run may have been under way
	drop(one)
	drop(other)
	runs(t, "while the other is stopped", other, 3)
	if len(one) != 0 {
		t.Errorf("a stopped app ran %d times", len(one))
	}
	p.Do(t, http.MethodPost, p.Site("one")+"/start", nil, nil)
	runs(t, "started again", one, 2)
	p.Stop(t)
	drop(one)
	drop(other)
	p.Restart(t)
	runs(t, "after a restart of the node", one, 2)
	runs(t, "after a restart of the node", other, 2)
}

// TestATimerOfTwoNodesRunsOnceAndOnTheOneThatIsLeft counts runs over a while: of two
// nodes that both listened there would be twice as many.
func TestATimerOfTwoNodesRunsOnceAndOnTheOneThatIsLeft(t *testing.T) {
	endpoints := etcdtest.Start(t)
	kek := make([]byte, 32)
	_, _ = rand.Read(kek) // never fails
	start := func(node string) *platformtest.Platform {
		return platformtest.Start(t, platform.Config{
			Node: node, KEK: base64.StdEncoding.EncodeToString(kek),
			State: platform.StateConfig{Kind: "etcd", Etcd: platform.EtcdConfig{Endpoints: endpoints}},
		})
	}
	one := start("one")
	two := start("two")
	ran := timed(t, one, "clock")
	for _, p := range []*platformtest.Platform{one, two} {
		platformtest.Until(t, "the app runs on node "+p.Config.Node, func() bool {
			st, known := p.Node.AppState("clock")
			return known && st == "Running"
		})
	}
	runs(t, "two nodes", ran, 1)
	drop(ran)
	runs(t, "two nodes", ran, 1)
	began := time.Now()
	runs(t, "two nodes", ran, 8)
	if took := time.Since(began); took < 6*time.Second { // however late single runs are
		t.Errorf("8 runs of a timer of every second took %s", took)
	}
	one.Stop(t)
	drop(ran)
	runs(t, "one is left", ran, 3)
}
