package telemetry

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var moment = time.Date(2026, 3, 4, 5, 6, 7, 89_000_000, time.UTC)

func sampleEvent() RequestEvent {
	return RequestEvent{
		Time: moment, Status: 200, Method: "GET", Path: "/api/hello", Query: "name=World&code=" + canary,
		App: "shop", Function: "Hello", KeyName: "default", KeyKind: "function",
		Duration: 1234567 * time.Nanosecond, InvocationID: "5f0c", Bytes: 12, Remote: "127.0.0.1:5555",
	}
}

func TestEventAsJSON(t *testing.T) {
	e := sampleEvent()
	e.Reason = "said \"no\"\n"
	want := `{"time":"2026-03-04T05:06:07.089Z","msg":"request","status":200,"method":"GET",` +
		`"path":"/api/hello?name=World&code=REDACTED","app":"shop","function":"Hello",` +
		`"keyName":"default","keyKind":"function","ms":1.234,"invocation":"5f0c","bytes":12,` +
		`"remote":"127.0.0.1:5555","reason":"said \"no\"\n","dropped":3}` + "\n"
	if diff := cmp.Diff(want, string(appendEventJSON(nil, &e, 3))); diff != "" {
		t.Error(diff)
	}
}

func TestEventAsText(t *testing.T) {
	e := sampleEvent()
	e.Time = time.Date(2026, 3, 4, 20, 15, 4, 0, time.Local)
	e.Reason = "key is\nexpired"
	want := `20:15:04 GET /api/hello?name=World&code=REDACTED 200 1.234ms 12B app=shop function=Hello ` +
		`key=function/default invocation=5f0c remote=127.0.0.1:5555 reason="key is\nexpired" dropped=3` + "\n"
	if diff := cmp.Diff(want, string(appendEventText(nil, &e, 3))); diff != "" {
		t.Error(diff)
	}
}

func TestEventLeavesEmptyFieldsOut(t *testing.T) {
	e := RequestEvent{Time: moment, Status: 404, Method: "GET", Path: "/"}
	want := `{"time":"2026-03-04T05:06:07.089Z","msg":"request","status":404,"method":"GET","path":"/","ms":0.000,"bytes":0}` + "\n"
	if diff := cmp.Diff(want, string(appendEventJSON(nil, &e, 0))); diff != "" {
		t.Error(diff)
	}
}

func TestLongFieldsAreCutWithoutShowingSecrets(t *testing.T) {
	e := RequestEvent{Time: moment, Query: strings.Repeat("x", maxField-12) + "&code=" + canary}
	line := string(appendEventJSON(nil, &e, 0))
	if len(line) > maxField+300 || strings.Contains(line, canary[:4]) {
		t.Errorf("line of %d bytes: …%s", len(line), line[len(line)-80:])
	}
}

func TestKeysNeverReachTheRequestLog(t *testing.T) {
	bare := strings.TrimRight(identifiable, "=")
	events := map[string]RequestEvent{
		"query under any name":       {Query: "q=" + identifiable + "&b=2"},
		"query under a name of keys": {Query: "key=" + canary + "&apikey=" + canary + "&x-functions-key=" + canary},
		"query, escaped marks":       {Query: "q=" + strings.ReplaceAll(identifiable, "_", "%5F")},
		"path":                       {Path: "/api/" + identifiable + "/x"},
		"method":                     {Method: bare},
		"reason":                     {Reason: "worker: key " + identifiable + " refused; Get \"http://u:" + canary + "@h/?code=" + canary + "\""},
		"key name":                   {KeyKind: "function", KeyName: bare},
		"function":                   {Function: bare},
	}
	for at := maxField - 2*len(identifiable); at <= maxField; at++ { // the key stands across the cut
		fill := strings.Repeat("x", at-1)
		events[fmt.Sprintf("path, key at byte %d", at)] = RequestEvent{Path: fill + "/" + identifiable}
		events[fmt.Sprintf("query, key at byte %d", at)] = RequestEvent{Query: fill + "=" + identifiable}
		events[fmt.Sprintf("query, escaped key at byte %d", at)] = RequestEvent{Query: fill + "=" + strings.ReplaceAll(identifiable, "_", "%5F")}
		events[fmt.Sprintf("reason, key at byte %d", at)] = RequestEvent{Reason: fill + " " + identifiable}
		events[fmt.Sprintf("method, key at byte %d", at)] = RequestEvent{Method: fill + "." + bare}
		events[fmt.Sprintf("path after keys, key at byte %d", at)] = RequestEvent{Path: strings.Repeat(identifiable+"/", 30) + fill[:at-1710] + "/" + identifiable}
	}
	for name, e := range events {
		for format, line := range map[string]string{"json": string(appendEventJSON(nil, &e, 0)), "text": string(appendEventText(nil, &e, 0))} {
			if strings.Contains(line, canary) || strings.Contains(line, "A_-A") || strings.Contains(line, "A%5F-A") {
				t.Errorf("%s, %s: …%s", name, format, line[max(0, len(line)-200):])
			}
		}
	}
}

func TestHidingAKeyInAQueryDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 4096)
	for _, query := range []string{"name=World&code=" + identifiable, "q=" + identifiable, "key=1"} {
		e := sampleEvent()
		e.Query = query
		if n := testing.AllocsPerRun(100, func() { appendEventJSON(buf, &e, 0); appendEventText(buf, &e, 0) }); n != 0 {
			t.Errorf("%s allocates %v times", query, n)
		}
	}
}

func TestTimestampsAgreeWithTheStandardLibrary(t *testing.T) {
	for _, at := range []time.Time{moment, {}, time.Unix(0, 0), time.Unix(253402300799, 999999999),
		time.Date(2024, 2, 29, 23, 59, 59, 999_000_000, time.FixedZone("x", -9*3600))} {
		if got, want := string(appendTimestamp(nil, at)), at.UTC().Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// asStored is what a JSON round trip makes of a field.
func asStored(t *testing.T, s string) string {
	t.Helper()
	raw, err := json.Marshal(limit(s))
	if err != nil {
		t.Fatal(err)
	}
	var out string
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func FuzzEventJSON(f *testing.F) {
	f.Add("GET", "/a?b", "code=1", "f\xff", "why\u2028\x00\"\\", int64(1), 200)
	f.Add("", "", "", "", "\xed\xa0\x80", int64(-5), -1)
	f.Fuzz(func(t *testing.T, method, path, query, function, reason string, ns int64, status int) {
		e := RequestEvent{Time: time.Unix(ns, ns), Status: status, Method: method, Path: path, Query: query,
			Function: function, Reason: reason, Duration: time.Duration(ns), Bytes: ns}
		if len(function) > maxField {
			return // cut where it was, not after its keys are hidden
		}
		line := appendEventJSON(nil, &e, uint64(max(status, 0)))
		var got struct {
			Time                     time.Time
			Method, Function, Reason string
			Path                     *string
			Status                   int
			Bytes                    int64
			MS                       float64
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if strings.Count(string(line), "\n") != 1 || got.Path == nil {
			t.Errorf("not one whole line: %q", line)
		}
		want := [...]string{asStored(t, RedactText(method)), asStored(t, redactKeys(function)), asStored(t, RedactText(reason))}
		if diff := cmp.Diff(want, [...]string{got.Method, got.Function, got.Reason}); diff != "" {
			t.Error(diff)
		}
		if got.Status != status || got.Bytes != ns || got.MS < 0 {
			t.Errorf("numbers changed: %q", line)
		}
	})
}

func FuzzEventText(f *testing.F) {
	f.Add("GET", "/a\x1b[31m", "q=\u202e", "a\nb")
	f.Fuzz(func(t *testing.T, method, path, query, reason string) {
		e := RequestEvent{Method: method, Path: path, Query: query, Function: reason, KeyName: method, Reason: reason}
		line := string(appendEventText(nil, &e, 0))
		if !utf8.ValidString(line) || !strings.HasSuffix(line, "\n") {
			t.Fatalf("bad line %q", line)
		}
		for _, r := range strings.TrimSuffix(line, "\n") {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q in %q", r, line)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	e := sampleEvent()
	buf := make([]byte, 0, 4096)
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = appendEventJSON(buf[:0], &e, 0)
		}
	})
	b.Run("text", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = appendEventText(buf[:0], &e, 0)
		}
	})
}
