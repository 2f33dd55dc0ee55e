package platform_test

import (
	"flag"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// atATime is how many of the parallel tests run at a time. They wait more than they
// work: for schedules, cooldowns and processes.
const atATime = "4"

func TestMain(m *testing.M) {
	containerMain()
	flag.Parse()
	if err := flag.Set("test.parallel", atATime); err != nil {
		panic(err)
	}
	testkit.Main(m)
}

// saying answers every request with a text.
func saying(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, text) })
}

func TestAnAppFromItsCreationToItsEnd(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	p.CreateApp(t, "orders", platformtest.Upstream(t, saying("hello")))
	if status, _ := p.Call(t, "orders", "/api/f", ""); status != http.StatusNotFound {
		t.Errorf("with nothing deployed: %d", status)
	}
	p.Deploy(t, "orders", platformtest.Package(t, []string{"f"}, nil))
	_, key := p.HostKeys(t, "orders")
	if status, body := p.Call(t, "orders", "/api/f", key); status != 200 || body != "hello" {
		t.Errorf("with a listed key: %d %q", status, body)
	}
	if status, _ := p.Call(t, "orders", "/api/f", "wrong"); status != http.StatusUnauthorized {
		t.Errorf("with a wrong key: %d", status)
	}
	p.Do(t, http.MethodPut, p.Site("orders")+"/host/default/functionKeys/default", map[string]any{"properties": map[string]any{"name": "default"}}, nil)
	if status, _ := p.Call(t, "orders", "/api/f", key); status != http.StatusUnauthorized {
		t.Errorf("with the key from before the rotation: %d", status)
	}
	_, key = p.HostKeys(t, "orders")
	if status, _ := p.Call(t, "orders", "/api/f", key); status != 200 {
		t.Errorf("with the new key: %d", status)
	}
	p.Do(t, http.MethodPost, p.Site("orders")+"/stop", nil, nil)
	platformtest.Until(t, "callers of a stopped app get 403", func() bool {
		status, body := p.Call(t, "orders", "/api/f", key)
		return status == http.StatusForbidden && strings.Contains(body, "Error 403 - This web app is stopped.")
	})
	if _, again := p.HostKeys(t, "orders"); again != key {
		t.Errorf("the key changed with the stop")
	}
	p.Do(t, http.MethodPost, p.Site("orders")+"/start", nil, nil)
	platformtest.Until(t, "a started app serves", func() bool {
		status, _ := p.Call(t, "orders", "/api/f", key)
		return status == 200
	})
	p.Do(t, http.MethodDelete, p.Site("orders"), nil, nil)
	platformtest.Until(t, "a deleted app is gone", func() bool {
		status, _ := p.Call(t, "orders", "/api/f", key)
		return status == http.StatusNotFound
	})
	if err := p.Client.Do(t.Context(), http.MethodGet, p.Site("orders"), nil, nil); problem.KindOf(err) != problem.NotFound {
		t.Errorf("reading a deleted app: %v", err)
	}
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	if _, other := p.HostKeys(t, "orders"); other == key {
		t.Error("an app of the same name got the keys of the one deleted")
	}
}

func TestEverythingIsThereAfterARestart(t *testing.T) {
	t.Parallel()
	p := platformtest.Start(t, platform.Config{})
	p.CreateApp(t, "orders", platformtest.Upstream(t, saying("hello")))
	p.Deploy(t, "orders", platformtest.Package(t, []string{"f"}, nil))
	master, key := p.HostKeys(t, "orders")
	p.Stop(t)
	p.Restart(t)
	if m, k := p.HostKeys(t, "orders"); m != master || k != key {
		t.Error("keys changed with a restart")
	}
	if status, body := p.Call(t, "orders", "/api/f", key); status != 200 || body != "hello" {
		t.Errorf("%d %q", status, body)
	}
}

func TestADeploymentSwitchesWithoutLosingARequest(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	p.CreateApp(t, "orders", platformtest.Upstream(t, saying("hello")))
	p.Deploy(t, "orders", platformtest.Package(t, []string{"f"}, nil))
	_, key := p.HostKeys(t, "orders")
	p.Call(t, "orders", "/api/f", key)
	stop := make(chan struct{})
	var callers sync.WaitGroup
	var served, newer atomic.Int64
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				status, _, err := p.TryCall(t.Context(), "orders", "/api/f", key)
				if err != nil || status != 200 {
					t.Errorf("a request during the deployment: %d %v", status, err)
					return
				}
				served.Add(1)
				if status, _, err := p.TryCall(t.Context(), "orders", "/api/g", key); err == nil && status == 200 {
					newer.Add(1)
				}
			}
		})
	}
	p.Deploy(t, "orders", platformtest.Package(t, []string{"f", "g"}, nil))
	platformtest.Until(t, "the new function is served", func() bool { return newer.Load() > 20 || t.Failed() })
	close(stop)
	callers.Wait()
	if served.Load() == 0 {
		t.Error("nothing was served")
	}
}

func TestARequestInProgressEndsOnTheOldVersion(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	gate := testkit.NewGate(t)
	p.CreateApp(t, "orders", platformtest.Upstream(t, gate))
	p.Deploy(t, "orders", platformtest.Package(t, []string{"f"}, nil))
	_, key := p.HostKeys(t, "orders")
	answered := make(chan int, 1)
	go func() {
		status, _, err := p.TryCall(t.Context(), "orders", "/api/f", key)
		if err != nil {
			status = -1
		}
		answered <- status
	}()
	gate.Await(t)
	p.Deploy(t, "orders", platformtest.Package(t, []string{"f", "g"}, nil))
	gate.Open()
	if status := <-answered; status != 200 {
		t.Errorf("the request in progress got %d", status)
	}
	platformtest.Until(t, "the new version serves", func() bool {
		status, _ := p.Call(t, "orders", "/api/g", key)
		return status == 200
	})
}

func TestAVersionThatDoesNotStartLeavesTheOldOneServing(t *testing.T) {
	p := platformtest.Start(t, platform.Config{})
	p.CreateApp(t, "orders", platformtest.Upstream(t, saying("hello")))
	p.Deploy(t, "orders", platformtest.Package(t, []string{"f"}, nil))
	_, key := p.HostKeys(t, "orders")
	p.Call(t, "orders", "/api/f", key)
	p.Deploy(t, "orders", platformtest.Package(t, []string{"f"}, map[string]string{
		"host.json": `{"version":"2.0","customHandler":{"enableForwardingHttpRequest":true,"description":{"defaultExecutablePath":"no-such-handler"}}}`,
	}))
	platformtest.Until(t, "the app says what is wrong", func() bool {
		var site struct {
			Properties struct {
				Latchkey struct {
					Instances []struct{ Errors []string }
				}
			}
		}
		p.Do(t, http.MethodGet, p.Site("orders"), nil, &site)
		said := fmt.Sprint(site.Properties.Latchkey.Instances)
		return strings.Contains(said, "does not serve yet") && strings.Contains(said, "no-such-handler")
	})
	if status, body := p.Call(t, "orders", "/api/f", key); status != 200 || body != "hello" {
		t.Errorf("the old version does not serve: %d %q", status, body)
	}
}

func TestASecondNodeOnTheSameFileIsRefused(t *testing.T) {
	t.Parallel()
	p := platformtest.Start(t, platform.Config{})
	cfg := p.Config
	node, err := platform.Open(t.Context(), cfg)
	if err == nil {
		node.Close()
	}
	if problem.KindOf(err) != problem.Unavailable || problem.NextOf(err) == "" {
		t.Errorf("got %v", err)
	}
}
