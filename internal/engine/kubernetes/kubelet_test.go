package kubernetes_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/enginetest"
	"github.com/latchkey/latchkey/internal/engine/output"
	"github.com/latchkey/latchkey/internal/kubeapi"
)

const testImage = "registry.example/enginetest:1"

// nodes are a Deployment controller and a kubelet in one, on any API server: pods are
// made and replaced, and their containers run the suite's program in this process.
type nodes struct {
	t    *testing.T
	api  *kubeapi.Client
	ctx  context.Context
	next atomic.Int64 // of addresses

	mu   sync.Mutex
	runs map[string]*podRun // by uid
	work sync.WaitGroup
}

type podRun struct {
	name   string
	ip     string
	cancel context.CancelFunc
	mu     sync.Mutex
	status map[string]map[string]any // by container
	kill   map[string]context.CancelFunc
	logs   map[string]*output.Buffer
	env    map[string]map[string]string
	files  map[string]map[string]string
}

func startNodes(t *testing.T, access kubeapi.Access) *nodes {
	ctx, cancel := context.WithCancel(context.Background())
	n := &nodes{t: t, api: kubeapi.New(access, nil), ctx: ctx, runs: map[string]*podRun{}}
	n.work.Go(func() {
		for ctx.Err() == nil {
			n.reconcile()
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	t.Cleanup(func() { cancel(); n.work.Wait() })
	return n
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// copyOf gives a copy that shares nothing.
func copyOf(object map[string]any) map[string]any {
	var out map[string]any
	_ = json.Unmarshal(must1(json.Marshal(object)), &out)
	return out
}

const core, apps = "/api/v1/namespaces/apps/", "/apis/apps/v1/namespaces/apps/"

func (n *nodes) ask(method, path string, q url.Values, body any) (map[string]any, error) {
	var data []byte
	form := ""
	if body != nil {
		data = must1(json.Marshal(body))
		form = "application/json"
		if method == http.MethodPatch {
			form = "application/merge-patch+json"
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	resp, err := n.api.Send(ctx, kubeapi.Request{Method: method, Path: path, Query: q, Form: form, Body: data})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var out map[string]any
	return out, json.NewDecoder(resp.Body).Decode(&out)
}

func (n *nodes) list(path string) []map[string]any {
	got, err := n.ask(http.MethodGet, path, nil, nil)
	if err != nil {
		return nil
	}
	var out []map[string]any
	for _, x := range got["items"].([]any) {
		out = append(out, x.(map[string]any))
	}
	return out
}

// at gives what is deep in an object, nil for nothing.
func at(o any, path ...string) any {
	for _, p := range path {
		m, _ := o.(map[string]any)
		o = m[p]
	}
	return o
}

func text(o any, path ...string) string { s, _ := at(o, path...).(string); return s }
func number(o any, path ...string) int  { f, _ := at(o, path...).(float64); return int(f) }

func (n *nodes) reconcile() {
	deployments, err := n.ask(http.MethodGet, apps+"deployments", nil, nil)
	if err != nil {
		return
	}
	podList, err := n.ask(http.MethodGet, core+"pods", nil, nil)
	if err != nil {
		return
	}
	byDeployment, alive := map[string][]map[string]any{}, map[string]bool{}
	for _, x := range podList["items"].([]any) {
		p := x.(map[string]any)
		uid := text(p, "metadata", "uid")
		alive[uid] = true
		n.kubelet(uid, p)
		byDeployment[text(p, "metadata", "annotations", "test/deployment")] = append(byDeployment[text(p, "metadata", "annotations", "test/deployment")], p)
	}
	n.mu.Lock()
	for uid, r := range n.runs {
		if !alive[uid] {
			r.cancel()
			delete(n.runs, uid)
		}
	}
	n.mu.Unlock()
	for _, x := range deployments["items"].([]any) {
		d := x.(map[string]any)
		n.deployment(d, byDeployment[text(d, "metadata", "uid")])
		delete(byDeployment, text(d, "metadata", "uid"))
	}
	for _, orphans := range byDeployment { // of Deployments that are gone
		for _, p := range orphans {
			n.delete(p)
		}
	}
}

func (n *nodes) delete(p map[string]any) {
	if at(p, "metadata", "deletionTimestamp") == nil {
		_, _ = n.ask(http.MethodDelete, core+"pods/"+text(p, "metadata", "name"), nil, nil)
	}
}

func isReady(p map[string]any) bool {
	list, _ := at(p, "status", "containerStatuses").([]any)
	for _, c := range list {
		if at(c, "ready") != true {
			return false
		}
	}
	return len(list) > 0
}

func (n *nodes) deployment(d map[string]any, all []map[string]any) {
	want := number(d, "spec", "replicas")
	sum := sha256.Sum256(must1(json.Marshal(at(d, "spec", "template"))))
	hash := hex.EncodeToString(sum[:5])
	var now, old []map[string]any
	ready := 0
	for _, p := range all {
		switch {
		case at(p, "metadata", "deletionTimestamp") != nil:
		case text(p, "metadata", "annotations", "test/hash") == hash:
			if now = append(now, p); isReady(p) {
				ready++
			}
		case !isReady(p):
			n.delete(p)
		default:
			old = append(old, p)
		}
	}
	for i := len(now); i < want; i++ {
		n.create(d, hash)
	}
	slices.SortStableFunc(now, func(a, b map[string]any) int {
		if isReady(a) != isReady(b) {
			return map[bool]int{true: -1, false: 1}[isReady(a)]
		}
		return 0
	})
	for _, p := range now[min(want, len(now)):] {
		n.delete(p)
	}
	for _, p := range old[min(max(0, want-ready), len(old)):] {
		n.delete(p)
	}
	status := map[string]any{"observedGeneration": number(d, "metadata", "generation"), "replicas": len(now) + len(old), "updatedReplicas": len(now)}
	for k, v := range status {
		if number(d, "status", k) != v {
			_, _ = n.ask(http.MethodPatch, apps+"deployments/"+text(d, "metadata", "name")+"/status", nil, map[string]any{"status": status})
			break
		}
	}
}

func (n *nodes) create(d map[string]any, hash string) {
	p := copyOf(at(d, "spec", "template").(map[string]any))
	p["apiVersion"], p["kind"] = "v1", "Pod"
	meta := p["metadata"].(map[string]any)
	meta["name"] = text(d, "metadata", "name") + "-" + hash + "-" + strings.ToLower(rand.Text()[:5])
	notes := meta["annotations"].(map[string]any)
	notes["test/hash"], notes["test/deployment"] = hash, text(d, "metadata", "uid")
	meta["ownerReferences"] = []any{map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": text(d, "metadata", "name"), "uid": text(d, "metadata", "uid")}}
	p["spec"].(map[string]any)["nodeName"] = "node-1"
	if _, err := n.ask(http.MethodPost, core+"pods", nil, p); err != nil && n.ctx.Err() == nil {
		n.t.Logf("pod: %v", err)
	}
}

// kubelet runs a pod that it does not run yet, and ends one that is to end.
func (n *nodes) kubelet(uid string, p map[string]any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.runs[uid]
	if at(p, "metadata", "deletionTimestamp") != nil {
		if r != nil {
			r.cancel()
		} else {
			_, _ = n.ask(http.MethodDelete, core+"pods/"+text(p, "metadata", "name"), url.Values{"gracePeriodSeconds": {"0"}}, nil)
		}
		return
	}
	if r != nil {
		return
	}
	i := n.next.Add(1)
	ctx, cancel := context.WithCancel(n.ctx)
	r = &podRun{name: text(p, "metadata", "name"), ip: fmt.Sprintf("127.%d.%d.%d", 64+port7()%64, i/250, 1+i%250), cancel: cancel,
		status: map[string]map[string]any{}, kill: map[string]context.CancelFunc{}, logs: map[string]*output.Buffer{}, env: map[string]map[string]string{}, files: map[string]map[string]string{}}
	n.runs[uid] = r
	n.work.Go(func() {
		n.run(ctx, r, p)
		if n.ctx.Err() == nil {
			_, _ = n.ask(http.MethodDelete, core+"pods/"+r.name, url.Values{"gracePeriodSeconds": {"0"}}, nil)
		}
	})
}

var block = sync.OnceValue(func() int64 { b := make([]byte, 1); _, _ = rand.Read(b); return int64(b[0]) })

func port7() int64 { return block() }

func containersOf(p map[string]any, field string) (out []map[string]any) {
	list, _ := at(p, "spec", field).([]any)
	for _, c := range list {
		out = append(out, c.(map[string]any))
	}
	return out
}

func (n *nodes) run(ctx context.Context, r *podRun, p map[string]any) {
	n.report(r, p)
	for _, c := range containersOf(p, "initContainers") {
		if text(c, "restartPolicy") == "Always" { // the sidecar, which this is not about
			r.set(text(c, "name"), map[string]any{"ready": true, "started": true, "restartCount": 0, "state": running()})
			n.report(r, p)
			continue
		}
		for try := 0; ctx.Err() == nil; try++ {
			if code := n.start(ctx, r, p, c, try); code == 0 {
				break
			}
			pause(ctx)
		}
	}
	var main sync.WaitGroup
	for _, c := range containersOf(p, "containers") {
		main.Go(func() {
			for try := 0; ctx.Err() == nil; try++ {
				n.start(ctx, r, p, c, try)
				pause(ctx)
			}
		})
	}
	<-ctx.Done()
	main.Wait()
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(50 * time.Millisecond):
	}
}

func running() map[string]any {
	return map[string]any{"running": map[string]any{"startedAt": time.Now().UTC().Format(time.RFC3339)}}
}

func (r *podRun) set(name string, status map[string]any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status[name] = status
}

// start runs a container once and gives its exit code.
func (n *nodes) start(ctx context.Context, r *podRun, p, c map[string]any, count int) int {
	name := text(c, "name")
	last := map[string]any{}
	r.mu.Lock()
	if was := r.status[name]; was != nil {
		last, _ = was["state"].(map[string]any)
	}
	r.mu.Unlock()
	if text(c, "image") != testImage {
		r.set(name, map[string]any{"ready": false, "restartCount": 0, "state": map[string]any{"waiting": map[string]any{"reason": "ErrImagePull", "message": text(c, "image") + ": not found"}}})
		n.report(r, p)
		<-ctx.Done()
		return 1
	}
	env, files, err := n.world(p, c)
	if err != nil {
		r.set(name, map[string]any{"ready": false, "restartCount": 0, "state": map[string]any{"waiting": map[string]any{"reason": "CreateContainerConfigError", "message": err.Error()}}})
		n.report(r, p)
		pause(ctx)
		return 1
	}
	env["START"] = strconv.Itoa(count)
	one, kill := context.WithCancel(ctx)
	defer kill()
	var killed atomic.Bool
	buffer := &output.Buffer{}
	r.mu.Lock()
	r.kill[name] = func() { killed.Store(true); kill() }
	r.logs[name], r.env[name], r.files[name] = buffer, env, files
	r.mu.Unlock()
	hasProbe := at(c, "readinessProbe") != nil || at(c, "startupProbe") != nil
	state := map[string]any{"ready": !hasProbe, "restartCount": count, "state": running(), "lastState": last}
	r.set(name, state)
	n.report(r, p)
	var probing sync.WaitGroup
	probing.Go(func() { n.probes(one, r, p, c, kill) })
	var args []string
	for _, field := range []string{"command", "args"} {
		list, _ := at(c, field).([]any)
		for _, a := range list {
			args = append(args, expand(a.(string)))
		}
	}
	begun := time.Now()
	code := enginetest.Main(one, enginetest.World{Args: args, Env: env, Stdout: buffer,
		Read:   func(p string) (string, error) { return files[p], nil },
		Listen: func(port int) string { return fmt.Sprintf("%s:%d", r.ip, port) }})
	if killed.Load() {
		code = 137
	}
	kill()
	probing.Wait()
	buffer.End()
	end := map[string]any{"terminated": map[string]any{"exitCode": code, "reason": map[bool]string{true: "Completed", false: "Error"}[code == 0],
		"startedAt": begun.UTC().Format(time.RFC3339), "finishedAt": time.Now().UTC().Format(time.RFC3339Nano)}}
	status := map[string]any{"ready": false, "restartCount": count, "state": end}
	r.set(name, status)
	n.report(r, p)
	if code != 0 && ctx.Err() == nil {
		r.set(name, map[string]any{"ready": false, "restartCount": count, "lastState": end, "state": map[string]any{"waiting": map[string]any{"reason": "CrashLoopBackOff", "message": "back-off"}}})
		n.report(r, p)
		r.set(name, status)
	}
	return code
}

// expand does what kubelets do with $, and says so if there is a variable.
func expand(text string) string {
	if strings.Contains(strings.ReplaceAll(text, "$$", ""), "$(") {
		return "EXPANDED"
	}
	return strings.ReplaceAll(text, "$$", "$")
}

// world gives the environment and the files of a container.
func (n *nodes) world(p, c map[string]any) (env, files map[string]string, err error) {
	env, files = map[string]string{}, map[string]string{}
	secretData := func(name string) (map[string]any, error) {
		got, err := n.ask(http.MethodGet, core+"secrets/"+name, nil, nil)
		data, _ := at(got, "data").(map[string]any)
		return data, err
	}
	decode := func(v any) string { s, _ := v.(string); b, _ := base64.StdEncoding.DecodeString(s); return string(b) }
	list, _ := at(c, "env").([]any)
	for _, e := range list {
		env[text(e, "name")] = expand(text(e, "value"))
		if ref := at(e, "valueFrom", "secretKeyRef"); ref != nil {
			data, err := secretData(text(ref, "name"))
			if err != nil || data[text(ref, "key")] == nil {
				return nil, nil, fmt.Errorf("secret %s key %s: %w", text(ref, "name"), text(ref, "key"), err)
			}
			env[text(e, "name")] = decode(data[text(ref, "key")])
		}
	}
	mounts, _ := at(c, "volumeMounts").([]any)
	volumes, _ := at(p, "spec", "volumes").([]any)
	for _, m := range mounts {
		for _, v := range volumes {
			if text(v, "name") != text(m, "name") || at(v, "secret") == nil {
				continue
			}
			data, err := secretData(text(v, "secret", "secretName"))
			if err != nil {
				return nil, nil, err
			}
			items, _ := at(v, "secret", "items").([]any)
			for _, i := range items {
				files[path.Join(text(m, "mountPath"), text(i, "path"))] = decode(data[text(i, "key")])
			}
		}
	}
	return env, files, nil
}

func (n *nodes) probes(ctx context.Context, r *podRun, p, c map[string]any, kill func()) {
	get := func(kind string) (defined, ok bool) {
		probe := at(c, kind, "httpGet")
		if probe == nil {
			return false, true
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d%s", r.ip, number(probe, "port"), text(probe, "path")), nil)
		if err != nil {
			return true, false
		}
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}).Do(req)
		if err != nil {
			return true, false
		}
		_ = resp.Body.Close()
		return true, resp.StatusCode < 400
	}
	started, failures := false, 0
	for ctx.Err() == nil {
		if !started {
			_, started = get("startupProbe")
		} else {
			_, ready := get("readinessProbe")
			n.ready(r, p, text(c, "name"), ready)
			if defined, live := get("livenessProbe"); defined && !live && ctx.Err() == nil {
				if failures++; failures >= number(c, "livenessProbe", "failureThreshold") {
					kill()
					return
				}
			} else {
				failures = 0
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(30 * time.Millisecond):
		}
	}
}

func (n *nodes) ready(r *podRun, p map[string]any, name string, ready bool) {
	r.mu.Lock()
	status := r.status[name]
	same := status["ready"] == ready || at(status, "state", "running") == nil
	if !same {
		status["ready"] = ready
	}
	r.mu.Unlock()
	if !same {
		n.report(r, p)
	}
}

// report tells the API server what the pod is doing.
func (n *nodes) report(r *podRun, p map[string]any) {
	r.mu.Lock()
	defer r.mu.Unlock() // reports stay in order
	list := func(field string) []any {
		out := []any{}
		for _, c := range containersOf(p, field) {
			one := map[string]any{"name": c["name"], "image": c["image"], "imageID": "", "ready": false, "restartCount": 0, "state": map[string]any{"waiting": map[string]any{"reason": "PodInitializing"}}}
			for k, v := range r.status[text(c, "name")] {
				one[k] = v
			}
			out = append(out, one)
		}
		return out
	}
	body := map[string]any{"status": map[string]any{"phase": "Running", "podIP": r.ip, "podIPs": []any{map[string]any{"ip": r.ip}},
		"initContainerStatuses": list("initContainers"), "containerStatuses": list("containers")}}
	if _, err := n.ask(http.MethodPatch, core+"pods/"+r.name+"/status", nil, body); err != nil && n.ctx.Err() == nil {
		n.t.Logf("status of %s: %v", r.name, err)
	}
}

func (n *nodes) find(pod string) *podRun {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.runs {
		if r.name == pod {
			return r
		}
	}
	return nil
}

func (n *nodes) logs(pod, container string, q map[string][]string, w io.Writer) bool {
	r := n.find(pod)
	if r == nil {
		return false
	}
	r.mu.Lock()
	b := r.logs[container]
	r.mu.Unlock()
	tail, _ := strconv.Atoi(url.Values(q).Get("tailLines"))
	return b != nil && b.Copy(n.ctx, engine.LogOptions{Tail: tail}, w) == nil
}

func (n *nodes) killContainer(t *testing.T, o engine.Object) {
	r := n.find(o.Replica)
	if r == nil {
		t.Fatalf("no pod %s", o.Replica)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kill[o.Container]()
}

var _ = bytes.MinRead
