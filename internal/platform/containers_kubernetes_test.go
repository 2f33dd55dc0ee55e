package platform_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/latchkey/latchkey/internal/engine/kubernetes"
	"github.com/latchkey/latchkey/internal/engine/kubernetes/sidecar"
	"github.com/latchkey/latchkey/internal/kubeapi"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/testkit/memorycluster"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// clustered is a platform that runs container apps on a cluster in memory. Its pods are
// made by the test, which says what they do.
type clustered struct {
	*contained
	cluster *memorycluster.Server
	api     *kubeapi.Client
}

const (
	coreObjects = "/api/v1/namespaces/" + memorycluster.Namespace + "/"
	deployments = "/apis/apps/v1/namespaces/" + memorycluster.Namespace + "/deployments"
	hpas        = "/apis/autoscaling/v2/namespaces/" + memorycluster.Namespace + "/horizontalpodautoscalers"
	scaledObjs  = "/apis/keda.sh/v1alpha1/namespaces/" + memorycluster.Namespace + "/scaledobjects"
)

// kubeconfig writes a file with the way to a cluster.
func kubeconfig(t *testing.T, a kubeapi.Access) string {
	t.Helper()
	text, err := yaml.Marshal(object{"current-context": "c",
		"contexts": []any{object{"name": "c", "context": object{"cluster": "k", "user": "u", "namespace": a.Namespace}}},
		"clusters": []any{object{"name": "k", "cluster": object{"server": a.Server, "certificate-authority-data": base64.StdEncoding.EncodeToString(a.CA)}}},
		"users":    []any{object{"name": "u", "user": object{"token": a.Token}}}})
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// ownAddress is one of this machine that no other test has.
func ownAddress() string {
	b := make([]byte, 3)
	_, _ = rand.Read(b)
	return fmt.Sprintf("127.%d.%d.%d:7444", 128+b[0]%64, b[1], 1+b[2]%250)
}

func startClustered(t *testing.T) *clustered {
	t.Helper()
	s, address := memorycluster.Start(t), ownAddress()
	cfg := platform.Config{Environ: append(os.Environ(), "KUBECONFIG="+kubeconfig(t, s.Access()))}
	cfg.Containers.Engine = platform.EngineKubernetes
	cfg.Containers.Kubernetes = platform.KubernetesConfig{SidecarImage: "registry.example/latchkey:1", Listen: address, URL: "https://" + address,
		PodLabels: []string{"app=latchkey"}, PodNamespace: "latchkey"}
	c := &clustered{&contained{Platform: platformtest.Start(t, cfg), t: t, image: "registry.example/shop:1"}, s, kubeapi.New(s.Access(), nil)}
	c.Do(t, "PUT", c.group(), object{"location": "local"}, nil)
	c.Do(t, "PUT", c.at("managedEnvironments", "env"), object{"location": "local", "properties": object{
		"workloadProfiles": []any{object{"name": "Consumption", "workloadProfileType": "Consumption"}}}}, nil)
	var work sync.WaitGroup
	end := make(chan struct{})
	work.Go(func() { c.reap(end) })
	t.Cleanup(func() { c.Stop(t); close(end); work.Wait() }) // deleting apps at the end needs somebody who ends pods
	return c
}

// reap ends pods that are to end, as kubelets do.
func (c *clustered) reap(end chan struct{}) {
	for {
		c.cluster.Mu.Lock()
		for path, o := range c.cluster.Objects {
			if strings.HasPrefix(path, coreObjects+"pods/") && inside(o, "metadata", "deletionTimestamp") != nil {
				c.cluster.Remove(path, o, false)
			}
		}
		c.cluster.Mu.Unlock()
		select {
		case <-end:
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// call makes a call to the API server.
func (c *clustered) call(method, path string, body any) object {
	c.t.Helper()
	r := kubeapi.Request{Method: method, Path: path}
	if body != nil {
		r.Body, _ = json.Marshal(body)
		r.Form = map[string]string{"POST": "application/json", "PATCH": "application/merge-patch+json"}[method]
	}
	answer, err := c.api.Send(c.t.Context(), r)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer answer.Body.Close()
	var out object
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil {
		c.t.Fatal(err)
	}
	return out
}

// of gives the objects of an app that are listed at a path.
func (c *clustered) of(app, path string) (list []object) {
	c.t.Helper()
	for _, one := range c.call("GET", path, nil)["items"].([]any) {
		o := one.(object)
		if notes, _ := inside(o, "metadata", "annotations").(object); strings.EqualFold(fmt.Sprint(notes["latchkey/app"]), c.at("containerApps", app)) {
			list = append(list, o)
		}
	}
	return list
}

// pod is one of the only replica of an app, with its sidecar.
type pod struct {
	c       *clustered
	name    string
	owner   string
	object  object
	headers map[string]string // by container
	sidecar string            // its address
	config  sidecar.Config
}

// runs makes the pod of an app's Deployment, in which the sidecar runs and what comes
// first.
func (c *clustered) runs(app string) *pod {
	c.t.Helper()
	var d object
	platformtest.Until(c.t, app+" has a Deployment", func() bool {
		list := c.of(app, deployments)
		if len(list) == 1 {
			d = list[0]
		}
		return len(list) == 1
	})
	meta := d["metadata"].(object)
	o := inside(d, "spec", "template").(object)
	p := &pod{c: c, owner: meta["name"].(string), object: o, headers: map[string]string{}}
	p.name = p.owner + "-" + strings.ToLower(rand.Text()[:5])
	o["apiVersion"], o["kind"] = "v1", "Pod"
	o["metadata"].(object)["name"] = p.name
	o["metadata"].(object)["ownerReferences"] = []any{object{"apiVersion": "apps/v1", "kind": "Deployment", "name": p.owner, "uid": meta["uid"]}}
	c.call("POST", coreObjects+"pods", o)
	c.call("PATCH", deployments+"/"+p.owner+"/status", object{"status": object{"observedGeneration": meta["generation"], "replicas": 1, "updatedReplicas": 1}})
	for _, of := range []string{"initContainers", "containers"} {
		for _, one := range p.list(of) {
			p.start(one)
		}
	}
	p.phase("init")
	return p
}

func (p *pod) list(field string) (out []object) {
	list, _ := inside(p.object, "spec", field).([]any)
	for _, one := range list {
		out = append(out, one.(object))
	}
	return out
}

// start reads what a container finds in its environment; the sidecar runs.
func (p *pod) start(container object) {
	env := map[string]string{}
	list, _ := container["env"].([]any)
	for _, one := range list {
		v := one.(object)
		env[v["name"].(string)], _ = v["value"].(string)
		if ref, ok := inside(v, "valueFrom", "secretKeyRef").(object); ok {
			data := p.c.call("GET", coreObjects+"secrets/"+ref["name"].(string), nil)["data"].(object)
			text, _ := base64.StdEncoding.DecodeString(data[ref["key"].(string)].(string))
			env[v["name"].(string)] = string(text)
		}
	}
	if container["restartPolicy"] != "Always" {
		if env["IDENTITY_ENDPOINT"] != kubernetes.TokenEndpoint || env["IDENTITY_HEADER"] == "" {
			p.c.t.Errorf("the environment of %v: %v", container["name"], env)
		}
		p.headers[container["name"].(string)] = env["IDENTITY_HEADER"]
		return
	}
	p.runSidecar(env)
}

// runSidecar runs the sidecar with the environment and the files it has in the pod.
func (p *pod) runSidecar(env map[string]string) {
	t := p.c.t
	t.Helper()
	folder := t.TempDir()
	env["LATCHKEY_SIDECAR_TOKEN_FILE"] = filepath.Join(folder, "token")
	env["LATCHKEY_SIDECAR_CA_FILE"] = filepath.Join(folder, "ca.crt")
	trust := p.c.call("GET", coreObjects+"configmaps/"+p.owner, nil)["data"].(object)["ca.crt"].(string)
	err := errors.Join(os.WriteFile(env["LATCHKEY_SIDECAR_TOKEN_FILE"], []byte(memorycluster.PodToken(p.name)), 0o600),
		os.WriteFile(env["LATCHKEY_SIDECAR_CA_FILE"], []byte(trust), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if p.config, err = sidecar.Parse(func(name string) string { return env[name] }); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(sidecar.Handler(p.config))
	t.Cleanup(s.Close)
	p.sidecar = s.URL
}

// phase tells what the pod does now: "init" or "main".
func (p *pod) phase(now string) {
	p.c.t.Helper()
	at := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	running := object{"running": object{"startedAt": at}}
	states := map[string][2]any{
		"init": {running, object{"waiting": object{"reason": "PodInitializing"}}},
		"main": {object{"terminated": object{"exitCode": 0, "startedAt": at, "finishedAt": at}}, running},
	}[now]
	status := func(field string, state any) (out []any) {
		for _, c := range p.list(field) {
			one := object{"name": c["name"], "state": state, "ready": true, "restartCount": 0}
			if c["restartPolicy"] == "Always" {
				one["state"] = running
			} else if field == "containers" {
				one["ready"] = now == "main"
			}
			out = append(out, one)
		}
		return out
	}
	p.c.call("PATCH", coreObjects+"pods/"+p.name+"/status", object{"status": object{"phase": "Running", "podIP": "127.0.0.1",
		"initContainerStatuses": status("initContainers", states[0]), "containerStatuses": status("containers", states[1])}})
}

// asks asks the pod's sidecar with a header.
func (p *pod) asks(header, query string) (status int, body []byte) {
	p.c.t.Helper()
	r, err := http.NewRequestWithContext(p.c.t.Context(), "GET", p.sidecar+"/msi/token?api-version=2019-08-01&resource=https://vault.azure.net&"+query, nil)
	if err != nil {
		p.c.t.Fatal(err)
	}
	r.Header.Set("X-IDENTITY-HEADER", header)
	answer, err := (&http.Client{Timeout: platformtest.Patience}).Do(r)
	if err != nil {
		p.c.t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err = io.ReadAll(answer.Body); err != nil {
		p.c.t.Fatal(err)
	}
	return answer.StatusCode, body
}

// known waits until the node has seen what a container does: that its header counts,
// or that it does not.
func (p *pod) known(container string, counts bool) {
	p.c.t.Helper()
	platformtest.Until(p.c.t, fmt.Sprintf("the header of %s counts: %v", container, counts), func() bool {
		status, _ := p.asks(p.headers[container], "")
		return (status != http.StatusForbidden) == counts
	})
}

// named is an identity with what requests can name it by.
type named struct{ id, client, principal string }

func (c *clustered) named(id string) named {
	var got object
	c.Do(c.t, "GET", id, nil, &got)
	return named{strings.TrimSuffix(id, "/providers/Microsoft.ManagedIdentity/identities/default"), inside(got, "properties", "clientId").(string), inside(got, "properties", "principalId").(string)}
}

// objectID gives whose token an answer has; "" for none.
func objectID(status int, body []byte) string {
	var token struct {
		Raw string `json:"access_token"`
	}
	var claims struct {
		Object string `json:"oid"`
	}
	if status != http.StatusOK || json.Unmarshal(body, &token) != nil || strings.Count(token.Raw, ".") != 2 {
		return ""
	}
	text, _ := base64.RawURLEncoding.DecodeString(strings.Split(token.Raw, ".")[1])
	_ = json.Unmarshal(text, &claims)
	return claims.Object
}

var lives = []string{"All", "Init", "Main", "None"}

func lifeAllows(life, role string) bool {
	return life == "All" || strings.EqualFold(life, role)
}

// matrix is an app whose own identity has one lifecycle, and which has an identity of
// each.
type matrix struct {
	*clustered
	name, own string
	system    named
	users     map[string]named // by lifecycle
	cells     map[[4]string]bool
}

func (c *clustered) wish(own string, users map[string]named) object {
	ids, settings := object{}, []any{object{"identity": "system", "lifecycle": own}}
	for life, who := range users {
		ids[who.id] = object{}
		settings = append(settings, object{"identity": who.id, "lifecycle": life})
	}
	a := c.app()
	a["identity"] = object{"type": "SystemAssigned,UserAssigned", "userAssignedIdentities": ids}
	configuration := inside(a, "properties", "configuration").(object)
	delete(configuration, "ingress")
	configuration["identitySettings"] = settings
	template := inside(a, "properties", "template").(object)
	template["initContainers"] = []any{object{"name": "first", "image": c.image, "resources": object{"cpu": 0.25, "memory": "0.5Gi"}}}
	template["scale"] = object{"minReplicas": 1, "maxReplicas": 1}
	return a
}

// check checks all cells of one role.
func (m *matrix) check(p *pod, container, role string) {
	m.t.Helper()
	check := func(kind, life, selector, query string, want named, may bool) {
		m.t.Helper()
		m.cells[[4]string{life, role, kind, selector}] = true
		status, body := p.asks(p.headers[container], query)
		if may && objectID(status, body) != want.principal || !may && (status != 400 || !bytes.Contains(body, []byte("Unable to load the proper Managed Identity."))) {
			m.t.Errorf("%s: %s %s %s %s: %d %s", m.name, role, kind, life, selector, status, body)
		}
	}
	every := func(kind, life string, who named) {
		m.t.Helper()
		for selector, value := range map[string]string{"client_id": who.client, "principal_id": who.principal, "mi_res_id": who.id} {
			check(kind, life, selector, selector+"="+url.QueryEscape(value), who, lifeAllows(life, role))
		}
		check(kind, life, "none", "", m.system, lifeAllows(m.own, role)) // the app's own, whoever is meant
	}
	every("system", m.own, m.system)
	for life, who := range m.users {
		every("user", life, who)
	}
}

func TestTheLifecycleMatrixHoldsOnKubernetes(t *testing.T) {
	t.Parallel()
	c := startClustered(t)
	users, cells := map[string]named{}, map[[4]string]bool{}
	for _, life := range lives {
		users[life] = c.named(c.identity("user-" + strings.ToLower(life)))
	}
	var pods []*pod
	for _, own := range lives {
		m := &matrix{c, "app-" + strings.ToLower(own), own, named{}, users, cells}
		c.Do(t, "PUT", c.at("containerApps", m.name), c.wish(own, users), nil)
		m.system = c.named(c.at("containerApps", m.name) + "/providers/Microsoft.ManagedIdentity/identities/default")
		p := c.runs(m.name)
		p.known("first", true)
		m.check(p, "first", "Init")
		p.phase("main")
		p.known("first", false)
		p.known("main", true)
		m.check(p, "main", "Main")
		c.settled(m.name, "Succeeded")
		pods = append(pods, p)
	}
	if len(cells) != 64 {
		t.Errorf("%d cells were checked", len(cells))
	}
	c.strangers(pods)
	c.reassigned(pods[0], users)
	for _, own := range lives {
		c.Do(t, "DELETE", c.at("containerApps", "app-"+strings.ToLower(own)), nil, nil)
	}
	c.cluster.Mu.Lock()
	defer c.cluster.Mu.Unlock()
	for path := range c.cluster.Objects {
		t.Errorf("%s is left", path)
	}
}

// strangers have a header, and not the pod that it is for.
func (c *clustered) strangers(pods []*pod) {
	c.t.Helper()
	if status, body := pods[1].asks(pods[0].headers["main"], ""); status != http.StatusForbidden {
		c.t.Errorf("the header of another pod: %d %s", status, body)
	}
	client := &http.Client{Timeout: platformtest.Patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pods[0].config.Roots}}}
	for path, want := range map[string]int{"/msi/token?api-version=2019-08-01&resource=https://vault.azure.net": 403, "/subscriptions?api-version=2022-09-01": 403, "/": 403} {
		r, _ := http.NewRequestWithContext(c.t.Context(), "GET", pods[0].config.Upstream.String()+path, nil)
		r.Header.Set("X-IDENTITY-HEADER", pods[0].headers["main"])
		answer, err := client.Do(r)
		if err != nil {
			c.t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != want && answer.StatusCode != http.StatusNotFound {
			c.t.Errorf("%s without a sidecar: %d", path, answer.StatusCode)
		}
	}
}

// reassigned changes lifecycles, which neither makes a revision nor a new pod.
func (c *clustered) reassigned(p *pod, users map[string]named) {
	c.t.Helper()
	was := c.of("app-all", deployments)[0]
	who := users["Init"]
	query := "mi_res_id=" + url.QueryEscape(who.id)
	if status, _ := p.asks(p.headers["main"], query); status != 400 {
		c.t.Errorf("before: %d", status)
	}
	c.Do(c.t, "PATCH", c.at("containerApps", "app-all"), object{"properties": object{"configuration": object{"identitySettings": []any{object{"identity": who.id, "lifecycle": "Main"}}}}}, nil)
	if status, body := p.asks(p.headers["main"], query); objectID(status, body) != who.principal {
		c.t.Errorf("after: %d %s", status, body)
	}
	now := c.of("app-all", deployments)
	if len(now) != 1 || fmt.Sprint(inside(now[0], "spec", "template")) != fmt.Sprint(inside(was, "spec", "template")) {
		c.t.Error("the Deployment is another one")
	}
}

func TestSidecarsAreAnsweredAgainAfterARestart(t *testing.T) {
	t.Parallel()
	c := startClustered(t)
	who := c.named(c.identity("one"))
	c.Do(t, "PUT", c.at("containerApps", "shop"), c.wish("None", map[string]named{"Main": who}), nil)
	p := c.runs("shop")
	p.phase("main")
	p.known("main", true)
	c.settled("shop", "Succeeded")
	query := "client_id=" + who.client
	c.Stop(t)
	if status, _ := p.asks(p.headers["main"], query); status != http.StatusServiceUnavailable {
		t.Errorf("without Latchkey: %d", status)
	}
	c.Restart(t)
	platformtest.Until(t, "the same pod gets tokens again", func() bool { return objectID(p.asks(p.headers["main"], query)) == who.principal })
	if got := c.of("shop", deployments); len(got) != 1 {
		t.Errorf("%d Deployments", len(got))
	}
	p.unknown()
}

// unknown asks with a token of no pod: that is refused, and not decided while the cluster
// cannot be asked.
func (p *pod) unknown() {
	p.c.t.Helper()
	if err := os.WriteFile(p.config.TokenFile, []byte(memorycluster.PodToken("nobody")), 0o600); err != nil {
		p.c.t.Fatal(err)
	}
	for down, want := range map[bool]int{false: http.StatusForbidden, true: http.StatusServiceUnavailable} {
		p.c.cluster.Mu.Lock()
		p.c.cluster.Down = down
		p.c.cluster.Mu.Unlock()
		if status, body := p.asks(p.headers["main"], ""); status != want {
			p.c.t.Errorf("a token of no pod, with the cluster away: %v: %d %s", down, status, body)
		}
	}
}

// latest names the newest revision of an app.
func (c *clustered) latest(app string) string {
	c.t.Helper()
	var a object
	c.Do(c.t, "GET", c.at("containerApps", app), nil, &a)
	name, _ := inside(a, "properties", "latestRevisionName").(string)
	return name
}

func TestClustersAreHandedTheRulesTheyCanKeep(t *testing.T) {
	c := startClustered(t)
	reader := c.identity("reader")
	rule := func(kind string, rule object) object { return object{"name": "work", kind: rule} }
	for name, tt := range map[string]struct {
		least       int
		rule        object
		hpa, scaled int
	}{
		"cpu": {1, rule("custom", object{"type": "cpu", "metadata": object{"type": "Utilization", "value": "50"}}), 1, 0},
		"queue": {0, rule("azureQueue", object{"queueName": "work", "queueLength": 5, "accountName": "orders",
			"auth": []any{object{"secretRef": "connection", "triggerParameter": "connection"}}}), 0, 1},
		"identity": {0, rule("azureQueue", object{"queueName": "work", "queueLength": 5, "accountName": "orders", "identity": reader}), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.app()
			a["identity"] = object{"type": "UserAssigned", "userAssignedIdentities": object{reader: object{}}}
			configuration := inside(a, "properties", "configuration").(object)
			delete(configuration, "ingress")
			configuration["secrets"] = []any{object{"name": "connection", "value": "hidden-connection"}}
			inside(a, "properties", "template").(object)["scale"] = object{"minReplicas": tt.least, "maxReplicas": 5, "rules": []any{tt.rule}}
			c.Do(t, "PUT", c.at("containerApps", name), a, nil)
			id, err := resource.Parse(c.at("containerApps", name))
			if err != nil {
				t.Fatal(err)
			}
			platformtest.Until(t, "the cluster scales as it should", func() bool {
				return len(c.of(name, deployments)) == 1 && len(c.of(name, hpas)) == tt.hpa && len(c.of(name, scaledObjs)) == tt.scaled
			})
			platformtest.Until(t, "it is said who decides", func() bool {
				e, ok := c.Node.ContainerScale(id, c.latest(name))
				return ok && strings.Contains(e.Reason, "the engine scales it") == (tt.hpa+tt.scaled > 0) && e.Reason != ""
			})
			for _, o := range slices.Concat(c.of(name, scaledObjs), c.of(name, deployments)) {
				if text, _ := json.Marshal(o); bytes.Contains(text, []byte("hidden-connection")) {
					t.Errorf("a secret is in %s", text)
				}
			}
			if tt.hpa+tt.scaled > 0 {
				d := c.of(name, deployments)[0]
				path := deployments + "/" + inside(d, "metadata", "name").(string)
				c.call("PATCH", path, object{"spec": object{"replicas": 4, "revisionHistoryLimit": 7}})
				platformtest.Until(t, "the rest is put back", func() bool { return inside(c.call("GET", path, nil), "spec", "revisionHistoryLimit") == 0.0 })
				if got := inside(c.call("GET", path, nil), "spec", "replicas"); got != 4.0 {
					t.Errorf("what the cluster decided became %v", got)
				}
			}
		})
	}
}

func TestWithoutAClusterAContainerAppSaysWhatWasTried(t *testing.T) {
	t.Parallel()
	c := startClustered(t)
	settings := c.Config.Containers.Kubernetes
	gone := httptest.NewTLSServer(http.NotFoundHandler())
	access := c.cluster.Access()
	access.Server = gone.URL
	gone.Close()
	for _, tt := range []struct {
		name   string
		change func()
		want   []string
	}{
		{"no cluster", func() { c.Config.Environ = []string{"PATH=/bin"} }, []string{"KUBERNETES_SERVICE_HOST", "service account of this pod", "KUBECONFIG"}},
		{"no such file", func() { c.Config.Environ = []string{"KUBECONFIG=/none/config"} }, []string{"KUBECONFIG=/none/config", "cannot be read"}},
		{"a cluster that is away", func() { c.Config.Environ = []string{"KUBECONFIG=" + kubeconfig(t, access)} }, []string{access.Server, "found by KUBECONFIG=", "does not answer"}},
		{"no image", func() { c.Config.Containers.Kubernetes.SidecarImage = "" }, []string{"sidecarImage", "Dockerfile"}},
		{"no address", func() { c.Config.Containers.Kubernetes.URL = "" }, []string{"containers.kubernetes.url", "https://"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.Stop(t)
			c.Config.Containers.Kubernetes, c.Config.Environ = settings, []string{"KUBECONFIG=" + kubeconfig(t, c.cluster.Access())}
			tt.change()
			c.Restart(t)
			name := strings.ReplaceAll(tt.name, " ", "-")
			a := c.app()
			delete(inside(a, "properties", "configuration").(object), "ingress")
			c.Do(t, "PUT", c.at("containerApps", name), a, nil)
			text := fmt.Sprint(inside(c.settled(name, "Failed"), "properties", "deploymentErrors"))
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in: %s", want, text)
				}
			}
		})
	}
	if problem.KindOf(c.Client.Do(t.Context(), "GET", c.at("containerApps", "none"), nil, nil)) != problem.NotFound {
		t.Error("the platform itself does not work")
	}
}
