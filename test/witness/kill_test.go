package witness

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

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
	flight   flight            // what was not answered; the zero value for nothing
	done     atomic.Int64
	location map[string]any
}

// flight is a write whose answer nobody has got: it may have happened or not.
type flight struct{ kind, name, value string }

// Kinds of writes.
const (
	settingWrite = "setting"
	keyWrite     = "key"
)

func newWriter(c *armclient.Client, group string, i int) *writer {
	return &writer{
		client: c, site: group + "/providers/Microsoft.Web/sites/app" + strconv.Itoa(i), rng: rand.New(rand.NewPCG(uint64(i), 7)),
		acked: map[string]string{}, keys: map[string]string{}, location: map[string]any{"location": "local", "kind": "functionapp"},
	}
}

// one makes a write; an error is the end of the server.
func (w *writer) one(ctx context.Context) error {
	name, value := fmt.Sprintf("N%d", w.rng.IntN(20)), strconv.Itoa(w.rng.IntN(1<<30))
	var err error
	if w.rng.IntN(2) == 0 {
		w.flight = flight{settingWrite, name, value}
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
		w.flight = flight{keyWrite, name, key}
		if err = w.client.Do(ctx, http.MethodPut, w.site+"/host/default/functionkeys/"+name, map[string]any{"properties": map[string]string{"name": name, "value": key}}, nil); err == nil {
			w.keys[name] = key
		}
	}
	if err == nil {
		w.flight = flight{}
		w.done.Add(1)
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
	w.compare(t, settingWrite, w.acked, settings.Properties)
	w.compare(t, keyWrite, w.keys, keys.FunctionKeys)
	w.flight = flight{}
}

func (w *writer) compare(t *testing.T, kind string, acked, got map[string]string) {
	t.Helper()
	f := w.flight
	if f.kind == kind && got[f.name] == f.value { // it happened
		acked[f.name] = f.value
	}
	for name, value := range acked {
		if got[name] != value {
			t.Errorf("%s: %s %s was acknowledged as %q and is %q", w.site, kind, name, value, got[name])
		}
	}
}

// written gives how many writes of all were acknowledged.
func written(all []*writer) (n int64) {
	for _, w := range all {
		n += w.done.Load()
	}
	return n
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
		enough := written(writers) + 10 + rand.Int64N(150)
		until(t, "there are writes to kill in the midst of", func() bool { return written(writers) >= enough })
		p.kill()
		cancel()
		busy.Wait()
		p.start(t)
		client := p.client(t, owner)
		for _, w := range writers {
			w.client = client
			w.check(t)
		}
		master = sameMaster(t, client, writers[0].site, master)
	}
	t.Logf("%d kills, %d acknowledged writes, none lost", rounds, written(writers))
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
