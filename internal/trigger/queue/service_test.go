package queue_test

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
)

// service is a queue service in memory that goes by a clock and whose faults tests
// choose. It is an http.RoundTripper.
type service struct {
	clock clock.Clock

	mu       sync.Mutex
	queues   map[string][]*stored
	ids      int
	requests []string // method and path
	// fault may answer a request in place of the service, before (done is false) or
	// after it did what was asked. It is called with mu held.
	fault func(r *http.Request, done bool) (*http.Response, error)
}

type stored struct {
	id, text, receipt string
	visible           time.Time
	count             int64
}

func newService(c clock.Clock) *service { return &service{clock: c, queues: map[string][]*stored{}} }

// modelPlace is a place whose service is a model.
func modelPlace(t *testing.T, c clock.Clock) (*place, *service) {
	p := newPlace(t, "UseDevelopmentStorage=true")
	s := newService(c)
	p.clock, p.cfg.Transport, p.cfg.Lease = c, s, 10*time.Minute
	return p, s
}

// put adds messages to a queue.
func (s *service) put(queue string, texts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range texts {
		s.add(queue, text)
	}
}

func (s *service) add(queue, text string) *stored {
	s.ids++
	m := &stored{id: fmt.Sprintf("m%d", s.ids), text: text, visible: s.clock.Now()}
	s.queues[queue] = append(s.queues[queue], m)
	return m
}

// see gives copies of a queue's messages.
func (s *service) see(queue string) []stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []stored
	for _, m := range s.queues[queue] {
		list = append(list, *m)
	}
	return list
}

// change changes the message of a queue that has one.
func (s *service) change(queue string, f func(*stored)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.queues[queue] {
		f(m)
	}
}

// await waits until a queue's messages are as wanted.
func (s *service) await(t *testing.T, what, queue string, ok func([]stored) bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok(s.see(queue)) {
			return
		}
	}
	t.Fatalf("%s: %+v", what, s.see(queue))
}

func (s *service) asked(prefix string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if strings.HasPrefix(r, prefix) {
			n++
		}
	}
	return n
}

// RoundTrip implements http.RoundTripper.
func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	var body struct{ MessageText string }
	if r.Body != nil {
		text, _ := io.ReadAll(r.Body)
		_ = xml.Unmarshal(text, &body)
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/devstoreaccount1/"))
	if s.fault != nil {
		if a, err := s.fault(r, false); a != nil || err != nil {
			return a, err
		}
	}
	answer := s.serve(r, body.MessageText)
	if s.fault != nil {
		if a, err := s.fault(r, true); a != nil || err != nil {
			return a, err
		}
	}
	return answer, nil
}

// refusal is an answer of the service that is an error.
func refusal(r *http.Request, status int, code string) *http.Response {
	a := answerOf(r, status, "")
	a.Header.Set("x-ms-error-code", code)
	return a
}

func answerOf(r *http.Request, status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/xml"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}
}

func (s *service) serve(r *http.Request, text string) *http.Response {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/devstoreaccount1/"), "/")
	_, exists := s.queues[parts[0]]
	switch {
	case len(parts) == 1 && r.Method == http.MethodPut:
		if exists {
			return answerOf(r, 204, "")
		}
		s.queues[parts[0]] = []*stored{}
		return answerOf(r, 201, "")
	case !exists:
		return refusal(r, 404, "QueueNotFound")
	case len(parts) == 1:
		a := answerOf(r, 200, "")
		a.Header.Set("x-ms-approximate-messages-count", strconv.Itoa(len(s.queues[parts[0]])))
		return a
	case len(parts) == 3:
		return s.one(r, parts[0], parts[2], text)
	case r.Method == http.MethodPost:
		return answerOf(r, 201, list(s.add(parts[0], text)))
	}
	n, _ := strconv.Atoi(r.URL.Query().Get("numofmessages"))
	var got []*stored
	for _, m := range s.queues[parts[0]] {
		if len(got) < n && !m.visible.After(s.clock.Now()) {
			m.count++
			s.hide(r, m)
			got = append(got, m)
		}
	}
	return answerOf(r, 200, list(got...))
}

func (s *service) hide(r *http.Request, m *stored) {
	seconds, _ := strconv.Atoi(r.URL.Query().Get("visibilitytimeout"))
	s.ids++
	m.visible, m.receipt = s.clock.Now().Add(time.Duration(seconds)*time.Second), fmt.Sprintf("r%d", s.ids)
}

// one serves a request about one message.
func (s *service) one(r *http.Request, queue, id, text string) *http.Response {
	for n, m := range s.queues[queue] {
		switch {
		case m.id != id:
			continue
		case m.receipt != r.URL.Query().Get("popreceipt"):
			return refusal(r, 400, "PopReceiptMismatch")
		case r.Method == http.MethodDelete:
			s.queues[queue] = append(s.queues[queue][:n:n], s.queues[queue][n+1:]...)
			return answerOf(r, 204, "")
		}
		m.text = text
		s.hide(r, m)
		a := answerOf(r, 204, "")
		a.Header.Set("x-ms-popreceipt", m.receipt)
		a.Header.Set("x-ms-time-next-visible", m.visible.UTC().Format(http.TimeFormat))
		return a
	}
	return refusal(r, 404, "MessageNotFound")
}

func list(messages ...*stored) string {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="utf-8"?><QueueMessagesList>`)
	for _, m := range messages {
		at := m.visible.UTC().Format(http.TimeFormat)
		fmt.Fprintf(&b, "<QueueMessage><MessageId>%s</MessageId><InsertionTime>%s</InsertionTime><ExpirationTime>%s</ExpirationTime><PopReceipt>%s</PopReceipt>"+
			"<TimeNextVisible>%s</TimeNextVisible><DequeueCount>%d</DequeueCount><MessageText>", m.id, at, at, m.receipt, at, m.count)
		_ = xml.EscapeText(&b, []byte(m.text))
		b.WriteString("</MessageText></QueueMessage>")
	}
	b.WriteString("</QueueMessagesList>")
	return b.String()
}
