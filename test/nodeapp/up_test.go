package nodeapp

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
	"github.com/latchkey/latchkey/test/witness/node"
)

// closure gives the folders of packages with all that they depend on.
func closure(t *testing.T, modules string, names ...string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		text, err := os.ReadFile(filepath.Join(modules, name, "package.json"))
		if found[name] || err != nil { // one that is not there is optional, or inside another
			continue
		}
		found[name] = true
		var p struct{ Dependencies map[string]string }
		if err := json.Unmarshal(text, &p); err != nil {
			t.Fatal(err)
		}
		for d := range p.Dependencies {
			names = append(names, d)
		}
	}
	return found
}

// packed makes a package of files and of installed packages, as people deploy it.
func packed(t *testing.T, files map[string]string, names ...string) []byte {
	t.Helper()
	modules := node.Modules(t)
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	add := func(name string, text []byte) {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write(text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		add(name, []byte(text))
	}
	for name := range closure(t, modules, names...) {
		err := filepath.WalkDir(filepath.Join(modules, name), func(path string, e os.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() || strings.HasSuffix(path, ".map") || strings.HasSuffix(path, ".d.ts") {
				return err
			}
			text, err := os.ReadFile(path)
			rel, _ := filepath.Rel(modules, path)
			add("node_modules/"+filepath.ToSlash(rel), text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// post calls an app of a node.
func post(t *testing.T, p *platformtest.Platform, method, path, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.Node.FunctionsAddr()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "cities.localhost"
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

const durablePath = "/runtime/webhooks/durabletask/instances/"

// startOne starts an orchestration and gives its id.
func startOne(t *testing.T, p *platformtest.Platform, name, key string) string {
	t.Helper()
	var links struct{ ID string }
	platformtest.Until(t, name+" is started", func() bool {
		status, text := post(t, p, http.MethodPost, "/api/start/"+name+"?code="+key, "")
		return status == http.StatusAccepted && json.Unmarshal([]byte(text), &links) == nil
	})
	return links.ID
}

// awaitOutput waits for the end of an orchestration, as a node sees it.
func awaitOutput(t *testing.T, p *platformtest.Platform, id, key, want string) {
	t.Helper()
	last := ""
	defer func() {
		if t.Failed() {
			t.Logf("the last answer: %s", last)
		}
	}()
	platformtest.Until(t, "the orchestration gives "+want, func() bool {
		_, last = post(t, p, http.MethodGet, durablePath+id+"?code="+key, "")
		var st struct {
			Status string `json:"runtimeStatus"`
			Output json.RawMessage
		}
		return json.Unmarshal([]byte(last), &st) == nil && st.Status == "Completed" && string(st.Output) == want
	})
}

// names lists the functions of the app as the management API does.
func names(t *testing.T, p *platformtest.Platform) string {
	t.Helper()
	var list struct {
		Value []struct {
			Properties struct {
				Name string `json:"name"`
				URL  string `json:"invoke_url_template"`
			} `json:"properties"`
		} `json:"value"`
	}
	p.Do(t, http.MethodGet, p.Site("cities")+"/functions", nil, &list)
	var all []string
	for _, v := range list.Value {
		all = append(all, v.Properties.Name)
	}
	return strings.Join(all, " ")
}

// TestAnInstallationRunsEventsAndOrchestrations has two nodes over etcd serve an app
// that is deployed as people do it.
func TestAnInstallationRunsEventsAndOrchestrations(t *testing.T) {
	files := filesOf(t, "../../examples/hello-cities")
	files["src/functions.js"] += `
app.eventGrid('onEvent', { handler: (event, context) => context.log('got event ' + event.id) });
`
	pkg := packed(t, files, "@azure/functions", "durable-functions")
	endpoints := etcdtest.Start(t)
	kek := make([]byte, 32)
	_, _ = rand.Read(kek) // never fails
	start := func(name string) *platformtest.Platform {
		return platformtest.Start(t, platform.Config{
			Node: name, KEK: base64.StdEncoding.EncodeToString(kek),
			State: platform.StateConfig{Kind: "etcd", Etcd: platform.EtcdConfig{Endpoints: endpoints}},
		})
	}
	one := start("one")
	two := start("two")
	one.Do(t, http.MethodPut, one.Subscription()+"/resourceGroups/rg", map[string]any{"location": "local"}, nil)
	one.Do(t, http.MethodPut, one.Site("cities"), map[string]any{
		"location": "local", "kind": "functionapp,linux",
		"properties": map[string]any{"siteConfig": map[string]any{"appSettings": []map[string]string{{"name": "FUNCTIONS_WORKER_RUNTIME", "value": "node"}}}},
	}, nil)
	one.Deploy(t, "cities", pkg)

	const all = "approval helloCities onEvent sayHello start"
	platformtest.Until(t, "the functions that the worker found are listed", func() bool { return names(t, one) == all })
	var keys struct {
		FunctionKeys, SystemKeys map[string]string
	}
	platformtest.Until(t, "the webhooks have keys", func() bool {
		one.Do(t, http.MethodPost, one.Site("cities")+"/host/default/listKeys", nil, &keys)
		return keys.SystemKeys["eventgrid_extension"] != "" && keys.SystemKeys["durabletask_extension"] != ""
	})
	host, hub := keys.FunctionKeys["default"], keys.SystemKeys["durabletask_extension"]

	const event = `[{"id":"e1","eventType":"T","subject":"s","eventTime":"2026-01-01T00:00:00Z","data":{},"dataVersion":"1"}]`
	hook := "/runtime/webhooks/eventgrid?functionName=onEvent&code="
	for _, p := range []*platformtest.Platform{one, two} {
		platformtest.Until(t, "an event is taken", func() bool {
			status, _ := post(t, p, http.MethodPost, hook+keys.SystemKeys["eventgrid_extension"], event, "aeg-event-type", "Notification")
			return status == http.StatusAccepted
		})
	}
	for key, want := range map[string]int{host: http.StatusForbidden, "wrong": http.StatusUnauthorized} {
		if status, _ := post(t, one, http.MethodPost, hook+key, event, "aeg-event-type", "Notification"); status != want {
			t.Errorf("an event with another key got %d, want %d", status, want)
		}
	}

	awaitOutput(t, one, startOne(t, one, "helloCities", host), hub, `["Hello Tokyo!","Hello Seattle!","Hello London!"]`)
	awaitOutput(t, two, startOne(t, two, "helloCities", host), hub, `["Hello Tokyo!","Hello Seattle!","Hello London!"]`)
	for _, way := range [][2]*platformtest.Platform{{one, two}, {two, one}} {
		id := startOne(t, way[0], "approval", host)
		began := time.Now()
		platformtest.Until(t, "another node raises the event", func() bool {
			status, _ := post(t, way[1], http.MethodPost, durablePath+id+"/raiseEvent/answer?code="+hub, `"yes"`)
			return status == http.StatusAccepted
		})
		awaitOutput(t, way[1], id, hub, `"approved"`)
		t.Logf("seen by the node that runs it within %s", time.Since(began))
	}

	id := startOne(t, two, "approval", host)
	one.Stop(t)
	platformtest.Until(t, "the node that is left takes the event", func() bool {
		status, _ := post(t, two, http.MethodPost, durablePath+id+"/raiseEvent/answer?code="+hub, `"no"`)
		return status == http.StatusAccepted
	})
	awaitOutput(t, two, id, hub, `"refused"`)
	one.Restart(t)
	awaitOutput(t, one, startOne(t, one, "helloCities", host), hub, `["Hello Tokyo!","Hello Seattle!","Hello London!"]`)

	one.Do(t, http.MethodPost, one.Site("cities")+"/stop", nil, nil)
	if got := names(t, one); got != all {
		t.Errorf("the functions of the stopped app: %s", got)
	}
	one.Do(t, http.MethodDelete, one.Site("cities"), nil, nil)
	etcd, err := clientv3.New(clientv3.Config{Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	platformtest.Until(t, "nothing is left of the app's triggers", func() bool {
		found, err := etcd.Get(t.Context(), "", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range found.Kvs {
			if strings.Contains(string(kv.Key), "/triggers/") {
				return false
			}
		}
		return true
	})
}
