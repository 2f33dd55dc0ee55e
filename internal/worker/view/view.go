package view

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/worker"
)

// QueryMap gives the parameters by name, ignoring case as the first is spelt;
// repeated ones are joined with commas.
func QueryMap(cred Credential, raw string) map[string]string {
	spelt := map[string]string{}
	m := map[string]string{}
	for _, p := range ParseQuery(raw) {
		if cred.Hides(p) {
			continue
		}
		lower := strings.ToLower(p.Name)
		name, known := spelt[lower]
		if !known {
			spelt[lower], m[p.Name] = p.Name, p.Value
			continue
		}
		m[name] += "," + p.Value
	}
	return m
}

// Headers gives the request's fields as the function may see them.
func Headers(r *http.Request, cred Credential) http.Header {
	h := make(http.Header, len(r.Header)+2)
	for name, values := range r.Header {
		if !Ours(name) && !(cred.InHeader && name == HeaderKey) {
			h[name] = values
		}
	}
	if r.Host != "" {
		h["Host"] = []string{r.Host}
	}
	if v := r.Header.Get("Referer"); v != "" {
		h["Referer"] = []string{cred.Referer(v)}
	}
	return h
}

// BindingData gives what an invocation knows besides its trigger's value: of a
// request its parameters and tables, then the metadata, which win.
func BindingData(inv *worker.Invocation) *Folded {
	data := newFolded()
	if inv.Request != nil {
		addRequestData(data, inv)
	}
	for name, v := range inv.Metadata {
		data.Set(name, v)
	}
	return data
}

// addRequestData adds the values of a request: members of a JSON body, then
// query parameters, then route parameters, then the request's own tables, a
// later one replacing an earlier one of the same name.
func addRequestData(data *Folded, inv *worker.Invocation) {
	cred := Find(inv.Request, inv)
	for name, v := range bodyMembers(inv.Request.Header.Get("Content-Type"), inv.Body) {
		data.Set(name, v)
	}
	query := QueryMap(cred, inv.Request.URL.RawQuery)
	for name, v := range query {
		data.Set(name, v)
	}
	for name, v := range inv.RouteParams {
		data.Set(name, v)
	}
	data.Set("Query", query)
	data.Set("Headers", Joined(Headers(inv.Request, cred)))
	data.Remove("sys")
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
		if string(raw) != "null" && raw[0] != '[' {
			values[name] = raw
		}
	}
	return values
}

// Joined gives fields with their values joined by commas.
func Joined(h map[string][]string) map[string]string {
	m := make(map[string]string, len(h))
	for name, values := range h {
		m[name] = strings.Join(values, ",")
	}
	return m
}

// Folded is a table whose names ignore case; the last spelling stays.
type Folded struct {
	Values map[string]any    // by the last spelling
	names  map[string]string // lower-cased to spelling
}

func newFolded() *Folded { return &Folded{Values: map[string]any{}, names: map[string]string{}} }

// Set gives a name a value.
func (f *Folded) Set(name string, v any) {
	f.Remove(name)
	f.names[strings.ToLower(name)] = name
	f.Values[name] = v
}

// Has reports whether a name has a value.
func (f *Folded) Has(name string) bool { _, ok := f.names[strings.ToLower(name)]; return ok }

// Remove takes a name out.
func (f *Folded) Remove(name string) {
	lower := strings.ToLower(name)
	delete(f.Values, f.names[lower])
	delete(f.names, lower)
}

// Scheme gives that of the connection. A client can write any in a request's
// target.
func Scheme(r *http.Request) string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}
