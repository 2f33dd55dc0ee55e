package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
)

// leaks tries every way a secret could get into a record.
func leaks(log *slog.Logger) {
	link := &url.URL{Scheme: "http", Host: "h", RawQuery: "code=" + canary}
	type named struct{ Name, Value string }
	type options struct {
		APIKey string `json:"apiKey"`
		Links  []string
	}
	log.Info("calling http://h/?code=" + canary)
	log.Info("m", "key", canary, "Authorization", "Bearer "+canary, "x-functions-key", canary)
	log.Info("m", "url", "http://h/?a=1&Sig="+canary, "link", link, "password", []byte(canary))
	log.Info("m", "err", &url.Error{Op: "Get", URL: link.String(), Err: errors.New("refused")})
	log.Info("m", slog.Group("g", "token", canary, slog.Group("h", "u", "/?code="+canary)))
	log.Info("m", slog.Group("secret", "a", canary))
	log.Info("m", "o", options{canary, []string{"/?code=" + canary}}, "k", named{"default", canary})
	log.Info("m", "list", []any{map[string]string{"token": canary}})
	log.With("clientSecret", canary).WithGroup("g").With("code", canary).Info("m", "sig", canary)
	log.Info("m", "lazy", slog.AnyValue(lazy{}))
}

type lazy struct{}

func (lazy) LogValue() slog.Value { return slog.GroupValue(slog.String("key", canary)) }

func TestNoSecretReachesALog(t *testing.T) {
	for _, format := range []Format{JSON, Text} {
		var out bytes.Buffer
		leaks(NewLogger(&out, format, slog.LevelDebug))
		if got := strings.Count(out.String(), "\n"); got != 10 {
			t.Errorf("%s: %d lines", format, got)
		}
		if strings.Contains(out.String(), canary) {
			t.Errorf("%s: shown in\n%s", format, out.String())
		}
	}
}

func TestTextLinesAreShortAndReadable(t *testing.T) {
	var out bytes.Buffer
	h := NewLogger(&out, Text, slog.LevelInfo).With("app", "shop").WithGroup("store").Handler()
	r := slog.NewRecord(time.Date(2026, 1, 2, 20, 15, 4, 5, time.Local), slog.LevelWarn, "cannot read\x1b[2J keys\n", 0)
	r.Add("reason", "permission denied", "tries", 3, "exit_code", 2, "wait", time.Second, "file", "",
		slog.Group("at", "line", 7), "err", problem.Wrap(problem.Unavailable, "no store", errors.New("gone")),
		"ids", []int{1, 2}, "ok", true, "nothing", nil)
	if err := h.Handle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	want := `20:15:04 WARN  cannot read\x1b[2J keys\x0a app=shop store.reason="permission denied" store.tries=3 ` +
		`store.exit_code=2 store.wait=1s store.file="" store.at.line=7 store.err="no store: gone" store.ids=[1,2] ` +
		`store.ok=true store.nothing=null` + "\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

func TestJSONLinesKeepTypes(t *testing.T) {
	var out bytes.Buffer
	NewLogger(&out, JSON, slog.LevelInfo).Info("started", "port", 7071, "err", errors.New("x"), "app", "shop")
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "time")
	want := map[string]any{"level": "INFO", "msg": "started", "port": 7071.0, "err": "x", "app": "shop"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLevelCanChangeWhileRunning(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	log := NewLogger(&out, Text, level)
	log.Debug("one")
	level.Set(slog.LevelDebug)
	log.Debug("two")
	if s := out.String(); strings.Contains(s, "one") || !strings.Contains(s, "two") {
		t.Errorf("got %q", s)
	}
}

func TestAValueThatPanicsIsLoggedAsUnprintable(t *testing.T) {
	var out bytes.Buffer
	var none *problem.Error
	NewLogger(&out, Text, slog.LevelInfo).Info("m", "err", error(none))
	if !strings.Contains(out.String(), "unprintable") {
		t.Errorf("got %q", out.String())
	}
}

func TestParseFormat(t *testing.T) {
	for in, want := range map[string]Format{"text": Text, "JSON": JSON} {
		if got, err := ParseFormat(in); err != nil || got != want {
			t.Errorf("ParseFormat(%q) = %q, %v", in, got, err)
		}
	}
	if _, err := ParseFormat("xml"); !errors.Is(err, problem.Invalid) {
		t.Errorf("got %v", err)
	}
}
