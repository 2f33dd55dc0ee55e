package custom

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/worker"
)

// metadata gives the binding data of an invocation in the form handlers get it:
// the trigger's own values are left out, the rest is encoded like input.
func (w *Worker) metadata(inv *worker.Invocation) (map[string]any, error) {
	data := newFolded()
	if inv.Request != nil {
		addRequestData(data, inv)
	}
	for name, v := range inv.Metadata {
		data.set(name, v)
	}
	if !data.has("sys") {
		data.set("sys", w.system(inv))
	}
	m := make(map[string]any, len(data.values)+1)
	for name, v := range data.values {
		if v == nil || endsInTrigger(name) {
			continue
		}
		raw, err := encodeValue(v)
		if err != nil {
			return nil, err
		}
		m[name] = raw
	}
	if inv.HasRetry {
		m["RetryContext"] = retryContextOf(inv)
	}
	return m, nil
}

func endsInTrigger(name string) bool {
	const suffix = "trigger"
	return len(name) >= len(suffix) && strings.EqualFold(name[len(name)-len(suffix):], suffix)
}

// system is the binding data that every function has.
func (w *Worker) system(inv *worker.Invocation) map[string]string {
	return map[string]string{
		"MethodName": inv.Function.Name,
		"UtcNow":     w.cfg.Clock.Now().UTC().Format(time.RFC3339Nano),
		"RandGuid":   newGUID(),
	}
}

// addRequestData adds the values of a request: members of a JSON body, then
// query parameters, then route parameters, then the request's own tables, a
// later one replacing an earlier one of the same name.
func addRequestData(data *folded, inv *worker.Invocation) {
	cred := findCredential(inv.Request, inv)
	for name, v := range bodyMembers(inv.Request.Header.Get("Content-Type"), inv.Body) {
		data.set(name, v)
	}
	query := queryMap(cred, inv.Request.URL.RawQuery)
	for name, v := range query {
		data.set(name, v)
	}
	for name, v := range inv.RouteParams {
		data.set(name, v)
	}
	data.set("Query", query)
	data.set("Headers", joined(visibleHeaders(inv.Request, cred)))
	data.remove("sys")
}

// bodyMembers gives the scalar and object members of a JSON body.
func bodyMembers(contentType string, body []byte) map[string]any {
	if !strings.Contains(strings.ToLower(contentType), "json") {
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return nil
	}
	values := make(map[string]any, len(members))
	for name, raw := range members {
		if !isNull(raw) && raw[0] != '[' {
			values[name] = raw
		}
	}
	return values
}

func joined(h map[string][]string) map[string]string {
	m := make(map[string]string, len(h))
	for name, values := range h {
		m[name] = strings.Join(values, ",")
	}
	return m
}

// retryContext tells a function which attempt it is.
type retryContext struct {
	RetryCount    int
	MaxRetryCount int
	Exception     *retryException
}

// retryException is the failure of the attempt before.
type retryException struct{ Message string }

func retryContextOf(inv *worker.Invocation) retryContext {
	c := retryContext{RetryCount: inv.RetryCount, MaxRetryCount: inv.MaxRetries}
	if inv.LastError != "" {
		c.Exception = &retryException{inv.LastError}
	}
	return c
}

// folded is a table whose names ignore case; the last spelling stays.
type folded struct {
	values map[string]any
	names  map[string]string // lower-cased to spelling
}

func newFolded() *folded { return &folded{values: map[string]any{}, names: map[string]string{}} }

func (f *folded) set(name string, v any) {
	f.remove(name)
	f.names[strings.ToLower(name)] = name
	f.values[name] = v
}

func (f *folded) has(name string) bool { _, ok := f.names[strings.ToLower(name)]; return ok }

func (f *folded) remove(name string) {
	lower := strings.ToLower(name)
	delete(f.values, f.names[lower])
	delete(f.names, lower)
}
