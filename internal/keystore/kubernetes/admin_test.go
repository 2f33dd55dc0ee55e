package kubernetes_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/testkit/localcluster"
)

// adminToken may do everything.
const adminToken = localcluster.AdminToken

// admin acts on objects from outside the store, on any API server.
type admin struct {
	t       *testing.T
	client  *http.Client
	address string // of the namespace, ending in a slash
}

// do makes a call and gives its status and answer.
func (a admin) do(method, path, form string, body any) int {
	a.t.Helper()
	code, _ := a.ask(method, path, form, body)
	return code
}

func (a admin) ask(method, path, form string, body any) (int, []byte) {
	a.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		a.t.Fatal(err)
	}
	req, err := http.NewRequest(method, a.address+path, bytes.NewReader(data))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminToken)
	req.Header.Set("Content-Type", form)
	resp, err := a.client.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err = io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return resp.StatusCode, data
}

// object gives what is stored, nil for nothing.
func (a admin) object(key string) map[string]any {
	a.t.Helper()
	code, data := a.ask(http.MethodGet, key, "", nil)
	if code == http.StatusNotFound {
		return nil
	}
	var object map[string]any
	if err := json.Unmarshal(data, &object); code != http.StatusOK || err != nil {
		a.t.Fatalf("get answers %d: %v", code, err)
	}
	return object
}

// data gives what is stored as text.
func (a admin) data(key string) map[string]string {
	out := map[string]string{}
	data, _ := a.object(key)["data"].(map[string]any)
	for name, value := range data {
		out[name] = fmt.Sprint(value)
		if strings.HasPrefix(key, "secrets/") {
			raw, _ := base64.StdEncoding.DecodeString(out[name])
			out[name] = string(raw)
		}
	}
	return out
}

// set replaces all entries, as a stock host does: without looking at versions.
func (a admin) set(key string, data map[string]string) {
	a.t.Helper()
	kind, name, _ := strings.Cut(key, "/")
	now := a.object(key)
	value := map[string]string{}
	for entry, text := range data {
		if kind == "secrets" {
			text = base64.StdEncoding.EncodeToString([]byte(text))
		}
		value[entry] = text
	}
	if now == nil {
		made := map[string]any{"kind": map[string]string{"secrets": "Secret", "configmaps": "ConfigMap"}[kind], "apiVersion": "v1", "metadata": map[string]any{"name": name}, "data": value}
		if code := a.do("POST", kind, "application/json", made); code != 201 && code != 409 {
			a.t.Fatalf("create answers %d", code)
		}
		return
	}
	if now["data"] == nil { // the API server has no path to replace then
		a.merge(key, map[string]any{"data": value})
		return
	}
	ops := []any{map[string]any{"op": "replace", "path": "/data", "value": value}}
	if code := a.do("PATCH", key, "application/json-patch+json", ops); code != 200 {
		a.t.Fatalf("patch answers %d", code)
	}
}

// merge changes the object as kubectl does.
func (a admin) merge(key string, p map[string]any) {
	a.t.Helper()
	if code := a.do("PATCH", key, "application/merge-patch+json", p); code != 200 {
		a.t.Fatalf("patch answers %d", code)
	}
}
