package platform_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/platform"
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
