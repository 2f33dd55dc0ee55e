package witness

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// wire is a connection to a server that can be cut.
type wire struct {
	l      net.Listener
	target string
	cut    atomic.Bool
	mu     sync.Mutex
	conns  map[net.Conn]bool
}

func newWire(t *testing.T, target string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{l: l, target: target, conns: map[net.Conn]bool{}}
	t.Cleanup(func() { _ = l.Close(); w.set(true) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(c)
		}
	}()
	return w
}

func (w *wire) carry(c net.Conn) {
	defer c.Close()
	if w.cut.Load() {
		return
	}
	up, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer up.Close()
	w.mu.Lock()
	w.conns[c], w.conns[up] = true, true
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.conns, c)
		delete(w.conns, up)
		w.mu.Unlock()
	}()
	go func() { _, _ = io.Copy(up, c); _ = up.Close() }()
	_, _ = io.Copy(c, up)
}

// set cuts the wire or mends it.
func (w *wire) set(cut bool) {
	w.cut.Store(cut)
	if !cut {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		_ = c.Close()
	}
}

// cluster is three nodes on three members of etcd, each node on wires of its own.
type cluster struct {
	nodes []*process
	wires [][]*wire
	owner armclient.Credential
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	etcd := etcdtest.New(t, 3)
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		t.Fatal(err)
	}
	c := &cluster{}
	for i := range 3 {
		var endpoints []string
		var wires []*wire
		for _, e := range etcd.Endpoints() {
			u, err := url.Parse(e)
			if err != nil {
				t.Fatal(err)
			}
			w := newWire(t, u.Host)
			wires = append(wires, w)
			endpoints = append(endpoints, "http://"+w.l.Addr().String())
		}
		c.wires = append(c.wires, wires)
		c.nodes = append(c.nodes, upWith(t, t.TempDir(), []string{
			"LATCHKEY_KEK=" + base64.StdEncoding.EncodeToString(key), "LATCHKEY_STATE_KIND=etcd",
			"LATCHKEY_STATE_ETCD_ENDPOINTS=" + strings.Join(endpoints, ","),
		}, "--node", fmt.Sprint("n", i), "--metrics-address", "127.0.0.1:0"))
	}
	c.owner = c.nodes[0].credential(t)
	return c
}

func (c *cluster) client(t *testing.T, i int) *armclient.Client { return c.nodes[i].client(t, c.owner) }

func (c *cluster) site(app string) string {
	return "/subscriptions/" + c.owner.SubscriptionID + "/resourceGroups/rg/providers/Microsoft.Web/sites/" + app
}

func (c *cluster) cut(i int, yes bool) {
	for _, w := range c.wires[i] {
		w.set(yes)
	}
}

// deploy makes an app through one node.
func (c *cluster) deploy(t *testing.T, i int, app, upstream string) {
	t.Helper()
	client := c.client(t, i)
	do := func(method, path string, in any) {
		if err := client.Do(t.Context(), method, path, in, nil); err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
	}
	do(http.MethodPut, "/subscriptions/"+c.owner.SubscriptionID+"/resourceGroups/rg", map[string]any{"location": "local"})
	do(http.MethodPut, c.site(app), map[string]any{"location": "local", "kind": "functionapp,linux", "properties": map[string]any{
		"siteConfig": map[string]any{"appSettings": []map[string]string{{"name": testkit.UpstreamSetting, "value": upstream}}},
	}})
	var out bytes.Buffer
	scm := strings.Replace(c.nodes[i].Management, "://", "://"+app+".scm.", 1) + "/api/zipdeploy"
	if err := client.Stream(t.Context(), http.MethodPost, scm, "application/zip", bytes.NewReader(platformtest.Package(t, []string{"f"}, nil)), &out); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) hostKey(t *testing.T, i int, app string) string {
	t.Helper()
	var keys struct {
		FunctionKeys map[string]string `json:"functionKeys"`
	}
	if err := c.client(t, i).Do(t.Context(), http.MethodPost, c.site(app)+"/host/default/listkeys", nil, &keys); err != nil {
		t.Fatal(err)
	}
	return keys.FunctionKeys["default"]
}

