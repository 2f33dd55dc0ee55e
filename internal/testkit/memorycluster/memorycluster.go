// Package memorycluster owns an API server of Kubernetes for tests, in memory: what
// Latchkey's engine and the controllers of pods ask of a real one, with server-side apply
// of one manager and the garbage collector. It has no controllers, and checks nothing
// of the objects' form; what it claims is shown by tests on a real one, see package
// realcluster.
package memorycluster

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
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

// Server is a running API server. What it holds is read and changed under Mu.
type Server struct {
	*httptest.Server
	Mu      sync.Mutex
	Objects map[string]map[string]any // by path
	Applied map[string]any            // what was applied last, by path
	log     []event
	version int
	changed chan struct{} // closed at each change
	Down    bool          // every call fails
	// Logs and Exec answer for containers; nil: there are none.
	Logs func(pod, container string, q map[string][]string, w io.Writer) bool
	Exec http.HandlerFunc
}

type event struct {
	version int
	form    string
	path    string
	object  map[string]any
}

// Token is of somebody who may do everything, and Namespace is the only one there is.
const (
	Token     = "admin-token"
	Namespace = "apps"
)

// Start runs a server until the test ends.
func Start(t testing.TB) *Server {
	s := &Server{Objects: map[string]map[string]any{}, Applied: map[string]any{}, version: 100, changed: make(chan struct{})}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

// Access is the way to the server.
func (s *Server) Access() kubeapi.Access {
	return kubeapi.Access{Server: s.URL, Namespace: Namespace, Token: Token,
		CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})}
}

func refuse(w http.ResponseWriter, code int, reason string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "code": code, "reason": reason, "message": "quotes a s3cret value"})
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	s.Mu.Lock()
	down := s.Down
	s.Mu.Unlock()
	path := r.URL.Path
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case down:
		refuse(w, 503, "ServiceUnavailable")
	case r.Header.Get("Authorization") != "Bearer "+Token:
		refuse(w, 401, "Unauthorized")
	case strings.HasSuffix(path, "/tokenreviews"):
		s.review(w, r)
	case strings.HasSuffix(path, "/log"):
		if s.Logs == nil || !s.Logs(parts[5], r.URL.Query().Get("container"), r.URL.Query(), flusher{w}) {
			refuse(w, 404, "NotFound")
		}
	case strings.HasSuffix(path, "/exec"):
		if s.Exec == nil {
			refuse(w, 404, "NotFound")
			return
		}
		s.Exec(w, r)
	case isList(parts) && r.Method == http.MethodGet && r.URL.Query().Get("watch") == "true":
		s.watch(w, r)
	default:
		body, _ := io.ReadAll(r.Body)
		s.Mu.Lock()
		defer s.Mu.Unlock()
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

