// Package httpanswer owns the reading of HTTP answers that functions give as data: an
// object with status, headers and body, text that holds one, or a bare body. It
// knows no worker's wire format and sends nothing.
package httpanswer

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

	"github.com/latchkey/latchkey/internal/worker"
)

// httpAnswer is an http output as handlers write it; its keys ignore case.
type httpAnswer struct {
	StatusCode json.RawMessage
	Status     json.RawMessage
	Headers    map[string]json.RawMessage
	Body       json.RawMessage
}

// FromOutput reads an http output: an object, or a string that holds one.
func FromOutput(value json.RawMessage, dataType string) (*worker.HTTPResult, error) {
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

// FromReturn reads the return value of an HTTP function: an object with a body
// is a whole answer (also as text), anything else is the body of a 200.
func FromReturn(value json.RawMessage, dataType string) (*worker.HTTPResult, error) {
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
		if Framing(key) {
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

// Framing reports whether a header field is the server's business, not a function's.
func Framing(key string) bool {
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

// text gives a JSON string's value, and any other value as it is written.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil && !isNull(raw) {
		return s
	}
	return string(raw)
}

func isNull(raw json.RawMessage) bool {
	return len(raw) == 0 || string(bytes.TrimSpace(raw)) == "null"
}
