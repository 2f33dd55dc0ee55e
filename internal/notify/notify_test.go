package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

const patience = 60 * time.Second

var start = time.Date(2030, 1, 1, 10, 0, 0, 0, time.UTC)

// receiver takes events and answers as it is told.
type receiver struct {
	*httptest.Server
	mu      sync.Mutex
	got     []*http.Request
	bodies  []map[string]any
	answers []int         // for the next ones; 204 after that
	gate    chan struct{} // answers wait for it, unless nil
	log     lines
}

type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newReceiver(t *testing.T, answers ...int) *receiver {
	t.Helper()
	r := &receiver{answers: answers}
	r.Server = httptest.NewTLSServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	text, _ := io.ReadAll(req.Body)
	if r.gate != nil {
		select {
		case <-r.gate:
		case <-req.Context().Done():
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	body := map[string]any{"raw": string(text)}
	_ = json.Unmarshal(text, &body)
	r.got, r.bodies = append(r.got, req), append(r.bodies, body)
	status := http.StatusNoContent
	if len(r.answers) > 0 {
		status, r.answers = r.answers[0], r.answers[1:]
	}
	w.Header().Set("Location", "/elsewhere")
	w.WriteHeader(status)
}

// members gives one member of every event received.
func (r *receiver) members(name string) (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.bodies {
		text, _ := b[name].(string)
		list = append(list, text)
	}
	return list
}

func (r *receiver) webhook(t *testing.T, c clock.Clock, change ...func(*Config)) *Webhook {
	t.Helper()
	cfg := Config{
		URL: r.URL + "/hook?sig=hush", Clock: c, Client: r.Client(),
		Log: slog.New(slog.NewTextHandler(io.MultiWriter(&r.log, t.Output()), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if strings.Contains(r.log.String(), "hush") {
			t.Error("the log holds the URL")
		}
	})
	return w
}

// run lets a webhook deliver until stop or the end of the test.
func run(t *testing.T, w *Webhook) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.Run(ctx) })
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !done() {
		if clock.Sleep(ctx, clock.Real{}, time.Millisecond) != nil {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

func TestEventsAreCloudEventsInOrder(t *testing.T) {
	r := newReceiver(t)
	w := r.webhook(t, clock.NewManual(start), func(c *Config) { c.Source = "/latchkey/here" })
	run(t, w)
	data := map[string]any{"was": "Resolved", "is": "AccessToKeyVaultDenied"}
	w.Send(Event{Type: "dev.latchkey.first", Subject: "/sites/orders", Time: start.Add(-time.Hour), Data: data})
	data["is"] = "changed later"
	w.Send(Event{Type: "dev.latchkey.second"})
	w.Send(Event{Type: "dev.latchkey.third"})
	eventually(t, "all arrive", func() bool { return len(r.members("type")) == 3 })
	if diff := cmp.Diff([]string{"dev.latchkey.first", "dev.latchkey.second", "dev.latchkey.third"}, r.members("type")); diff != "" {
		t.Error(diff)
	}
	first, second := r.bodies[0], r.bodies[1]
	ids := r.members("id")
	if len(ids[0]) != 36 || ids[0] == ids[1] {
		t.Errorf("ids %q", ids)
	}
	delete(first, "raw")
	delete(first, "id")
	if diff := cmp.Diff(map[string]any{
		"specversion": "1.0", "source": "/latchkey/here", "type": "dev.latchkey.first", "subject": "/sites/orders", "time": "2030-01-01T09:00:00Z",
		"datacontenttype": "application/json", "data": map[string]any{"was": "Resolved", "is": "AccessToKeyVaultDenied"},
	}, first); diff != "" {
		t.Error(diff)
	}
	delete(second, "raw")
	delete(second, "id")
	if diff := cmp.Diff(map[string]any{"specversion": "1.0", "source": "/latchkey/here", "type": "dev.latchkey.second", "time": "2030-01-01T10:00:00Z"}, second); diff != "" {
		t.Error(diff)
	}
	q := r.got[0]
	if q.Method != "POST" || q.URL.RequestURI() != "/hook?sig=hush" || q.Header.Get("Content-Type") != "application/cloudevents+json; charset=utf-8" || q.Header.Get("Webhook-Signature") != "" {
		t.Errorf("%s %s %v", q.Method, q.URL, q.Header)
	}
	if w.Dropped() != 0 {
		t.Errorf("%d dropped", w.Dropped())
	}
}

func TestEventsAreSigned(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	for name, secret := range map[string][]byte{"bytes": key, "as receivers write it": []byte("whsec_" + base64.StdEncoding.EncodeToString(key))} {
		r := newReceiver(t)
		w := r.webhook(t, clock.NewManual(start), func(c *Config) { c.Secret = secret })
		run(t, w)
		w.Send(Event{Type: "x"})
		eventually(t, "it arrives", func() bool { return len(r.members("type")) == 1 })
		h, b := r.got[0].Header, r.bodies[0]
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(h.Get("Webhook-Id") + "." + h.Get("Webhook-Timestamp") + "." + b["raw"].(string)))
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); h.Get("Webhook-Signature") != want || h.Get("Webhook-Id") != b["id"] || h.Get("Webhook-Timestamp") != "1893492000" {
			t.Errorf("%s: %v", name, h)
		}
	}
}

// tick lets a pause pass once somebody waits.
func tick(t *testing.T, c *clock.Manual) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.AwaitTimers(ctx, 1); err != nil {
		t.Fatal(err)
	}
	c.Advance(firstPause << Tries)
}

