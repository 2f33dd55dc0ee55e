package witness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/problem"
)

// kills is how often the program is killed: a few times, or as often as
// LATCHKEY_TEST_KILLS says.
func kills(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv("LATCHKEY_TEST_KILLS")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("LATCHKEY_TEST_KILLS: %v", err)
	}
	return n
}

// writer makes writes of several kinds to one app of its own, and remembers those
// that were acknowledged.
type writer struct {
	client *armclient.Client
	site   string
	rng    *rand.Rand

	acked    map[string]string // app settings
	keys     map[string]string // host keys
	unsure   string            // name of what was in flight
	done     int
	location map[string]any
}

func newWriter(c *armclient.Client, group string, i int) *writer {
	return &writer{
		client: c, site: group + "/providers/Microsoft.Web/sites/app" + strconv.Itoa(i), rng: rand.New(rand.NewPCG(uint64(i), 7)),
		acked: map[string]string{}, keys: map[string]string{}, location: map[string]any{"location": "local", "kind": "functionapp"},
	}
}

// one makes a write; an error is the end of the server.
func (w *writer) one(ctx context.Context) error {
	name, value := fmt.Sprintf("N%d", w.rng.IntN(20)), strconv.Itoa(w.rng.IntN(1<<30))
	w.unsure = name
	var err error
	if w.rng.IntN(2) == 0 {
		next := map[string]string{name: value}
		for n, v := range w.acked {
			if n != name {
				next[n] = v
			}
		}
		if err = w.client.Do(ctx, http.MethodPut, w.site+"/config/appsettings", map[string]any{"properties": next}, nil); err == nil {
			w.acked[name] = value
		}
	} else {
		key := "key-value-" + value
		if err = w.client.Do(ctx, http.MethodPut, w.site+"/host/default/functionkeys/"+name, map[string]any{"properties": map[string]string{"name": name, "value": key}}, nil); err == nil {
			w.keys[name] = key
		}
	}
	if err == nil {
		w.unsure = ""
		w.done++
	}
	return err
}

// check compares what is there with what was acknowledged. What was in flight may
// have either value, and then counts.
func (w *writer) check(t *testing.T) {
	t.Helper()
	var settings struct {
		Properties map[string]string `json:"properties"`
	}
	var keys struct {
		FunctionKeys map[string]string `json:"functionKeys"`
	}
	if err := w.client.Do(t.Context(), http.MethodPost, w.site+"/config/appsettings/list", nil, &settings); err != nil {
		t.Fatal(err)
	}
	if err := w.client.Do(t.Context(), http.MethodPost, w.site+"/host/default/listkeys", nil, &keys); err != nil {
		t.Fatal(err)
	}
	compare(t, w.site+" setting", w.acked, settings.Properties, w.unsure)
	compare(t, w.site+" key", w.keys, keys.FunctionKeys, w.unsure)
}

func compare(t *testing.T, what string, acked, got map[string]string, unsure string) {
	t.Helper()
	for name, value := range acked {
		if got[name] != value && name != unsure {
			t.Errorf("%s %s was acknowledged as %q and is %q", what, name, value, got[name])
		}
	}
	if v, there := got[unsure]; there {
		acked[unsure] = v
	}
}

func TestAcknowledgedWritesSurviveKills(t *testing.T) {
	dir := t.TempDir()
	p := up(t, dir, "--metrics-address", "")
	owner := p.credential(t)
	group := "/subscriptions/" + owner.SubscriptionID + "/resourceGroups/rg"
	first := p.client(t, owner)
	if err := first.Do(t.Context(), http.MethodPut, group, map[string]any{"location": "local"}, nil); err != nil {
		t.Fatal(err)
	}
	var writers []*writer
	for i := range 4 {
		w := newWriter(first, group, i)
		if err := first.Do(t.Context(), http.MethodPut, w.site, w.location, nil); err != nil {
			t.Fatal(err)
		}
		writers = append(writers, w)
	}
	var master string
	total := 0
	rounds := kills(t, 4)
	for range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		var busy sync.WaitGroup
		for _, w := range writers {
			busy.Go(func() {
				for w.one(ctx) == nil {
				}
			})
		}
		time.Sleep(time.Duration(100+rand.IntN(400)) * time.Millisecond) // any moment will do: the kill is the test
		p.kill()
		cancel()
		busy.Wait()
		p.start(t)
		client := p.client(t, owner)
		for _, w := range writers {
			w.client = client
			w.check(t)
			total += w.done
			w.done = 0
		}
		master = sameMaster(t, client, writers[0].site, master)
	}
	t.Logf("%d kills, %d acknowledged writes, none lost", rounds, total)
	if total == 0 {
		t.Error("nothing was written")
	}
}

// sameMaster reads an app's master key, which must not change by itself.
func sameMaster(t *testing.T, c *armclient.Client, site, before string) string {
	t.Helper()
	var keys struct {
		MasterKey string `json:"masterKey"`
	}
	if err := c.Do(t.Context(), http.MethodPost, site+"/host/default/listkeys", nil, &keys); err != nil {
		t.Fatal(err)
	}
	if before != "" && keys.MasterKey != before {
		t.Error("the master key changed")
	}
	if keys.MasterKey == "" {
		t.Error(problem.New(problem.NotFound, "no master key"))
	}
	return keys.MasterKey
}