func (s *Server) call(w http.ResponseWriter, r *http.Request, path string, list bool, body []byte) {
	var object map[string]any
	_ = json.Unmarshal(body, &object)
	status := strings.HasSuffix(path, "/status")
	path = strings.TrimSuffix(path, "/status")
	now, there := s.Objects[path]
	switch {
	case list && r.Method == http.MethodGet:
		items := []any{}
		for _, p := range slices.Sorted(maps.Keys(s.Objects)) {
			if strings.HasPrefix(p, path+"/") && selected(r, s.Objects[p]) {
				items = append(items, s.Objects[p])
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
		s.Remove(path, now, strings.Contains(path, "/pods/") && r.URL.Query().Get("gracePeriodSeconds") != "0")
		s.answer(w, 200, map[string]any{"kind": "Status", "status": "Success"})
	default:
		refuse(w, 405, "MethodNotAllowed")
	}
}

func (s *Server) answer(w http.ResponseWriter, code int, object any) {
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
func (s *Server) apply(w http.ResponseWriter, path string, now, object map[string]any) {
	if want, ok := object["metadata"].(map[string]any)["resourceVersion"]; ok && (now == nil || now["metadata"].(map[string]any)["resourceVersion"] != want) {
		refuse(w, 409, "Conflict")
		return
	}
	next := clone(now)
	if next == nil {
		next = map[string]any{}
	}
	if before, ok := s.Applied[path].(map[string]any); ok {
		prune(next, before, object)
	}
	merge(next, clone(object))
	s.Applied[path] = clone(object)
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

// store is called under Mu, as are the following.
func (s *Server) store(path string, next map[string]any) map[string]any {
	meta := next["metadata"].(map[string]any)
	form, now := "MODIFIED", s.Objects[path]
	if now == nil {
		form = "ADDED"
		meta["uid"], meta["creationTimestamp"], meta["generation"] = rand.Text(), time.Now().UTC().Format(time.RFC3339), 1
	} else if was, _ := json.Marshal(now["spec"]); !bytes.Equal(was, encoded(next["spec"])) {
		g, _ := strconv.Atoi(fmt.Sprint(meta["generation"]))
		meta["generation"] = g + 1
	}
	s.version++
	meta["resourceVersion"] = strconv.Itoa(s.version)
	next = clone(next)
	s.Objects[path] = next
	s.tell(form, path, next)
	return next
}

func encoded(v any) []byte {
	data, _ := json.Marshal(v)
	return data
}

func (s *Server) tell(form, path string, object map[string]any) {
	s.log = append(s.log, event{s.version, form, path, clone(object)})
	close(s.changed)
	s.changed = make(chan struct{})
}

// Remove deletes, and what belongs to it as the garbage collector does.
func (s *Server) Remove(path string, now map[string]any, graceful bool) {
	meta := now["metadata"].(map[string]any)
	if graceful {
		if meta["deletionTimestamp"] == nil {
			next := clone(now)
			next["metadata"].(map[string]any)["deletionTimestamp"] = time.Now().UTC().Format(time.RFC3339)
			s.store(path, next)
		}
		return
	}
	delete(s.Objects, path)
	delete(s.Applied, path)
	s.version++
	gone := clone(now)
	gone["metadata"].(map[string]any)["resourceVersion"] = strconv.Itoa(s.version)
	s.tell("DELETED", path, gone)
	for _, p := range slices.Sorted(maps.Keys(s.Objects)) {
		o := s.Objects[p]
		if o == nil {
			continue
		}
		owners, _ := o["metadata"].(map[string]any)["ownerReferences"].([]any)
		if slices.ContainsFunc(owners, func(x any) bool { return x.(map[string]any)["uid"] == meta["uid"] }) {
			s.Remove(p, o, strings.Contains(p, "/pods/"))
		}
	}
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	w.WriteHeader(200)
	w.(http.Flusher).Flush()
	for at := 0; ; {
		s.Mu.Lock()
		news, wait := slices.Clone(s.log[at:]), s.changed
		at = len(s.log)
		s.Mu.Unlock()
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

// PodToken is the token of a pod's sidecar.
func PodToken(pod string) string { return podToken + pod }

const podToken = "pod:"

// review takes "pod:NAME" for the token of that pod's sidecar.
func (s *Server) review(w http.ResponseWriter, r *http.Request) {
	var got struct {
		Spec struct {
			Token     string   `json:"token"`
			Audiences []string `json:"audiences"`
		} `json:"spec"`
	}
	_ = json.NewDecoder(r.Body).Decode(&got)
	s.Mu.Lock()
	defer s.Mu.Unlock()
	name, ok := strings.CutPrefix(got.Spec.Token, podToken)
	o := s.Objects["/api/v1/namespaces/"+Namespace+"/pods/"+name]
	if !ok || o == nil {
		s.answer(w, 201, map[string]any{"status": map[string]any{}})
		return
	}
	s.answer(w, 201, map[string]any{"status": map[string]any{"authenticated": true, "audiences": got.Spec.Audiences, "user": map[string]any{
		"username": "system:serviceaccount:apps:x", "extra": map[string]any{
			"authentication.kubernetes.io/pod-name": []any{name}, "authentication.kubernetes.io/pod-uid": []any{o["metadata"].(map[string]any)["uid"]}}}}})
}
