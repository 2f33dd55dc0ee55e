package custom

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/view"
)

// document is what a handler receives for an invocation.
type document struct {
	Data     map[string]any
	Metadata map[string]any
}

// payload writes the document of an invocation.
func (w *Worker) payload(inv *worker.Invocation) ([]byte, error) {
	doc := document{Data: map[string]any{}}
	if t := inv.Function.Trigger(); t != nil && inv.Request != nil {
		doc.Data[t.Name] = httpInput(inv)
	} else if t != nil {
		v, err := encodeValue(inv.Input)
		if err != nil {
			return nil, problem.Wrap(problem.Internal, fmt.Sprintf("the trigger value of function %s cannot be written as JSON", inv.Function.Name), err)
		}
		doc.Data[t.Name] = v
	}
	var err error
	if doc.Metadata, err = w.metadata(inv); err != nil {
		return nil, problem.Wrap(problem.Internal, fmt.Sprintf("the metadata of function %s cannot be written as JSON", inv.Function.Name), err)
	}
	return marshal(doc)
}

// marshal writes v as JSON without escaping the characters of HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// encodeValue writes a value the way handlers get it: objects stay objects,
// bytes become base64, times RFC 3339 text, and everything else, strings too,
// becomes a string that holds its JSON text. Text hello thus arrives as
// "\"hello\"": twice encoded, which is what existing handlers expect.
func encodeValue(v any) (json.RawMessage, error) {
	switch v := v.(type) {
	case []byte:
		return marshal(base64.StdEncoding.EncodeToString(v))
	case time.Time:
		return marshal(v.Format(time.RFC3339Nano))
	}
	raw, err := marshal(v)
	if err != nil || bytes.HasPrefix(raw, []byte("{")) {
		return raw, err
	}
	return marshal(string(raw))
}

// httpObject is the value of an HTTP trigger.
type httpObject struct {
	URL        string `json:"Url"`
	Method     string
	Query      map[string]string
	Headers    http.Header
	Params     map[string]string
	Identities []identity
	Body       *string `json:",omitempty"`
}

// httpInput describes the request, without the access key it carried.
func httpInput(inv *worker.Invocation) httpObject {
	r, cred := inv.Request, view.Find(inv.Request, inv)
	o := httpObject{
		URL:        view.Scheme(r) + "://" + r.Host + r.URL.EscapedPath(),
		Method:     r.Method,
		Query:      view.QueryMap(cred, r.URL.RawQuery),
		Headers:    view.Headers(r, cred),
		Params:     inv.RouteParams,
		Identities: identities(inv),
	}
	if q := cred.Query(r.URL.RawQuery); q != "" {
		o.URL += "?" + q
	}
	if o.Params == nil {
		o.Params = map[string]string{}
	}
	if len(inv.Body) > 0 {
		body := bodyText(r.Header.Get("Content-Type"), inv.Body)
		o.Body = &body
	}
	return o
}

// bodyText gives a body as JSON can carry it: base64 for octet streams and
// multipart, else text. Bytes that are no text are base64 too, so nothing is lost.
func bodyText(contentType string, body []byte) string {
	kind, params, _ := mime.ParseMediaType(contentType)
	if kind == "application/octet-stream" || strings.HasPrefix(kind, "multipart/") {
		return base64.StdEncoding.EncodeToString(body)
	}
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	switch {
	case strings.EqualFold(params["charset"], "iso-8859-1"):
		return latin1(body)
	case utf8.Valid(body):
		return string(body)
	}
	return base64.StdEncoding.EncodeToString(body)
}

func latin1(b []byte) string {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}
