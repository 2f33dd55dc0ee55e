package scmapi_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// own is the logger of the app.
func (w *world) own() *slog.Logger {
	w.logs.Open("Orders", "")
	return slog.New(w.logs.Handler(slog.DiscardHandler)).With("app", "Orders")
}

// follow opens a stream; lines come without line ends.
func (w *world) follow(t *testing.T, path, auth string) (next func() string, end func()) {
	t.Helper()
	server := httptest.NewServer(w.api)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = host
	if user, password, ok := strings.Cut(auth, ":"); ok {
		r.SetBasicAuth(user, password)
	} else {
		r.Header.Set("Authorization", "Bearer "+auth)
	}
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != 200 || !strings.HasPrefix(answer.Header.Get("Content-Type"), "text/plain") {
		body, _ := io.ReadAll(answer.Body)
		t.Fatalf("%d %s", answer.StatusCode, body)
	}
	lines := bufio.NewReader(answer.Body)
	end = func() {
		cancel()
		answer.Body.Close()
		server.Close()
	}
	t.Cleanup(end)
	return func() string {
		t.Helper()
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return "EOF"
		}
		if err != nil || !strings.HasSuffix(line, "\r\n") {
			t.Fatalf("%q: %v", line, err)
		}
		return strings.TrimSuffix(line, "\r\n")
	}, end
}

func TestLogsAreStreamedAsTheyAreWritten(t *testing.T) {
	for path, only := range map[string]string{
		"/api/logstream": "", "/logstream/": "", "/api/logstream/application": "", "/api/LogStream/Application/Functions": "",
		"/api/logstream/application/functions/function/F": "f", "/api/logstream/application/function/f": "f", "/api/logstream/application/functions/host": "host",
	} {
		w := newWorld(t)
		own := w.own()
		write := func(text string) {
			own.Info(text+" of f", "source", "function", "function", "f")
			own.Warn(text+" of g", "source", "function", "function", "g")
			own.Error(text + " of host")
		}
		write("before")
		next, _ := w.follow(t, path, "$orders:right")
		if got := next(); got != "2026-11-21T10:00:00  Welcome, you are now connected to log-streaming service." {
			t.Errorf("%s: %s", path, got)
		}
		check := func(text string) {
			for _, want := range []string{"[Information] " + text + " of f", "[Warning] " + text + " of g", "[Error] " + text + " of host"} {
				if !strings.HasSuffix(want, " of "+only) && only != "" {
					continue
				}
				if got := next(); !strings.HasSuffix(got, " "+want) {
					t.Errorf("%s: %s, not %s", path, got, want)
				}
			}
		}
		check("before")
		write("after")
		check("after")
	}
}

func TestStreamsAreRecordedWhenTheyBegin(t *testing.T) {
	w := newWorld(t)
	next, _ := w.follow(t, "/api/logstream/application", "deployer")
	next()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.audit) != 1 || !w.audit[0].Reads || w.audit[0].Caller != "deployer" || w.audit[0].Status != 200 {
		t.Errorf("%+v", w.audit)
	}
}

func TestStreamsAreForThoseWhoMayPublish(t *testing.T) {
	w := newWorld(t)
	for auth, want := range map[string]int{"": 401, "reader": 403, "bad": 401, "$orders:wrong": 401} {
		if got := w.call("GET", "/api/logstream", auth, nil); got.Code != want {
			t.Errorf("%q: %d %s", auth, got.Code, got.Body)
		}
	}
	for path, want := range map[string]int{"/api/logstream/http": 404, "/api/logstream/kudu/deployment": 404, "/api/logstream/application/x": 404} {
		if got := w.call("GET", path, "deployer", nil); got.Code != want {
			t.Errorf("%s: %d %s", path, got.Code, got.Body)
		}
	}
	if got := w.call("POST", "/api/logstream", "deployer", nil); got.Code != 405 {
		t.Errorf("%d", got.Code)
	}
}

// minute moves the clock once the stream waits for it.
func (w *world) minute(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.clock.AwaitTimers(ctx, 1); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Minute)
}

func TestQuietStreamsGiveSignsOfLifeAndEnd(t *testing.T) {
	w := newWorld(t)
	w.site.Settings["scm_logstream_timeout"] = "120"
	next, _ := w.follow(t, "/api/logstream", "deployer")
	next()
	w.minute(t)
	if got := next(); got != "2026-11-21T10:01:00  No new trace in the past 1 min(s)." {
		t.Error(got)
	}
	w.minute(t)
	if got := next(); got != "2026-11-21T10:02:00  Stream terminated due to no new trace in the past 2 min(s)." {
		t.Error(got)
	}
	if got := next(); got != "EOF" {
		t.Error(got)
	}
}

func TestStreamsEndWithTheRightToReadThem(t *testing.T) {
	for name, take := range map[string]func(w *world){
		"the role":     func(w *world) { delete(w.allow, "deployer") },
		"the password": func(w *world) { w.site.Password = "other" },
		"the app":      func(w *world) { w.site.Name = "other" },
	} {
		w := newWorld(t)
		auth := "deployer"
		if name == "the password" {
			auth = "$orders:right"
		}
		next, _ := w.follow(t, "/api/logstream", auth)
		next()
		w.mu.Lock()
		take(w)
		w.mu.Unlock()
		w.minute(t)
		if got := next(); !strings.Contains(got, "not good for it any more") {
			t.Errorf("%s: %s", name, got)
		}
	}
	w := newWorld(t)
	next, _ := w.follow(t, "/api/logstream", "deployer")
	next()
	w.logs.Forget("orders")
	if got := next(); !strings.Contains(got, "Stream terminated: the log has ended") {
		t.Error(got)
	}
}

func TestStreamsAreBoundedInNumber(t *testing.T) {
	w := newWorld(t)
	var ends []func()
	for range 10 {
		next, end := w.follow(t, "/api/logstream", "deployer")
		next()
		ends = append(ends, end)
	}
	if got := w.call("GET", "/api/logstream", "deployer", nil); got.Code != 429 || got.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	next, _ := w.follow(t, "/api/logstream", "$orders:right")
	next()
	for _, end := range ends {
		end()
	}
	next, _ = w.follow(t, "/api/logstream", "deployer")
	next()
}

func TestAFloodIsCountedInTheStream(t *testing.T) {
	w := newWorld(t)
	own := w.own()
	next, _ := w.follow(t, "/api/logstream", "deployer")
	next()
	for range 20_000 {
		own.Info("line")
	}
	own.Info("the last")
	left := false
	for {
		line := next()
		left = left || strings.Contains(line, "line(s) were left out")
		if strings.HasSuffix(line, "the last") {
			break
		}
	}
	if !left {
		t.Error("nobody said that lines were left out")
	}
}