func TestDeliveryIsTriedAgain(t *testing.T) {
	c := clock.NewManual(start)
	r := newReceiver(t, 503, 429, 500, 408)
	w := r.webhook(t, c)
	run(t, w)
	w.Send(Event{Type: "first"})
	w.Send(Event{Type: "second"})
	for range Tries - 1 {
		tick(t, c)
	}
	eventually(t, "both arrive", func() bool { return len(r.members("type")) == Tries+1 })
	if diff := cmp.Diff([]string{"first", "first", "first", "first", "first", "second"}, r.members("type")); diff != "" {
		t.Error(diff)
	}
	if ids := r.members("id"); ids[0] != ids[Tries-1] || ids[0] == ids[Tries] || w.Dropped() != 0 {
		t.Errorf("ids %q, %d dropped", ids, w.Dropped())
	}
}

func TestDeliveryIsGivenUp(t *testing.T) {
	c := clock.NewManual(start)
	r := newReceiver(t, 500, 502, 503, 504, 500)
	w := r.webhook(t, c)
	run(t, w)
	w.Send(Event{Type: "lost"})
	w.Send(Event{Type: "kept"})
	for range Tries - 1 {
		tick(t, c)
	}
	eventually(t, "the next one arrives", func() bool { return len(r.members("type")) == Tries+1 })
	if w.Dropped() != 1 || strings.Count(r.log.String(), "level=WARN") != 1 || !strings.Contains(r.log.String(), "type=lost") {
		t.Errorf("%d dropped", w.Dropped())
	}
}

func TestAnswersThatStayAreFinal(t *testing.T) {
	for _, status := range []int{301, 307, 400, 401, 404, 410} {
		r := newReceiver(t, status)
		w := r.webhook(t, clock.NewManual(start)) // nobody moves the clock
		run(t, w)
		w.Send(Event{Type: "refused"})
		w.Send(Event{Type: "next"})
		eventually(t, "the next one arrives", func() bool { return len(r.members("type")) == 2 })
		if w.Dropped() != 1 || r.got[1].URL.Path != "/hook" {
			t.Errorf("%d: %d dropped, then %s", status, w.Dropped(), r.got[1].URL)
		}
	}
}

func TestReceiversThatAreGoneAreTriedAgain(t *testing.T) {
	c := clock.NewManual(start)
	r := newReceiver(t)
	w := r.webhook(t, c)
	r.Close()
	run(t, w)
	w.Send(Event{Type: "x"})
	for range Tries - 1 {
		tick(t, c)
	}
	eventually(t, "it is given up", func() bool { return w.Dropped() == 1 })
	if !strings.Contains(r.log.String(), "cannot be reached") {
		t.Errorf("log: %s", &r.log)
	}
}

