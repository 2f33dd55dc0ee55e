package platform_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// programSetting makes this test binary the program of a container.
const programSetting = "PLATFORM_TEST_CONTAINER"

// containerMain is that program: "ask FILE QUERY" writes what the identity endpoint
// answers to a file; "serve" passes questions on to it and tells of its environment.
func containerMain() {
	if os.Getenv(programSetting) == "" {
		return
	}
	switch os.Args[1] {
	case "ask":
		status, body, err := askIdentity(os.Args[3])
		if err != nil {
			os.Exit(1)
		}
		if err := os.WriteFile(os.Args[2], fmt.Appendf(nil, "%d %s", status, body), 0o600); err != nil {
			os.Exit(2)
		}
		os.Exit(0)
	case "serve":
		mux := http.NewServeMux()
		mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
			status, body, err := askIdentity(r.URL.RawQuery)
			if err != nil {
				status, body = http.StatusBadGateway, err.Error()
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})
		mux.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, os.Getenv(r.URL.RawQuery)) })
		mux.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
			http.ServeFile(w, r, filepath.Join(os.Getenv("CONTAINER_ROOT"), r.URL.RawQuery))
		})
		mux.HandleFunc("/wait", func(w http.ResponseWriter, r *http.Request) {
			_ = os.WriteFile(r.URL.RawQuery+".waits", nil, 0o600)
			for {
				if _, err := os.Stat(r.URL.RawQuery); err == nil || r.Context().Err() != nil {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			_, _ = io.WriteString(w, os.Getenv("CONTAINER_APP_REPLICA_NAME"))
		})
		if more := os.Getenv("PORT_9000"); more != "" {
			go func() { _ = http.ListenAndServe("127.0.0.1:"+more, mux) }()
		}
		_ = http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), mux)
	}
	os.Exit(3)
}

