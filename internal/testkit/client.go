package testkit

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Request is a request to a host. Path may have a query; it is sent as written.
type Request struct {
	Method string // default GET
	Path   string
	Key    string // sent in header x-functions-key unless ""
	Header map[string]string
	Body   string
}

// Answer is a whole answer.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// client keeps no cookies and follows no redirects.
var client = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Send sends a request and reads the whole answer.
func (h *Host) Send(t testing.TB, r Request) Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	answer, err := h.Try(ctx, r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.Path, err)
	}
	return answer
}

// Try is Send for goroutines and requests that may fail.
func (h *Host) Try(ctx context.Context, r Request) (Answer, error) {
	req, err := h.HTTP(ctx, r)
	if err != nil {
		return Answer{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return Answer{resp.StatusCode, resp.Header, string(body)}, err
}

// HTTP makes the request for a client of the test's own.
func (h *Host) HTTP(ctx context.Context, r Request) (*http.Request, error) {
	var body io.Reader
	if r.Body != "" {
		body = strings.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, h.Base+r.Path, body)
	if err != nil {
		return nil, err
	}
	if r.Key != "" {
		req.Header.Set("x-functions-key", r.Key)
	}
	for name, value := range r.Header {
		if strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	return req, nil
}

// Get asks for a path with a key, "" for none.
func (h *Host) Get(t testing.TB, path, key string) Answer {
	t.Helper()
	return h.Send(t, Request{Path: path, Key: key})
}

// JSON decodes the body.
func (a Answer) JSON(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.Body), v); err != nil {
		t.Fatalf("%v in the answer %q", err, a.Body)
	}
}

// WantStatus fails the test unless the answer has a status.
func (a Answer) WantStatus(t testing.TB, status int) Answer {
	t.Helper()
	if a.Status != status {
		t.Errorf("status %d, want %d; body %q", a.Status, status, a.Body)
	}
	return a
}

// WantEmpty fails the test if the answer has a body.
func (a Answer) WantEmpty(t testing.TB) Answer {
	t.Helper()
	if a.Body != "" {
		t.Errorf("body %q, want none", a.Body)
	}
	return a
}
