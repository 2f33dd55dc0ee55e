package applog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/telemetry"
)

var day = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func logs() *Logs { return New(clock.NewManual(day)) }

func texts(lines []Line) string {
	var all []string
	for _, l := range lines {
		all = append(all, fmt.Sprintf("%s %s %s %s: %s", l.Level, l.Source, l.Function, l.Invocation, l.Message))
	}
	return strings.Join(all, "\n")
}

func TestLinesOfAnAppAreKeptAndThoseOfOthersAreNot(t *testing.T) {
	l := logs()
	log := l.Open("Shop", "1")
	var node bytes.Buffer
	logger := slog.New(l.Handler(telemetry.NewLogger(&node, telemetry.JSON, slog.LevelWarn).Handler()))
	own := logger.With("app", "Shop")
	own.Info("hello", "source", "function", "function", "f", "invocation", "i-1", "category", "Function.f.User", slog.Group("properties"))
	own.Error("it failed", "source", "function", "function", "f", "invocation", "i-2", "exception", "Error: it failed\n  at f.js:1")
	own.Debug("not wanted by anybody")
	logger.Error("an app cannot be started", "app", "shop", "reason", errors.New("no such file"), "next", "deploy one")
	logger.Error("an app cannot be started", "app", "other")
	logger.Error("about nothing")
	logger.WithGroup("g").Error("grouped", "app", "shop")
	own.WithGroup("g").Info("of the app", "x", 1)
	lines, last, missed := log.After(0)
	want := "INFO function f i-1: hello\nERROR function f i-2: it failed\nError: it failed\n  at f.js:1\n" +
		"ERROR host  : an app cannot be started reason=no such file next=deploy one\nINFO host  : of the app g.x=1"
	if got := texts(lines); got != want || missed != 0 || last != lines[3].Seq || lines[0].Time.IsZero() {
		t.Errorf("%d missed\n%s\nnot\n%s", missed, got, want)
	}
	if got := node.String(); strings.Contains(got, "hello") || !strings.Contains(got, "about nothing") || !strings.Contains(got, "it failed") {
		t.Errorf("the node's log: %s", got)
	}
}

func TestSecretsAndCommandsOfTerminalsAreNotKept(t *testing.T) {
	l := logs()
	log := l.Open("shop", "1")
	own := slog.New(l.Handler(slog.DiscardHandler)).With("app", "shop", "token", "hunter2")
	own.Info("GET /api/f?code=hunter2 \x1b[31mred\x1b[0m \x1b]0;title\x07 \x00 \u202eevil\r\nnext", "source", "console", "client_secret", "hunter2",
		slog.Group("properties", "password", "hunter2", "n", "1"))
	got, _, _ := log.After(0)
	if text := texts(got); strings.Contains(text, "hunter2") || text != "INFO console  : GET /api/f?code=REDACTED red  \uFFFD \uFFFDevil\nnext token=REDACTED client_secret=REDACTED properties.password=REDACTED properties.n=1" {
		t.Errorf("%q", text)
	}
}

// TestColoursHideNoSecrets: what is taken out of a line must not put a secret together
// that could not be told before.
func TestColoursHideNoSecrets(t *testing.T) {
	l := logs()
	log := l.Open("shop", "1")
	own := slog.New(l.Handler(slog.DiscardHandler)).With("app", "shop")
	for _, text := range []string{
		"GET /api/f?\x1b[36mcode=\x1b[0mhunter2", "GET /api/f?code\x1b[0m=hunter2", "GET /api/f\x1b[1m?\x1b[0mcode\x1b[2m=\x1b[33mhunter2\x1b[0m",
		"GET /api/f?code=\x1b]0;t\x07hunter2",
		strings.Repeat("A", 20) + "\x1b[1m" + strings.Repeat("A", 24) + "AzFu\x1b[0mhunter==",
	} {
		own.Info(text, "source", "console")
		own.Info("", "said", text)
	}
	got, _, _ := log.After(0)
	if text := texts(got); len(got) != 10 || strings.Contains(text, "hunter") {
		t.Errorf("%d lines: %q", len(got), text)
	}
}

func TestAFloodCostsNoMemoryAndIsCounted(t *testing.T) {
	l := logs()
	log := l.Open("shop", "1")
	own := slog.New(l.Handler(slog.DiscardHandler)).With("app", "shop")
	const all = 20_000
	_, from, _ := log.After(0)
	for i := range all {
		own.Info(fmt.Sprint("line ", i), "source", "console")
	}
	lines, last, missed := log.After(from)
	if len(lines) < 200 || len(lines) > maxLines || len(lines)+int(missed) != all || last != from+all || lines[len(lines)-1].Message != fmt.Sprint("line ", all-1) {
		t.Errorf("%d lines, %d missed, last %d of %d", len(lines), missed, last, from)
	}
	own.Info(strings.Repeat("ä", 10*maxText))
	own.Info(strings.Repeat("x", 10*maxText))
	for range 50 {
		own.Info(strings.Repeat("y", maxText))
	}
	if log.bytes > maxBytes || len(log.lines) > 6 || cap(log.lines) > 4*maxLines {
		t.Errorf("%d bytes in %d lines of %d", log.bytes, len(log.lines), cap(log.lines))
	}
	sum := 0
	for i := range log.lines {
		sum += log.lines[i].size()
	}
	if sum != log.bytes {
		t.Errorf("%d bytes are counted as %d", sum, log.bytes)
	}
}

