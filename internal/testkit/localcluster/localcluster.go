// Package localcluster owns an API server for tests: the calls of a key store and of
// a stock host on Secrets and ConfigMaps of one namespace, in memory, answered as
// the real one does. It does not know what objects hold.
package localcluster

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Credentials and the one namespace there is.
const (
	Token      = "token-1"     // of the app, for what is not denied
	AdminToken = "admin-token" // for everything; its requests are not counted
	Namespace  = "apps"
)

// Server is a running API server. It is safe for concurrent use.
type Server struct {
	URL string

	server *httptest.Server
	token  string

	mu       sync.Mutex
	objects  map[string]map[string]any // by kind/name
	log      []change
	version  int
	oldest   int             // watches from before it are expired
	denied   map[string]bool // verbs
	watchers map[chan struct{}]bool
	seen     []string // verbs of all requests
}

// change is an event of a watch.
type change struct {
	version int
	event   string
	key     string
	object  map[string]any
}

// Start runs a server until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	f := &Server{token: Token, objects: map[string]map[string]any{}, version: 100, denied: map[string]bool{}, watchers: map[chan struct{}]bool{}}
	f.server = httptest.NewUnstartedServer(f)
	f.server.EnableHTTP2 = true
	f.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	f.server.StartTLS()
	f.URL = f.server.URL
	t.Cleanup(func() {
		f.server.CloseClientConnections()
		f.server.Close()
	})
	return f
}

// Client gives a client that trusts the server.
func (f *Server) Client() *http.Client { return f.server.Client() }

// CA gives the certificate that the server's comes from, PEM.
func (f *Server) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.server.Certificate().Raw})
}

func refuse(w http.ResponseWriter, code int, reason, kind, name string, causes ...string) {
	details := map[string]any{"name": name, "kind": kind}
	var list []any
	for _, field := range causes {
		list = append(list, map[string]any{"reason": "FieldValueForbidden", "field": field, "message": "quotes a value: function-1"})
	}
	details["causes"] = list
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "quotes a value: function-1",
		"reason": reason, "code": code, "details": details,
	})
}

func answer(w http.ResponseWriter, code int, object any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(object)
}

var verbs = map[string]string{http.MethodGet: "get", http.MethodPost: "create", http.MethodPatch: "patch", http.MethodDelete: "delete"}

// ServeHTTP answers one call.
func (f *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/"+Namespace+"/")
	kind, name, _ := strings.Cut(rest, "/")
	verb := verbs[r.Method]
	if name == "" && verb == "get" {
		verb = "watch"
	}
	f.mu.Lock()
	denied, token := f.denied[verb], f.token
	if who := r.Header.Get("Authorization"); who == "Bearer "+AdminToken {
		denied, token = false, AdminToken
	} else {
		f.seen = append(f.seen, verb)
	}
	f.mu.Unlock()
	switch {
	case r.Header.Get("Authorization") != "Bearer "+token:
		refuse(w, 401, "Unauthorized", "", "")
	case denied:
		refuse(w, 403, "Forbidden", kind, name)
	case !ok && verb == "create":
		refuse(w, 404, "NotFound", "namespaces", "elsewhere")
	case !ok:
		refuse(w, 404, "NotFound", "secrets", r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
	case verb == "watch":
		f.watch(w, r, kind)
	default:
		f.one(w, r, verb, kind, name)
	}
}

func (f *Server) one(w http.ResponseWriter, r *http.Request, verb, kind, name string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now, exists := f.objects[kind+"/"+name]
	switch {
	case verb == "create":
		f.create(w, kind, body)
	case !exists:
		refuse(w, 404, "NotFound", kind, name)
	case verb == "get":
		answer(w, 200, now)
	case verb == "patch":
		f.patch(w, r.Header.Get("Content-Type"), kind, name, now, body)
	case verb == "delete":
		delete(f.objects, kind+"/"+name)
		f.note("DELETED", kind+"/"+name, now)
		answer(w, 200, map[string]any{"kind": "Status", "status": "Success"})
	}
}

func (f *Server) create(w http.ResponseWriter, kind string, body []byte) {
	var object map[string]any
	if json.Unmarshal(body, &object) != nil || object["apiVersion"] != "v1" || object["kind"] != map[string]string{"secrets": "Secret", "configmaps": "ConfigMap"}[kind] {
		refuse(w, 400, "BadRequest", kind, "")
		return
	}
	name := object["metadata"].(map[string]any)["name"].(string)
	if _, exists := f.objects[kind+"/"+name]; exists {
		refuse(w, 409, "AlreadyExists", kind, name)
		return
	}
	if causes := faults(kind, object); causes != nil {
		refuse(w, 422, "Invalid", kind, name, causes...)
		return
	}
	answer(w, 201, f.store("ADDED", kind+"/"+name, object))
}

func (f *Server) patch(w http.ResponseWriter, form, kind, name string, now map[string]any, body []byte) {
	next := clone(now)
	if form == "application/json-patch+json" { // as the stock host writes
		var ops []struct {
			Op, Path string
			Value    map[string]any
		}
		if json.Unmarshal(body, &ops) != nil || len(ops) != 1 || ops[0].Op != "replace" || ops[0].Path != "/data" || now["data"] == nil {
			refuse(w, 422, "Invalid", kind, name, "patch")
			return
		}
		next["data"] = ops[0].Value
	} else {
		var p map[string]any
		if form != "application/merge-patch+json" || json.Unmarshal(body, &p) != nil {
			refuse(w, 415, "UnsupportedMediaType", kind, name)
			return
		}
		merge(next, p)
	}
	was, is := now["metadata"].(map[string]any), next["metadata"].(map[string]any)
	causes := faults(kind, next)
	if now["immutable"] == true && !reflect.DeepEqual(now["data"], next["data"]) {
		causes = append(causes, "data")
	}
	switch {
	case is["resourceVersion"] != was["resourceVersion"]:
		refuse(w, 409, "Conflict", kind, name)
	case causes != nil:
		refuse(w, 422, "Invalid", kind, name, causes...)
	case reflect.DeepEqual(now, next):
		answer(w, 200, now)
	default:
		answer(w, 200, f.store("MODIFIED", kind+"/"+name, next))
	}
}

// merge applies a JSON merge patch.
func merge(into, p map[string]any) {
	for name, value := range p {
		inner, isMap := value.(map[string]any)
		switch old, was := into[name].(map[string]any); {
		case value == nil:
			delete(into, name)
		case isMap && was:
			merge(old, inner)
		case isMap:
			fresh := map[string]any{}
			merge(fresh, inner)
			into[name] = fresh
		default:
			into[name] = value
		}
	}
}

// faults gives the fields of an object that the API server would object to.
func faults(kind string, object map[string]any) []string {
	var causes []string
	size := 0
	data, _ := object["data"].(map[string]any)
	for name, value := range data {
		text, ok := value.(string)
		if kind == "secrets" {
			raw, err := base64.StdEncoding.DecodeString(text)
			ok, text = ok && err == nil, string(raw)
		}
		if size += len(text); !ok || len(name) > 253 || strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			causes = append(causes, "data["+name+"]")
		}
	}
	notes := 0
	annotations, _ := object["metadata"].(map[string]any)["annotations"].(map[string]any)
	for name, value := range annotations {
		notes += len(name) + len(value.(string))
	}
	if size > 1<<20 {
		causes = append(causes, "data")
	}
	if notes > 256<<10 {
		causes = append(causes, "metadata.annotations")
	}
	return causes
}

