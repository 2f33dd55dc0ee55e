package rpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/httpanswer"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

// resultOf sorts what a function returned by its output bindings.
func resultOf(inv *worker.Invocation, r *wire.InvocationResponse) (*worker.Result, error) {
	s := sorter{inv: inv, result: &worker.Result{Outputs: map[string]json.RawMessage{}}}
	err := s.returned(r.GetReturnValue())
	for _, out := range r.GetOutputData() {
		if err != nil {
			break
		}
		if out.GetName() == worker.Return && r.GetReturnValue().GetData() != nil {
			continue // what is returned wins over what was set besides
		}
		err = s.output(out.GetName(), out.GetData())
	}
	if err != nil {
		return nil, problem.Wrap(problem.Internal, "the result of function "+inv.Function.Name, err)
	}
	return s.result, nil
}

type sorter struct {
	inv    *worker.Invocation
	result *worker.Result
}

// output takes the value for a binding. Values without one are left out.
func (s *sorter) output(name string, value *wire.TypedData) error {
	b := outputBinding(s.inv.Function, name)
	if b == nil {
		return nil
	}
	if strings.EqualFold(b.Type, "http") {
		var err error
		s.result.HTTP, err = httpResult(value, b)
		return wrap(b.Name, err)
	}
	raw, data, err := fromTyped(value)
	if err != nil {
		return wrap(b.Name, err)
	}
	s.keep(b.Name, raw, data)
	return nil
}

func wrap(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("output %s: %w", name, err)
}

func (s *sorter) keep(name string, raw json.RawMessage, data []byte) {
	switch {
	case data != nil:
		if s.result.Binary == nil {
			s.result.Binary = map[string][]byte{}
		}
		s.result.Binary[name] = data
	case raw == nil:
	case name == worker.Return:
		s.result.Return = raw
	default:
		s.result.Outputs[name] = raw
	}
}

// returned takes the return value: the value of the binding $return; without one,
// the members of an object are values for bindings of their names. An answer to
// an HTTP request is one either way.
func (s *sorter) returned(value *wire.TypedData) error {
	if value.GetData() == nil {
		return nil
	}
	if b := outputBinding(s.inv.Function, worker.Return); b != nil {
		return s.output(worker.Return, value)
	}
	if h := value.GetHttp(); h != nil {
		var err error
		s.result.HTTP, err = fromRPC(h)
		return err
	}
	raw, data, err := fromTyped(value)
	if err != nil {
		return err
	}
	s.keep(worker.Return, raw, data)
	var members map[string]json.RawMessage
	if !bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{")) || json.Unmarshal(raw, &members) != nil {
		return nil
	}
	for name, v := range members {
		if err := s.output(name, jsonData(string(v))); err != nil {
			return err
		}
	}
	return nil
}

func outputBinding(f *funcapp.Function, name string) *funcapp.Binding {
	for i := range f.Bindings {
		if b := &f.Bindings[i]; b.Direction != funcapp.In && strings.EqualFold(b.Name, name) {
			return b
		}
	}
	return nil
}

// httpResult gives the answer that the value of an http binding describes.
func httpResult(value *wire.TypedData, b *funcapp.Binding) (*worker.HTTPResult, error) {
	if h := value.GetHttp(); h != nil {
		return fromRPC(h)
	}
	raw, data, err := fromTyped(value)
	switch {
	case err != nil:
		return nil, err
	case data != nil:
		return &worker.HTTPResult{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/octet-stream"}}, Body: data}, nil
	case raw == nil:
		return nil, nil
	}
	return httpanswer.FromReturn(raw, b.DataType)
}

// fromRPC gives an answer that a worker has put together itself.
func fromRPC(h *wire.RpcHttp) (*worker.HTTPResult, error) {
	res := &worker.HTTPResult{Status: http.StatusOK, Header: make(http.Header, len(h.GetHeaders())+1)}
	if n, err := strconv.Atoi(strings.TrimSpace(h.GetStatusCode())); err == nil {
		res.Status = n
	}
	if res.Status < 200 || res.Status > 999 {
		return nil, fmt.Errorf("status %d is not one a function can answer with", res.Status)
	}
	for name, value := range h.GetHeaders() {
		if err := addHeader(res.Header, name, value); err != nil {
			return nil, err
		}
	}
	for _, c := range h.GetCookies() {
		text := cookieText(c)
		if !httpguts.ValidHeaderFieldValue(text) {
			return nil, fmt.Errorf("a cookie holds control characters")
		}
		res.Header.Add("Set-Cookie", text)
	}
	return res, setAnswerBody(res, h)
}

// addHeader adds a field; those that are the server's business are left out.
func addHeader(header http.Header, name, value string) error {
	key := textproto.CanonicalMIMEHeaderKey(name)
	switch {
	case httpanswer.Framing(key):
		return nil
	case !httpguts.ValidHeaderFieldName(name):
		return fmt.Errorf("%q is not a header name", name)
	case !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("header %s has a value with control characters", name)
	}
	header[key] = append(header[key], value)
	return nil
}

// setAnswerBody writes the body: bytes and text as they are, any other value as
// indented JSON.
func setAnswerBody(res *worker.HTTPResult, h *wire.RpcHttp) error {
	kind := "text/plain; charset=utf-8"
	switch d := h.GetBody().GetData().(type) {
	case nil:
		return nil
	case *wire.TypedData_String_:
		res.Body = []byte(d.String_)
	case *wire.TypedData_Bytes:
		res.Body, kind = d.Bytes, ""
	case *wire.TypedData_Stream:
		res.Body, kind = d.Stream, ""
	default:
		raw, _, err := fromTyped(h.GetBody())
		if err != nil {
			return err
		}
		if h.GetEnableContentNegotiation() {
			kind = "application/json; charset=utf-8"
		}
		var indented bytes.Buffer
		if json.Indent(&indented, raw, "", "  ") == nil {
			raw = indented.Bytes()
		}
		res.Body = raw
	}
	if len(res.Body) > 0 && kind != "" && res.Header.Get("Content-Type") == "" {
		res.Header.Set("Content-Type", kind)
	}
	return nil
}

// cookieText writes a Set-Cookie value.
func cookieText(c *wire.RpcHttpCookie) string {
	parts := []string{c.GetName() + "=" + strings.ReplaceAll(url.QueryEscape(c.GetValue()), "+", "%20")}
	if e, ok := c.GetExpires().GetTimestamp().(*wire.NullableTimestamp_Value); ok {
		parts = append(parts, "expires="+e.Value.AsTime().UTC().Format(http.TimeFormat))
	}
	if a, ok := c.GetMaxAge().GetDouble().(*wire.NullableDouble_Value); ok {
		parts = append(parts, "max-age="+strconv.FormatInt(int64(time.Duration(a.Value*float64(time.Second))/time.Second), 10))
	}
	if d := c.GetDomain().GetValue(); d != "" {
		parts = append(parts, "domain="+d)
	}
	if p := c.GetPath().GetValue(); p != "" {
		parts = append(parts, "path="+p)
	}
	if c.GetSecure().GetValue() {
		parts = append(parts, "secure")
	}
	switch c.GetSameSite() {
	case wire.RpcHttpCookie_Lax:
		parts = append(parts, "samesite=lax")
	case wire.RpcHttpCookie_Strict:
		parts = append(parts, "samesite=strict")
	case wire.RpcHttpCookie_ExplicitNone:
		parts = append(parts, "samesite=none")
	}
	if c.GetHttpOnly().GetValue() {
		parts = append(parts, "httponly")
	}
	return strings.Join(parts, "; ")
}
