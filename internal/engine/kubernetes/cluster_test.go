package kubernetes_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/kubeapi"
)

// server is an API server in memory: what the engine and its pods' controllers ask of a
// real one, with server-side apply of one manager. TestAgainstARealAPIServer shows what
// this one only claims.
type server struct {
	*httptest.Server
	mu      sync.Mutex
	objects map[string]map[string]any // by path
	applied map[string]any            // what was applied last, by path
	log     []event
	version int
	changed chan struct{} // closed at each change
	down    bool
	logs    func(pod, container string, q map[string][]string, w io.Writer) bool
	exec    http.HandlerFunc
}

type event struct {
	version int
	form    string
	path    string
	object  map[string]any
}

const adminToken = "admin-token"

func startServer(t *testing.T) *server {
	s := &server{objects: map[string]map[string]any{}, applied: map[string]any{}, version: 100, changed: make(chan struct{})}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

func (s *server) access() kubeapi.Access {
	return kubeapi.Access{Server: s.URL, Namespace: "apps", Token: adminToken,
		CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})}
}

func refuse(w http.ResponseWriter, code int, reason string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "code": code, "reason": reason, "message": "quotes a s3cret value"})
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	path := r.URL.Path
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case down:
		refuse(w, 503, "ServiceUnavailable")
	case r.Header.Get("Authorization") != "Bearer "+adminToken:
		refuse(w, 401, "Unauthorized")
	case strings.HasSuffix(path, "/tokenreviews"):
		s.review(w, r)
	case strings.HasSuffix(path, "/log"):
		if !s.logs(parts[5], r.URL.Query().Get("container"), r.URL.Query(), flusher{w}) {
			refuse(w, 404, "NotFound")
		}
	case strings.HasSuffix(path, "/exec"):
		s.exec(w, r)
	case isList(parts) && r.Method == http.MethodGet && r.URL.Query().Get("watch") == "true":
		s.watch(w, r)
	default:
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.call(w, r, path, isList(parts), body)
	}
}

type flusher struct{ http.ResponseWriter }

func (f flusher) Write(b []byte) (int, error) {
	n, err := f.ResponseWriter.Write(b)
	f.ResponseWriter.(http.Flusher).Flush()
	return n, err
}

// isList: api/v1/namespaces/ns/kind or apis/group/v1/namespaces/ns/kind.
func isList(parts []string) bool {
	return parts[0] == "api" && len(parts) == 5 || parts[0] == "apis" && len(parts) == 6
}

func (s *server) call(w http.ResponseWriter, r *http.Request, path string, list bool, body []byte) {
	var object map[string]any
	_ = json.Unmarshal(body, &object)
	status := strings.HasSuffix(path, "/status")
	path = strings.TrimSuffix(path, "/status")
	now, there := s.objects[path]
	switch {
	case list && r.Method == http.MethodGet:
		items := []any{}
		for _, p := range sortedKeys(s.objects) {
			if strings.HasPrefix(p, path+"/") && selected(r, s.objects[p]) {
				items = append(items, s.objects[p])
			}
		}
		s.answer(w, 200, map[string]any{"metadata": map[string]any{"resourceVersion": strconv.Itoa(s.version)}, "items": items})
	case list && r.Method == http.MethodPost:
		meta := object["metadata"].(map[string]any)
		s.answer(w, 201, s.store(path+"/"+meta["name"].(string), object))
	case r.Method == http.MethodPatch && r.Header.Get("Content-Type") == "application/apply-patch+yaml":
		s.apply(w, path, now, object)
	case !there:
		refuse(w, 404, "NotFound")
	case r.Method == http.MethodGet:
		s.answer(w, 200, now)
	case r.Method == http.MethodPatch:
		next := clone(now)
		if status {
			object = map[string]any{"status": object["status"]}
		}
		merge(next, object)
		s.answer(w, 200, s.store(path, next))
	case r.Method == http.MethodDelete:
		s.remove(path, now, strings.Contains(path, "/pods/") && r.URL.Query().Get("gracePeriodSeconds") != "0")
		s.answer(w, 200, map[string]any{"kind": "Status", "status": "Success"})
	default:
		refuse(w, 405, "MethodNotAllowed")
	}
}

func (s *server) answer(w http.ResponseWriter, code int, object any) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(object)
}

func selected(r *http.Request, o map[string]any) bool {
	labels, _ := o["metadata"].(map[string]any)["labels"].(map[string]any)
	for _, want := range strings.Split(r.URL.Query().Get("labelSelector"), ",") {
		if k, v, ok := strings.Cut(want, "="); ok && labels[k] != v {
			return false
		}
	}
	return true
}

// apply does what one manager's apply does: what it applied before and does not now
// goes, unless somebody else gave it another value.
func (s *server) apply(w http.ResponseWriter, path string, now, object map[string]any) {
	if want, ok := object["metadata"].(map[string]any)["resourceVersion"]; ok && (now == nil || now["metadata"].(map[string]any)["resourceVersion"] != want) {
		refuse(w, 409, "Conflict")
		return
	}
	next := clone(now)
	if next == nil {
		next = map[string]any{}
	}
	if before, ok := s.applied[path].(map[string]any); ok {
		prune(next, before, object)
	}
	merge(next, clone(object))
	s.applied[path] = clone(object)
	if now != nil && reflect.DeepEqual(now, clone(next)) {
		s.answer(w, 200, now)
		return
	}
	s.answer(w, 200, s.store(path, next))
}