// healthy reports whether a node's probe says that it is ready, with its words.
func (c *cluster) healthy(t *testing.T, i int) (bool, string) {
	t.Helper()
	resp, err := http.Get("http://" + c.nodes[i].Metrics + "/readyz")
	if err != nil {
		return false, err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode == http.StatusOK, string(text)
}

func (c *cluster) gets(t *testing.T, i int, app, key string, want int) bool {
	t.Helper()
	status, err := c.nodes[i].call(t.Context(), app, "/api/f", key)
	if err != nil {
		t.Fatalf("node %d: %v", i, err)
	}
	return status == want
}

func TestAnyNodeServesAnyAppAndAChangeReachesAll(t *testing.T) {
	c := newCluster(t)
	c.deploy(t, 0, "orders", platformtest.Upstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })))
	key := c.hostKey(t, 1, "orders")
	for i := range c.nodes {
		until(t, fmt.Sprintf("node %d serves the app", i), func() bool { return c.gets(t, i, "orders", key, 200) })
	}

	begin := time.Now()
	if err := c.client(t, 2).Do(t.Context(), http.MethodPut, c.site("orders")+"/host/default/functionkeys/default", map[string]any{"properties": map[string]any{"name": "default"}}, nil); err != nil {
		t.Fatal(err)
	}
	changed := time.Now()
	for i := range c.nodes {
		until(t, fmt.Sprintf("node %d refuses the revoked key", i), func() bool { return c.gets(t, i, "orders", key, 401) })
	}
	t.Logf("the key was changed in %s and refused by all nodes %s later", changed.Sub(begin).Round(time.Millisecond), time.Since(changed).Round(time.Millisecond))

	if err := c.client(t, 1).Do(t.Context(), http.MethodPost, c.site("orders")+"/stop", nil, nil); err != nil {
		t.Fatal(err)
	}
	for i := range c.nodes {
		until(t, fmt.Sprintf("node %d knows that the app is stopped", i), func() bool { return c.gets(t, i, "orders", key, 403) })
	}
}

func TestANodeThatIsCutOffServesWhatItKnowsAndSaysSo(t *testing.T) {
	c := newCluster(t)
	c.deploy(t, 0, "orders", platformtest.Upstream(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	key := c.hostKey(t, 0, "orders")
	for i := range c.nodes {
		until(t, fmt.Sprintf("node %d serves the app", i), func() bool { return c.gets(t, i, "orders", key, 200) })
	}
	c.cut(2, true)
	until(t, "the node's health says that it is cut off", func() bool {
		ready, text := c.healthy(t, 2)
		return !ready && strings.Contains(text, "cannot be read")
	})
	if !c.gets(t, 2, "orders", key, 200) {
		t.Error("a node that is cut off does not serve")
	}
	if err := c.client(t, 0).Do(t.Context(), http.MethodPut, c.site("orders")+"/host/default/functionkeys/default", map[string]any{"properties": map[string]any{"name": "default"}}, nil); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 1} {
		until(t, fmt.Sprintf("reachable node %d refuses the revoked key", i), func() bool { return c.gets(t, i, "orders", key, 401) })
	}
	if !c.gets(t, 2, "orders", key, 200) {
		t.Error("the node that is cut off lost its last good keys")
	}
	c.cut(2, false)
	until(t, "the node catches up", func() bool { return c.gets(t, 2, "orders", key, 401) })
	until(t, "the node's health says that all is well", func() bool { ready, _ := c.healthy(t, 2); return ready })
}

func TestNoAcknowledgedWriteIsLostWhenNodesDie(t *testing.T) {
	c := newCluster(t)
	group := "/subscriptions/" + c.owner.SubscriptionID + "/resourceGroups/rg"
	if err := c.client(t, 0).Do(t.Context(), http.MethodPut, group, map[string]any{"location": "local"}, nil); err != nil {
		t.Fatal(err)
	}
	var writers []*writer
	for i := range 3 {
		w := newWriter(c.client(t, i), group, i)
		if err := w.client.Do(t.Context(), http.MethodPut, w.site, w.location, nil); err != nil {
			t.Fatal(err)
		}
		writers = append(writers, w)
	}
	master := sameMaster(t, c.client(t, 0), writers[0].site, "")
	end := func(i int) {
		if i == 1 {
			c.nodes[i].stop(t) // as in a rolling restart
			return
		}
		c.nodes[i].kill()
	}
	for round := range kills(t, 3) {
		victim := round % 3
		ctx, cancel := context.WithCancel(t.Context())
		var busy sync.WaitGroup
		for i, w := range writers {
			w.client = c.client(t, i)
			busy.Go(func() {
				for w.one(ctx) == nil {
				}
			})
		}
		more := func(what string) {
			enough := written(writers) + 20
			until(t, what, func() bool { return written(writers) >= enough })
		}
		more("all write")
		end(victim)
		more("the survivors go on")
		cancel()
		busy.Wait()
		survivor := (victim + 1) % 3
		for _, w := range writers {
			w.client = c.client(t, survivor)
			w.check(t)
		}
		sameMaster(t, c.client(t, survivor), writers[0].site, master)
		c.nodes[victim].start(t)
		for _, w := range writers {
			w.client = c.client(t, victim)
			w.check(t)
		}
	}
	t.Logf("%d acknowledged writes, none lost", written(writers))
}
