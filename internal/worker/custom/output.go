package custom

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

const returnBinding = "$return"

// outcome sorts an answer's values by the function's output bindings. Outputs
// without a binding are left out.
func outcome(inv *worker.Invocation, a *answer) (*worker.Result, error) {
	res := &worker.Result{Outputs: map[string]json.RawMessage{}}
	if !isNull(a.ReturnValue) {
		res.Return = a.ReturnValue
	}
	for i := range inv.Function.Bindings {
		b := &inv.Function.Bindings[i]
		if b.Direction == funcapp.In {
			continue
		}
		if err := place(res, b, a); err != nil {
			return nil, problem.Wrap(problem.Internal, fmt.Sprintf("output %s of function %s", b.Name, inv.Function.Name), err)
		}
	}
	return res, nil
}

// place puts the value for binding b where it belongs.
func place(res *worker.Result, b *funcapp.Binding, a *answer) (err error) {
	value := named(a.Outputs, b.Name)
	switch {
	case !isHTTPOutput(b):
		if !isNull(value) {
			res.Outputs[b.Name] = value
		}
	case b.Name == returnBinding && !isNull(a.ReturnValue):
		res.HTTP, err = httpReturn(a.ReturnValue, b.DataType)
	case !isNull(value):
		res.HTTP, err = httpOutput(value, b.DataType)
	}
	return err
}

// named finds an output: by its exact name, else ignoring case.
func named(outputs map[string]json.RawMessage, name string) json.RawMessage {
	if v, ok := outputs[name]; ok {
		return v
	}
	for k, v := range outputs {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return nil
}

// httpAnswer is an http output as handlers write it; its keys ignore case.
type httpAnswer struct {
	StatusCode json.RawMessage
	Status     json.RawMessage
	Headers    map[string]json.RawMessage
	Body       json.RawMessage
}

// httpOutput reads an http output: an object, or a string that holds one.
func httpOutput(value json.RawMessage, dataType string) (*worker.HTTPResult, error) {
	var s string
	if json.Unmarshal(value, &s) == nil {
		value = json.RawMessage(s)
	}
	var h httpAnswer
	if err := json.Unmarshal(value, &h); err != nil {
		return nil, fmt.Errorf("an http output must be an object with statusCode, headers and body: %w", err)
	}
	return h.result(dataType)
}

// httpReturn reads the return value of an HTTP function: an object with a body
// is a whole answer (also as text), anything else is the body of a 200.
func httpReturn(value json.RawMessage, dataType string) (*worker.HTTPResult, error) {
	inner := value
	var s string
	if json.Unmarshal(value, &s) == nil {
		inner = json.RawMessage(s)
	}
	var h httpAnswer
	if json.Unmarshal(inner, &h) == nil && h.Body != nil {
		return h.result(dataType)
	}
	h = httpAnswer{Body: value}
	return h.result(dataType)
}

func (h *httpAnswer) result(dataType string) (*worker.HTTPResult, error) {
	status, err := h.status()
	if err != nil {
		return nil, err
	}
	header, err := h.header()
	if err != nil {
		return nil, err
	}
	body := bodyBytes(h.Body, dataType)
	if len(body) > 0 && header.Get("Content-Type") == "" {
		header.Set("Content-Type", defaultContentType(dataType))
	}
	return &worker.HTTPResult{Status: status, Header: header, Body: body}, nil
}

func defaultContentType(dataType string) string {
	if strings.EqualFold(dataType, "binary") {
		return "application/octet-stream"
	}
	return "text/plain; charset=utf-8"
}

// status gives statusCode, else status, as a number or numeric text; 200 when
// there is none or it is no number.
func (h *httpAnswer) status() (int, error) {
	for _, raw := range []json.RawMessage{h.StatusCode, h.Status} {
		if isNull(raw) {
			continue
		}
		code, err := strconv.Atoi(strings.TrimSpace(text(raw)))
		if err != nil {
			continue
		}
		if code < 200 || code > 999 {
			return 0, fmt.Errorf("status %d is not one a function can answer with", code)
		}
		return code, nil
	}
	return http.StatusOK, nil
}

// header gives the fields. Those that describe the connection or the framing are
// the server's business and left out.
func (h *httpAnswer) header() (http.Header, error) {
	header := http.Header{}
	for name, raw := range h.Headers {
		key := textproto.CanonicalMIMEHeaderKey(name)
		if framing(key) {
			continue
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("%q is not a header name", name)
		}
		if isNull(raw) && key == "Content-Type" {
			return nil, fmt.Errorf("header content-type is null")
		}
		for _, v := range fieldValues(raw) {
			if !httpguts.ValidHeaderFieldValue(v) {
				return nil, fmt.Errorf("header %s has a value with control characters", name)
			}
			header.Add(name, v)
		}
	}
	return header, nil
}

func framing(key string) bool {
	switch key {
	case "Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// fieldValues gives the values of a field: none for null, one per element of an
// array, else one.
func fieldValues(raw json.RawMessage) []string {
	if isNull(raw) {
		return nil
	}
	var many []json.RawMessage
	if json.Unmarshal(raw, &many) != nil {
		return []string{text(raw)}
	}
	values := make([]string, 0, len(many))
	for _, v := range many {
		if !isNull(v) {
			values = append(values, text(v))
		}
	}
	return values
}

// bodyBytes gives the body: text as it is, any other value as indented JSON.
// Only a binding that says dataType binary has its text read as base64; to guess
// it from the text would turn the word "test" into three bytes.
func bodyBytes(raw json.RawMessage, dataType string) []byte {
	if isNull(raw) {
		return nil
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		var b bytes.Buffer
		if json.Indent(&b, raw, "", "  ") != nil {
			return raw
		}
		return b.Bytes()
	}
	if strings.EqualFold(dataType, "binary") {
		if b, err := base64.StdEncoding.DecodeString(s); err == nil {
			return b
		}
	}
	return []byte(s)
}