func prune(next, before, now map[string]any) {
	for k, v := range before {
		inner, isMap := v.(map[string]any)
		switch kept, there := now[k]; {
		case !there:
			delete(next, k)
		case isMap:
			n, _ := next[k].(map[string]any)
			c, _ := kept.(map[string]any)
			if n != nil && c != nil {
				prune(n, inner, c)
			}
		}
	}
}

func merge(into, p map[string]any) {
	for name, value := range p {
		inner, isMap := value.(map[string]any)
		switch old, was := into[name].(map[string]any); {
		case value == nil:
			delete(into, name)
		case isMap && was:
			merge(old, inner)
		default:
			into[name] = value
		}
	}
}

func clone(object map[string]any) map[string]any {
	var out map[string]any
	data, _ := json.Marshal(object)
	_ = json.Unmarshal(data, &out)
	return out
}

// store is called under the lock, as are the following.
func (s *server) store(path string, next map[string]any) map[string]any {
	meta := next["metadata"].(map[string]any)
	form, now := "MODIFIED", s.objects[path]
	if now == nil {
		form = "ADDED"
		meta["uid"], meta["creationTimestamp"], meta["generation"] = rand.Text(), time.Now().UTC().Format(time.RFC3339), 1
	} else if was, _ := json.Marshal(now["spec"]); !bytes.Equal(was, must1(json.Marshal(next["spec"]))) {
		g, _ := strconv.Atoi(fmt.Sprint(meta["generation"]))
		meta["generation"] = g + 1
	}
	s.version++
	meta["resourceVersion"] = strconv.Itoa(s.version)
	next = clone(next)
	s.objects[path] = next
	s.tell(form, path, next)
	return next
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (s *server) tell(form, path string, object map[string]any) {
	s.log = append(s.log, event{s.version, form, path, clone(object)})
	close(s.changed)
	s.changed = make(chan struct{})
}

// remove deletes, and what belongs to it as the garbage collector does.
func (s *server) remove(path string, now map[string]any, graceful bool) {
	meta := now["metadata"].(map[string]any)
	if graceful {
		if meta["deletionTimestamp"] == nil {
			next := clone(now)
			next["metadata"].(map[string]any)["deletionTimestamp"] = time.Now().UTC().Format(time.RFC3339)
			s.store(path, next)
		}
		return
	}
	delete(s.objects, path)
	delete(s.applied, path)
	s.version++
	gone := clone(now)
	gone["metadata"].(map[string]any)["resourceVersion"] = strconv.Itoa(s.version)
	s.tell("DELETED", path, gone)
	for _, p := range sortedKeys(s.objects) {
		o := s.objects[p]
		if o == nil {
			continue
		}
		owners, _ := o["metadata"].(map[string]any)["ownerReferences"].([]any)
		if slices.ContainsFunc(owners, func(x any) bool { return x.(map[string]any)["uid"] == meta["uid"] }) {
			s.remove(p, o, strings.Contains(p, "/pods/"))
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func (s *server) watch(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	w.WriteHeader(200)
	w.(http.Flusher).Flush()
	for at := 0; ; {
		s.mu.Lock()
		news, wait := slices.Clone(s.log[at:]), s.changed
		at = len(s.log)
		s.mu.Unlock()
		for _, e := range news {
			if e.version > after && strings.HasPrefix(e.path, r.URL.Path+"/") && selected(r, e.object) {
				_ = json.NewEncoder(w).Encode(map[string]any{"type": e.form, "object": e.object})
			}
		}
		w.(http.Flusher).Flush()
		select {
		case <-wait:
		case <-r.Context().Done():
			return
		}
	}
}

// review takes "pod:NAME" for the token of that pod's sidecar.
func (s *server) review(w http.ResponseWriter, r *http.Request) {
	var got struct {
		Spec struct {
			Token     string   `json:"token"`
			Audiences []string `json:"audiences"`
		} `json:"spec"`
	}
	_ = json.NewDecoder(r.Body).Decode(&got)
	s.mu.Lock()
	defer s.mu.Unlock()
	name, ok := strings.CutPrefix(got.Spec.Token, "pod:")
	o := s.objects["/api/v1/namespaces/apps/pods/"+name]
	if !ok || o == nil {
		s.answer(w, 201, map[string]any{"status": map[string]any{}})
		return
	}
	s.answer(w, 201, map[string]any{"status": map[string]any{"authenticated": true, "audiences": got.Spec.Audiences, "user": map[string]any{
		"username": "system:serviceaccount:apps:x", "extra": map[string]any{
			"authentication.kubernetes.io/pod-name": []any{name}, "authentication.kubernetes.io/pod-uid": []any{o["metadata"].(map[string]any)["uid"]}}}}})
}