func clone(object map[string]any) map[string]any {
	var out map[string]any
	data, _ := json.Marshal(object)
	_ = json.Unmarshal(data, &out)
	return out
}

func (f *Server) store(event, key string, object map[string]any) map[string]any {
	object = clone(object)
	if data, _ := object["data"].(map[string]any); len(data) == 0 {
		delete(object, "data")
	}
	f.objects[key] = object
	f.note(event, key, object)
	return object
}

// note gives the object a new version and tells watchers.
func (f *Server) note(event, key string, object map[string]any) {
	f.version++
	object["metadata"].(map[string]any)["resourceVersion"] = strconv.Itoa(f.version)
	f.log = append(f.log, change{f.version, event, key, clone(object)})
	f.wake()
}

func (f *Server) wake() {
	for c := range f.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (f *Server) watch(w http.ResponseWriter, r *http.Request, kind string) {
	name, ok := strings.CutPrefix(r.URL.Query().Get("fieldSelector"), "metadata.name=")
	if !ok || r.URL.Query().Get("watch") != "true" {
		refuse(w, 400, "BadRequest", kind, "")
		return
	}
	wake := make(chan struct{}, 1)
	f.mu.Lock()
	after, err := strconv.Atoi(r.URL.Query().Get("resourceVersion"))
	var first []change
	if err != nil {
		after = f.version
		if o, exists := f.objects[kind+"/"+name]; exists {
			first = append(first, change{f.version, "ADDED", kind + "/" + name, clone(o)})
		}
	} else if after < f.oldest {
		first = append(first, change{event: "ERROR", key: kind + "/" + name, object: map[string]any{"kind": "Status", "code": 410, "reason": "Expired"}})
	}
	f.watchers[wake] = true
	f.mu.Unlock()
	if first == nil {
		first, after = f.since(kind+"/"+name, after)
	}
	defer func() {
		f.mu.Lock()
		delete(f.watchers, wake)
		f.mu.Unlock()
	}()
	w.WriteHeader(200)
	w.(http.Flusher).Flush()
	for {
		for _, c := range first {
			if _, err := w.Write(line(c)); err != nil || c.event == "ERROR" {
				return
			}
		}
		w.(http.Flusher).Flush()
		select {
		case <-wake:
		case <-r.Context().Done():
			return
		}
		first, after = f.since(kind+"/"+name, after)
	}
}

func line(c change) []byte {
	data, _ := json.Marshal(map[string]any{"type": c.event, "object": c.object})
	return append(data, '\n')
}

// since gives the events of an object after a version, and a bookmark.
func (f *Server) since(key string, after int) ([]change, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []change
	for _, c := range f.log {
		if c.version > after && c.key == key {
			out = append(out, c)
		}
	}
	mark := map[string]any{"kind": "Secret", "metadata": map[string]any{"resourceVersion": strconv.Itoa(f.version)}}
	return append(out, change{f.version, "BOOKMARK", key, mark}), f.version
}

// Deny refuses these verbs to the app, and no others.
func (f *Server) Deny(verbs ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.denied = map[string]bool{}
	for _, v := range verbs {
		f.denied[v] = true
	}
}

// Requests counts the requests so far with a verb.
func (f *Server) Requests(verb string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, v := range f.seen {
		if v == verb {
			n++
		}
	}
	return n
}

// CloseClientConnections breaks all connections.
func (f *Server) CloseClientConnections() { f.server.CloseClientConnections() }

// Accept replaces the app's token.
func (f *Server) Accept(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.token = token
}

// Forget makes watches from before now expire.
func (f *Server) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.oldest = f.version
	f.log = nil
}