func TestManyAppsShareTheBudget(t *testing.T) {
	l := logs()
	for i := range 8000 {
		l.Open(fmt.Sprint("app", i), "1")
	}
	if got := l.limit.Load(); got != minBytes {
		t.Errorf("each has %d bytes", got)
	}
	for i := range 8000 {
		l.Forget(fmt.Sprint("App", i))
	}
	if got := l.limit.Load(); got != maxBytes || len(l.apps) != 0 {
		t.Errorf("%d bytes, %d apps", got, len(l.apps))
	}
}

func TestFollowersAreWokenAndEndWithTheApp(t *testing.T) {
	l := logs()
	log := l.Open("shop", "1")
	if l.Open("SHOP", "1") != log {
		t.Fatal("the same life has two logs")
	}
	own := slog.New(l.Handler(slog.DiscardHandler)).With("app", "shop")
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			at := uint64(0)
			for n := 0; n < 100; {
				if err := log.Wait(t.Context(), at); err != nil {
					t.Error(err)
					return
				}
				lines, last, missed := log.After(at)
				n, at = n+len(lines)+int(missed), last
			}
		})
	}
	for range 100 {
		own.Info("x")
	}
	wait.Wait()
	_, last, _ := log.After(0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := log.Wait(ctx, last); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- log.Wait(t.Context(), last) }()
	again := l.Open("shop", "2")
	if err := <-ended; !errors.Is(err, ErrEnded) {
		t.Errorf("who follows the life before: %v", err)
	}
	if lines, _, _ := again.After(0); len(lines) != 0 {
		t.Errorf("lines of the life before: %s", texts(lines))
	}
	_, last, _ = again.After(0)
	go func() { ended <- again.Wait(t.Context(), last) }()
	l.Close()
	l.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("who follows when the node ends: %v", err)
	}
}

func TestNumbersOfAnEarlierProcessComeBefore(t *testing.T) {
	c := clock.NewManual(day)
	handle := func(l *Logs) (*Log, *slog.Logger) {
		return l.Open("shop", "1"), slog.New(l.Handler(slog.DiscardHandler)).With("app", "shop")
	}
	before, own := handle(New(c))
	own.Info("before")
	_, at, _ := before.After(0)
	c.Advance(time.Second)
	now, own := handle(New(c))
	own.Info("now")
	lines, last, missed := now.After(at)
	if texts(lines) != "INFO host  : now" || missed != 0 || last <= at {
		t.Errorf("%s, %d missed, %d after %d", texts(lines), missed, last, at)
	}
	if lines, _, _ = now.After(last); lines != nil {
		t.Errorf("after the last: %s", texts(lines))
	}
	own.Info("more")
	if lines, _, _ = now.After(last); texts(lines) != "INFO host  : more" {
		t.Errorf("after the last but one: %s", texts(lines))
	}
}

func FuzzPlain(f *testing.F) {
	for _, s := range []string{"", "a\x1b[31mb", "\x1b", "\x1b[", "\x1b]0;x", "\x9b31m", "\r\n\r", "\u2066x", "\xff", "<script>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Plain(s)
		if Plain(got) != got && !strings.ContainsRune(got, '\uFFFD') {
			t.Errorf("%q is %q, and then %q", s, got, Plain(got))
		}
		for _, r := range got {
			if r != '\uFFFD' && hostile(r) {
				t.Errorf("%q has %q", got, r)
			}
		}
	})
}

func BenchmarkLine(b *testing.B) {
	l := logs()
	l.Open("shop", "1")
	own := slog.New(l.Handler(slog.DiscardHandler)).With("app", "shop")
	b.ReportAllocs()
	for b.Loop() {
		own.Info("an order was taken: 17 things for 31.20 EUR", "source", "function", "function", "f", "invocation", "11111111-2222-3333-4444-555555555555")
	}
}

func TestNextWaitsForWhatIsWanted(t *testing.T) {
	l := logs()
	log := l.Open("shop", "1")
	own := slog.New(l.Handler(slog.DiscardHandler)).With("app", "shop")
	_, at, _ := log.After(0)
	ctx, cancel := context.WithCancel(t.Context())
	type result struct {
		lines  []Line
		last   uint64
		missed uint64
	}
	got := make(chan result, 1)
	go func() {
		lines, last, missed, err := log.Next(ctx, at, Filter{Level: slog.LevelWarn, Function: "F", Contains: "ERROR"}, time.Millisecond)
		if err != nil {
			t.Error(err)
		}
		got <- result{lines, last, missed}
	}()
	own.Warn("an error", "function", "g")
	own.Info("an error", "function", "f")
	own.Warn("other", "function", "f")
	own.Warn("an error", "function", "f", "invocation", "this")
	if r := <-got; texts(r.lines) != "WARN host f this: an error" || r.last != at+4 || r.missed != 0 {
		t.Errorf("%+v after %d", r, at)
	}
	go func() {
		lines, last, missed, err := log.Next(ctx, at+4, Filter{Host: true}, 0)
		if err != nil {
			t.Error(err)
		}
		got <- result{lines, last, missed}
	}()
	own.Info("of the app", "source", "console")
	cancel()
	if r := <-got; len(r.lines) != 0 || r.last != at+5 {
		t.Errorf("%+v after %d", r, at)
	}
}
