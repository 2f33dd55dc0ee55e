// Command queue stands in for the queues of a storage account, with what the example
// needs of them. It wants tokens for https://storage.azure.com and says whose they
// are, but believes what they say: it is no place for anything real.
package main

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	log.SetFlags(0)
	address := flag.String("address", "127.0.0.1:10001", "where to listen")
	flag.Parse()
	server := &http.Server{Addr: *address, Handler: newQueue(), ReadHeaderTimeout: 10 * time.Second}
	log.Print("queue http://", *address, "/shopqueue/orders")
	log.Fatal("error: ", server.ListenAndServe())
}

// hidden is how long a message that somebody took is out of sight.
const hidden = 30 * time.Second

type message struct {
	ID, Receipt, Text string
	visible           time.Time
}

type queue struct {
	mu       sync.Mutex
	next     int
	messages []*message
	told     map[string]bool
}

// newQueue makes the one queue, which is empty.
func newQueue() http.Handler {
	q := &queue{told: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /shopqueue/orders", q.asked("asks for the length", q.length))
	mux.HandleFunc("POST /shopqueue/orders/messages", q.asked("puts messages", q.put))
	mux.HandleFunc("GET /shopqueue/orders/messages", q.asked("takes messages", q.take))
	mux.HandleFunc("DELETE /shopqueue/orders/messages/{id}", q.asked("removes messages", q.remove))
	return mux
}

// asked lets those with a token in, and says once who does what.
func (q *queue) asked(what string, serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who := caller(r)
		if who == "" {
			w.Header().Set("x-ms-error-code", "NoAuthenticationInformation")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		if !q.told[who+what] {
			q.told[who+what] = true
			log.Print(who, " ", what)
		}
		serve(w, r)
	}
}

// caller gives the name of the identity that the token says it is of.
func caller(r *http.Request) string {
	var claims struct {
		Audience string `json:"aud"`
		ID       string `json:"xms_mirid"`
	}
	parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
	if len(parts) != 3 {
		return ""
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.ID == "" || strings.TrimSuffix(claims.Audience, "/") != "https://storage.azure.com" {
		return ""
	}
	return path.Base(claims.ID)
}

func (q *queue) length(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("x-ms-approximate-messages-count", strconv.Itoa(len(q.messages)))
}

func (q *queue) put(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Text string `xml:"MessageText"`
	}
	if err := xml.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&in); err != nil {
		http.Error(w, "no message", http.StatusBadRequest)
		return
	}
	q.next++
	m := &message{ID: strconv.Itoa(q.next), Text: in.Text}
	q.messages = append(q.messages, m)
	reply(w, http.StatusCreated, m)
}

func (q *queue) take(w http.ResponseWriter, _ *http.Request) {
	now := time.Now()
	for _, m := range q.messages {
		if m.visible.Before(now) {
			q.next++
			m.visible, m.Receipt = now.Add(hidden), strconv.Itoa(q.next)
			reply(w, http.StatusOK, m)
			return
		}
	}
	reply(w, http.StatusOK, nil)
}

func (q *queue) remove(w http.ResponseWriter, r *http.Request) {
	for i, m := range q.messages {
		if m.ID == r.PathValue("id") && m.Receipt == r.URL.Query().Get("popreceipt") {
			q.messages = append(q.messages[:i], q.messages[i+1:]...)
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	w.Header().Set("x-ms-error-code", "MessageNotFound")
	w.WriteHeader(http.StatusNotFound)
}

func reply(w http.ResponseWriter, status int, m *message) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	inner := ""
	if m != nil {
		var text strings.Builder
		_ = xml.EscapeText(&text, []byte(m.Text)) // a Builder takes everything
		inner = fmt.Sprintf("<QueueMessage><MessageId>%s</MessageId><PopReceipt>%s</PopReceipt><MessageText>%s</MessageText></QueueMessage>", m.ID, m.Receipt, text.String())
	}
	fmt.Fprintf(w, `<?xml version="1.0" encoding="utf-8"?><QueueMessagesList>%s</QueueMessagesList>`, inner)
}