func TestSendNeverBlocks(t *testing.T) {
	r := newReceiver(t)
	r.gate = make(chan struct{})
	w := r.webhook(t, clock.NewManual(start), func(c *Config) { c.Queue, c.Client.Timeout = 2, patience })
	for range 5 { // nobody delivers
		w.Send(Event{Type: "x"})
	}
	if w.Dropped() != 3 || strings.Count(r.log.String(), "too many wait") != 1 {
		t.Errorf("%d dropped", w.Dropped())
	}
	run(t, w)
	close(r.gate)
	eventually(t, "what waited arrives", func() bool { return len(r.members("type")) == 2 })
	w.Send(Event{Type: "y"})
	eventually(t, "so do later ones", func() bool { return len(r.members("type")) == 3 })
}

func TestEventsThatCannotBeSentAreDropped(t *testing.T) {
	r := newReceiver(t)
	w := r.webhook(t, clock.NewManual(start))
	w.Send(Event{Type: "a", Data: math.NaN()})
	w.Send(Event{Type: "b", Data: strings.Repeat("x", MaxEvent)})
	w.Send(Event{})
	if w.Dropped() != 3 || strings.Count(r.log.String(), "level=WARN") != 3 || len(w.queue) != 0 {
		t.Errorf("%d dropped", w.Dropped())
	}
}

func TestStoppingDropsWhatWaits(t *testing.T) {
	r := newReceiver(t)
	r.gate = make(chan struct{})
	w := r.webhook(t, clock.NewManual(start), func(c *Config) { c.Client.Timeout = patience })
	stop := run(t, w)
	for range 3 {
		w.Send(Event{Type: "x"})
	}
	eventually(t, "one is on its way", func() bool { return len(w.queue) == 2 })
	stop()
	if w.Dropped() != 3 || !strings.Contains(r.log.String(), "events=2") {
		t.Errorf("%d dropped", w.Dropped())
	}
}

func TestSlowReceiversAreNotWaitedForForEver(t *testing.T) {
	c := clock.NewManual(start)
	r := newReceiver(t)
	r.gate = make(chan struct{})
	w := r.webhook(t, c, func(cfg *Config) { cfg.Client.Timeout = 50 * time.Millisecond })
	run(t, w)
	w.Send(Event{Type: "x"})
	for range Tries - 1 {
		tick(t, c)
	}
	eventually(t, "it is given up", func() bool { return w.Dropped() == 1 })
	if !strings.Contains(r.log.String(), "takes too long") {
		t.Errorf("log: %s", &r.log)
	}
}

func TestPausesGrow(t *testing.T) {
	for try := 1; try < Tries; try++ {
		whole := time.Second << (try - 1)
		for range 100 {
			if p := pause(try); p < whole/2 || p > whole {
				t.Errorf("after try %d: %s", try, p)
			}
		}
	}
}

func TestConfigsAreChecked(t *testing.T) {
	good := Config{URL: "https://hooks.example/x?sig=hush", Clock: clock.NewManual(start), Log: slog.New(slog.DiscardHandler)}
	for name, tt := range map[string]struct {
		change func(*Config)
		ok     bool
	}{
		"https":             {func(*Config) {}, true},
		"http on localhost": {func(c *Config) { c.URL = "http://LocalHost:8080/x" }, true},
		"http on 127.0.0.1": {func(c *Config) { c.URL = "http://127.0.0.1:8080/x" }, true},
		"http on ::1":       {func(c *Config) { c.URL = "http://[::1]:8080/x" }, true},
		"http elsewhere":    {func(c *Config) { c.URL = "http://hooks.example/hush" }, false},
		"http, looks local": {func(c *Config) { c.URL = "http://localhost.example/hush" }, false},
		"another scheme":    {func(c *Config) { c.URL = "file:///hush" }, false},
		"no URL":            {func(c *Config) { c.URL = "" }, false},
		"broken":            {func(c *Config) { c.URL = "https://hush\x7f" }, false},
		"a user":            {func(c *Config) { c.URL = "https://me:hush@hooks.example" }, false},
		"short secret":      {func(c *Config) { c.Secret = []byte("hush") }, false},
		"empty secret":      {func(c *Config) { c.Secret = []byte{} }, false},
		"secret not base64": {func(c *Config) { c.Secret = []byte("whsec_hush!hush!hush!hush!") }, false},
		"no clock":          {func(c *Config) { c.Clock = nil }, false},
	} {
		cfg := good
		tt.change(&cfg)
		_, err := New(cfg)
		if (err == nil) != tt.ok || err != nil && (problem.KindOf(err) != problem.Invalid || strings.Contains(err.Error(), "hush")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