func askIdentity(query string) (int, string, error) {
	r, err := http.NewRequest("GET", os.Getenv("IDENTITY_ENDPOINT")+"?api-version=2019-08-01&resource=https://vault.azure.net&"+query, nil)
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("X-IDENTITY-HEADER", os.Getenv("IDENTITY_HEADER"))
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

// contained is a platform that runs container apps as processes.
type contained struct {
	*platformtest.Platform
	t     *testing.T
	image string
}

func startContained(t *testing.T, cfg platform.Config) *contained {
	t.Helper()
	cfg.Containers.Engine, cfg.Containers.ProcessAsRoot = platform.EngineProcess, true
	c := &contained{Platform: platformtest.Start(t, cfg), t: t, image: filepath.Join(t.TempDir(), "image")}
	program, err := os.Executable()
	if err == nil {
		err = os.MkdirAll(c.image, 0o700)
	}
	text, _ := json.Marshal(map[string]any{"command": []string{program}, "args": []string{"serve"}, "env": map[string]string{programSetting: "1"}})
	if err == nil {
		err = os.WriteFile(filepath.Join(c.image, "container.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Do(t, "PUT", c.group(), map[string]any{"location": "local"}, nil)
	c.Do(t, "PUT", c.at("managedEnvironments", "env"), map[string]any{"location": "local", "properties": map[string]any{
		"workloadProfiles": []any{map[string]any{"name": "Consumption", "workloadProfileType": "Consumption"}}}}, nil)
	return c
}

func (c *contained) group() string { return c.Subscription() + "/resourceGroups/rg" }

func (c *contained) at(kind, name string) string {
	return c.group() + "/providers/Microsoft.App/" + kind + "/" + name
}

func (c *contained) identity(name string) string {
	id := c.group() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + name
	c.Do(c.t, "PUT", id, map[string]any{"location": "local"}, nil)
	return id
}

type object = map[string]any

// app is the body of an app with a main container that serves and an ingress to it.
func (c *contained) app() object {
	return object{"location": "local", "identity": object{"type": "None"}, "properties": object{
		"environmentId": c.at("managedEnvironments", "env"), "workloadProfileName": "Consumption",
		"configuration": object{"ingress": object{"external": true, "targetPort": 8080}},
		"template":      object{"containers": []any{object{"name": "main", "image": c.image, "resources": object{"cpu": 0.25, "memory": "0.5Gi"}}}},
	}}
}

func inside(o object, path ...string) any {
	var at any = o
	for _, name := range path {
		m, ok := at.(object)
		if !ok {
			return nil
		}
		at = m[name]
	}
	return at
}

// settled waits until the app's provisioning ended and gives the app.
func (c *contained) settled(name, state string) object {
	c.t.Helper()
	var a object
	platformtest.Until(c.t, name+" is "+state, func() bool {
		a = nil
		c.Do(c.t, "GET", c.at("containerApps", name), nil, &a)
		return inside(a, "properties", "provisioningState") == state
	})
	return a
}

// get asks the newest revision of an app.
func (c *contained) get(a object, path string) (int, string) {
	c.t.Helper()
	var status int
	var text string
	platformtest.Until(c.t, "the app answers", func() (ok bool) {
		list := c.Node.ContainerAddresses(a["id"].(string), inside(a, "properties", "latestRevisionName").(string), 8080)
		if len(list) == 0 {
			return false
		}
		ctx, cancel := context.WithTimeout(c.t.Context(), platformtest.Patience)
		defer cancel()
		r, _ := http.NewRequestWithContext(ctx, "GET", "http://"+list[0]+path, nil)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return false // it is starting
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		status, text = answer.StatusCode, string(body)
		return err == nil
	})
	return status, text
}

func of(id string) string { return "/token?mi_res_id=" + url.QueryEscape(id) }

func TestAContainerAppGetsTokensOnlyWhereItsSettingsSay(t *testing.T) {
	c := startContained(t, platform.Config{})
	early, late, none := c.identity("early"), c.identity("late"), c.identity("none")
	out := filepath.Join(t.TempDir(), "asked")
	a := c.app()
	a["identity"] = object{"type": "UserAssigned", "userAssignedIdentities": object{early: object{}, late: object{}, none: object{}}}
	p := a["properties"].(object)
	p["configuration"].(object)["identitySettings"] = []any{
		object{"identity": early, "lifecycle": "Init"}, object{"identity": late, "lifecycle": "Main"}, object{"identity": none, "lifecycle": "None"},
	}
	var inits []any
	for i, id := range []string{early, late, none} {
		inits = append(inits, object{"name": fmt.Sprintf("ask-%d", i), "image": c.image, "args": []any{"ask", fmt.Sprint(out, i), "mi_res_id=" + url.QueryEscape(id)},
			"resources": object{"cpu": 0.25, "memory": "0.5Gi"}})
	}
	p["template"].(object)["initContainers"] = inits
	c.Do(t, "PUT", c.at("containerApps", "shop"), a, nil)
	shop := c.settled("shop", "Succeeded")
	for i, want := range []string{"200", "400", "400"} {
		if text, err := os.ReadFile(fmt.Sprint(out, i)); err != nil || !strings.HasPrefix(string(text), want) {
			t.Errorf("the init container asking for identity %d: %s %v", i, text, err)
		}
	}
	for id, want := range map[string]int{early: 400, late: 200, none: 400} {
		if status, body := c.get(shop, of(id)); status != want {
			t.Errorf("the main container asking for %s: %d %s", id, status, body)
		}
	}
	platformtest.Until(t, "refusals are in the audit log", func() bool { return strings.Contains(c.audit(), `"Denied"`) && strings.Contains(c.audit(), "ask-1") })
}

// audit gives the events about workloads' tokens as text.
func (c *contained) audit() string {
	var list object
	c.Do(c.t, "GET", "/providers/Latchkey.Audit/events", nil, &list)
	text, _ := json.Marshal(list)
	return string(text)
}

func TestIdentitiesOfAContainerAppComeAndGoWithoutARestart(t *testing.T) {
	c := startContained(t, platform.Config{})
	one := c.identity("one")
	c.Do(t, "PUT", c.at("containerApps", "shop"), c.app(), nil)
	shop := c.settled("shop", "Succeeded")
	if status, body := c.get(shop, of(one)); status != 400 {
		t.Fatalf("an identity that is not assigned: %d %s", status, body)
	}
	replica := c.replicas(shop)
	c.Do(t, "PATCH", c.at("containerApps", "shop"), object{"identity": object{"type": "UserAssigned", "userAssignedIdentities": object{one: object{}}}}, nil)
	if status, body := c.get(shop, of(one)); status != 200 {
		t.Errorf("an identity that was assigned: %d %s", status, body)
	}
	c.Do(t, "PATCH", c.at("containerApps", "shop"), object{"identity": object{"type": "None"}}, nil)
	if status, body := c.get(shop, of(one)); status != 400 {
		t.Errorf("an identity that was removed: %d %s", status, body)
	}
	if now := c.replicas(shop); now != replica || replica == "" {
		t.Errorf("replicas were %s and are %s", replica, now)
	}
}

// replicas names the replicas of the newest revision with their restarts.
func (c *contained) replicas(a object) string {
	c.t.Helper()
	var list object
	c.Do(c.t, "GET", a["id"].(string)+"/revisions/"+inside(a, "properties", "latestRevisionName").(string)+"/replicas", nil, &list)
	var names []string
	for _, one := range list["value"].([]any) {
		r := one.(object)
		names = append(names, fmt.Sprint(r["name"], inside(r, "properties", "containers").([]any)[0].(object)["restartCount"]))
	}
	return strings.Join(names, ",")
}

func TestAContainerAppStopsStartsRestartsAndEnds(t *testing.T) {
	t.Parallel()
	c := startContained(t, platform.Config{})
	c.Do(t, "PUT", c.at("containerApps", "shop"), c.app(), nil)
	shop := c.settled("shop", "Succeeded")
	before := c.replicas(shop)
	revision := c.at("containerApps", "shop") + "/revisions/" + inside(shop, "properties", "latestRevisionName").(string)

	c.Do(t, "POST", revision+"/restart", nil, nil)
	platformtest.Until(t, "the replica is another one", func() bool { now := c.replicas(shop); return now != before && !strings.Contains(now, ",") && now != "" })
	if status, body := c.get(shop, "/env?CONTAINER_APP_NAME"); status != 200 || body != "shop" {
		t.Errorf("%d %s", status, body)
	}

	c.Do(t, "POST", c.at("containerApps", "shop")+"/stop", nil, nil)
	platformtest.Until(t, "nothing runs of a stopped app", func() bool { return c.replicas(shop) == "" })
	c.Do(t, "POST", c.at("containerApps", "shop")+"/start", nil, nil)
	c.get(shop, "/env?PORT")

	c.Stop(t)
	c.Restart(t)
	c.get(shop, "/env?PORT")

	c.Do(t, "DELETE", c.at("containerApps", "shop"), nil, nil)
	left, err := c.Node.ContainerObjects(t.Context())
	if err != nil || len(left) != 0 {
		t.Errorf("after the deletion there are %v %v", left, err)
	}
	if err := c.Client.Do(t.Context(), "GET", c.at("containerApps", "shop"), nil, nil); problem.KindOf(err) != problem.NotFound {
		t.Errorf("a deleted app: %v", err)
	}
	c.Do(t, "PUT", c.at("containerApps", "shop"), c.app(), nil)
	c.settled("shop", "Succeeded")
	c.Do(t, "DELETE", c.group(), nil, nil)
	platformtest.Until(t, "nothing is left of the group", func() bool {
		left, err := c.Node.ContainerObjects(t.Context())
		return err == nil && len(left) == 0
	})
}

func TestWhatCannotRunFailsAndThePreviousRevisionServes(t *testing.T) {
	c := startContained(t, platform.Config{})
	c.Do(t, "PUT", c.at("containerApps", "shop"), c.app(), nil)
	was := c.settled("shop", "Succeeded")
	broken := c.app()
	broken["properties"].(object)["template"].(object)["containers"].([]any)[0].(object)["image"] = filepath.Join(t.TempDir(), "missing")
	c.Do(t, "PUT", c.at("containerApps", "shop"), broken, nil)
	now := c.settled("shop", "Failed")
	if text := fmt.Sprint(inside(now, "properties", "deploymentErrors")); !strings.Contains(text, "template.containers.main.image") || !strings.Contains(text, "missing") {
		t.Errorf("why it failed: %s", text)
	}
	if inside(now, "properties", "latestReadyRevisionName") != inside(was, "properties", "latestRevisionName") {
		t.Errorf("the ready revision is %v", inside(now, "properties", "latestReadyRevisionName"))
	}
	c.get(was, "/env?PORT")
	c.Do(t, "PUT", c.at("containerApps", "shop"), c.app(), nil)
	c.settled("shop", "Succeeded")
}

func TestWithoutAnEngineAContainerAppSaysWhatToDo(t *testing.T) {
	t.Parallel()
	c := startContained(t, platform.Config{})
	c.Stop(t)
	c.Config.Containers.Engine, c.Config.Containers.Host = platform.EngineDocker, "unix://"+filepath.Join(t.TempDir(), "no.sock")
	c.Restart(t)
	c.Do(t, "PUT", c.at("containerApps", "shop"), c.app(), nil)
	a := c.settled("shop", "Failed")
	text := fmt.Sprint(inside(a, "properties", "deploymentErrors"))
	for _, want := range []string{"no.sock", "process"} {
		if !strings.Contains(text, want) {
			t.Errorf("the reason does not say %q: %s", want, text)
		}
	}
	c.Stop(t)
	c.Config.Containers.Engine = platform.EngineProcess
	c.Restart(t)
	c.settled("shop", "Succeeded")
}

func TestProcessesOfANodeThatIsRootAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this node is not root")
	}
	c := startContained(t, platform.Config{})
	c.Stop(t)
	c.Config.Containers.ProcessAsRoot = false
	c.Restart(t)
	c.Do(t, "PUT", c.at("containerApps", "shop"), c.app(), nil)
	if text := fmt.Sprint(inside(c.settled("shop", "Failed"), "properties", "deploymentErrors")); !strings.Contains(text, "containers.processAsRoot") {
		t.Errorf("a node that is root runs processes, or says no way out: %s", text)
	}
}
