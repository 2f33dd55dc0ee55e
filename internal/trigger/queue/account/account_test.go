package account_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/keystore/credential"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger/queue/account"
	"github.com/latchkey/latchkey/internal/trigger/queue/message"
	"github.com/latchkey/latchkey/internal/trigger/storage"
)

// transport answers requests one after the other, the last answer for good.
type transport struct {
	answers []func(*http.Request) (*http.Response, error)
	seen    []*http.Request
}

func (tr *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	n := min(len(tr.seen), len(tr.answers)-1)
	tr.seen = append(tr.seen, r)
	return tr.answers[n](r)
}

func says(status int, code string, headers ...string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		h := http.Header{"Content-Type": {"application/xml"}}
		if code != "" {
			h.Set("x-ms-error-code", code)
		}
		for n := 0; n+1 < len(headers); n += 2 {
			h.Set(headers[n], headers[n+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader("")), Request: r}, nil
	}
}

func breaks(r *http.Request) (*http.Response, error) {
	return nil, &url.Error{Op: "Get", URL: r.URL.String(), Err: errors.New("connection reset")}
}

const (
	signature = "sv=2020&sig=very-secret"
	signed    = "QueueEndpoint=https://orders.queue.example.net;SharedAccessSignature=" + signature
)

func open(t *testing.T, text string, tr http.RoundTripper) *account.Account {
	t.Helper()
	found, err := storage.Resolve(func(string) string { return text }, "", storage.Queues())
	if err != nil {
		t.Fatal(err)
	}
	a, err := account.Open(account.Config{Account: found, Transport: tr, Retry: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestFaultsAreSortedAndHaveNoSecret(t *testing.T) {
	type answers = []func(*http.Request) (*http.Response, error)
	m := message.Received{ID: "1", PopReceipt: "p"}
	receive := func(q *account.Queue) error { _, err := q.Receive(context.Background(), 1, time.Minute); return err }
	remove := func(q *account.Queue) error { return q.Delete(context.Background(), m) }
	extend := func(q *account.Queue) error { _, err := q.Extend(context.Background(), m, 0); return err }
	send := func(q *account.Queue) error { return q.Send(context.Background(), "x") }
	tests := map[string]struct {
		answers answers
		do      func(*account.Queue) error
		kind    error
		tries   int
	}{
		"no queue":                    {answers{says(404, "QueueNotFound")}, receive, account.ErrNoQueue, 1},
		"received once":               {answers{breaks}, receive, problem.Unavailable, 1},
		"deleted again after a fault": {answers{breaks, says(500, ""), says(204, "")}, remove, nil, 3},
		"a lost answer had deleted":   {answers{breaks, says(404, "MessageNotFound")}, remove, nil, 2},
		"deleted by others":           {answers{says(404, "MessageNotFound")}, remove, account.ErrLost, 1},
		"given to others":             {answers{says(400, "PopReceiptMismatch")}, extend, account.ErrLost, 1},
		"never":                       {answers{says(503, "ServerBusy")}, send, problem.Unavailable, 4},
		"too many for now":            {answers{says(429, "", "Retry-After", "0"), says(201, "")}, send, nil, 2},
		"too many for long":           {answers{says(429, "", "Retry-After", "3600")}, send, problem.Unavailable, 1},
		"made on demand":              {answers{says(404, "QueueNotFound"), says(201, ""), says(201, "")}, send, nil, 3},
		"made by others":              {answers{says(404, "QueueNotFound"), says(409, "QueueAlreadyExists"), says(201, "")}, send, nil, 3},
		"may not be made":             {answers{says(404, "QueueNotFound"), says(403, "AuthorizationPermissionMismatch")}, send, problem.Denied, 2},
		"may not be read":             {answers{says(403, "AuthorizationPermissionMismatch")}, receive, problem.Denied, 1},
		"expired":                     {answers{says(403, "AuthenticationFailed")}, receive, problem.Denied, 1},
		"refused":                     {answers{says(400, "InvalidQueryParameterValue")}, send, problem.Invalid, 1},
		"somewhere else":              {answers{says(302, "", "Location", "https://evil.example.net/?"+signature)}, send, problem.Unavailable, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tr := &transport{answers: tt.answers}
			err := tt.do(open(t, signed, tr).Queue("work"))
			if !errors.Is(err, tt.kind) || (err == nil) != (tt.kind == nil) || len(tr.seen) != tt.tries {
				t.Errorf("%v after %d tries", err, len(tr.seen))
			}
			if err == nil {
				return
			}
			if text := err.Error() + problem.NextOf(err); strings.Contains(text, "very-secret") {
				t.Error("the error has a secret: " + text)
			}
			for _, r := range tr.seen {
				if r.URL.Host != "orders.queue.example.net" || r.URL.Query().Get("sig") != "very-secret" {
					t.Error("asked " + r.URL.Host)
				}
			}
		})
	}
}

func TestAServiceThatWantsAPauseSaysHowLong(t *testing.T) {
	q := open(t, signed, &transport{answers: []func(*http.Request) (*http.Response, error){says(503, "ServerBusy", "Retry-After", "7")}}).Queue("work")
	_, err := q.Receive(t.Context(), 1, time.Minute)
	var busy *account.Busy
	if !errors.As(err, &busy) || busy.After != 7*time.Second {
		t.Error(err)
	}
}

func TestAnIdentityOpensAnAccount(t *testing.T) {
	var asked []string
	token := credential.FromFunc(func(_ context.Context, resource string) (string, time.Time, error) {
		asked = append(asked, resource)
		return "the-token", time.Now().Add(time.Hour), nil
	})
	tr := &transport{answers: []func(*http.Request) (*http.Response, error){says(201, "")}}
	a, err := account.Open(account.Config{Account: storage.Account{Setting: "Store", ServiceURL: "https://orders.queue.example.net"}, Credential: token, Transport: tr})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Queue("work").Send(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if last := tr.seen[len(tr.seen)-1]; last.Header.Get("Authorization") != "Bearer the-token" || len(asked) != 1 || asked[0] != "https://storage.azure.com" {
		t.Errorf("%v, asked for %q", last.Header, asked)
	}
	tr.answers = []func(*http.Request) (*http.Response, error){says(403, "AuthorizationPermissionMismatch")}
	if err := a.Queue("work").Send(t.Context(), "x"); !errors.Is(err, problem.Denied) || !strings.Contains(problem.NextOf(err), "Storage Queue Data Message Sender") {
		t.Error(err, problem.NextOf(err))
	}
}

func TestAnIdentityThatDoesNotExist(t *testing.T) {
	token := credential.FromFunc(func(context.Context, string) (string, time.Time, error) {
		return "", time.Time{}, problem.New(problem.Denied, "the app has no identity").WithNext("assign one")
	})
	tr := &transport{answers: []func(*http.Request) (*http.Response, error){says(201, "")}}
	a, err := account.Open(account.Config{Account: storage.Account{Setting: "Store", ServiceURL: "https://orders.queue.example.net"}, Credential: token, Transport: tr})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Queue("work").Send(t.Context(), "x"); !errors.Is(err, problem.Denied) || problem.NextOf(err) != "assign one" {
		t.Error(err, problem.NextOf(err))
	}
	if _, err := account.Open(account.Config{Account: storage.Account{ServiceURL: "https://orders.queue.example.net"}}); !errors.Is(err, problem.Invalid) {
		t.Error(err)
	}
}
