package rpc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/rpc"
	"github.com/latchkey/latchkey/internal/worker/rpc/testworker"
)

func TestAWorkerSaysWhichFunctionsThereAre(t *testing.T) {
	f := newFixture(t, "echo", "http")
	f.script.Functions = append(f.script.Functions,
		testworker.Function{Name: "retried", Bindings: []string{queueTrigger}, Retry: -1},
		testworker.Function{Name: "bad", Bindings: []string{queueTrigger}, Fault: "no such decorator"})
	w := f.start(t)
	list, ok := w.Indexed()
	if !ok || len(list) != 4 {
		t.Fatalf("indexed %v: %+v", ok, list)
	}
	if f := list[0]; f.Name != "bad" || f.Runnable() || !strings.Contains(f.Faults[0].Message, "no such decorator") {
		t.Errorf("bad: %+v", f)
	}
	if r := list[3].Retry; r == nil || r.MaxRetryCount != -1 || r.DelayInterval != time.Second {
		t.Errorf("retry %+v", r)
	}
	if string(invoke(t, w, "echo", "hello").Return) != `"hello"` {
		t.Error("echo does not echo")
	}
	_, err := w.Invoke(limited(t), invocation(w, "bad", "x"))
	wantKind(t, err, problem.Internal, "not loaded")
}

func TestFunctionsOfFilesAreLoadedWhenTheWorkerLeavesThemToThem(t *testing.T) {
	for _, indexes := range []bool{true, false} {
		f := newFixture(t)
		f.cfg.Runtime.Indexes, f.script.Bundled = indexes, true
		f.cfg.App.Functions = []funcapp.Function{
			{Name: "seen", ScriptFile: "/app/seen/index.js", Directory: "/app/seen", Bindings: []funcapp.Binding{{Name: "item", Type: "queueTrigger"}}},
			{Name: "broken", Faults: []funcapp.Fault{{Message: "no"}}},
		}
		w := f.start(t)
		if _, ok := w.Indexed(); ok {
			t.Error("the worker is said to have found functions")
		}
		inv := &worker.Invocation{ID: "1", Function: &f.cfg.App.Functions[0], Input: "x"}
		if id := seen(t, w, inv)["functionId"].(string); len(id) != 36 {
			t.Errorf("function id %q is no GUID", id)
		}
	}
}

func TestValuesReachAFunction(t *testing.T) {
	f := newFixture(t, "seen")
	f.script.Capabilities = map[string]string{"TypedDataCollection": "true"}
	f.script.Functions[0].Bindings = append(f.script.Functions[0].Bindings, `{"type":"blob","name":"blob","path":"a/b"}`)
	w := f.start(t)
	tests := []struct {
		name  string
		input any
		want  map[string]any
	}{
		{"text", `{"looks": "like JSON"}`, map[string]any{"string": `{"looks": "like JSON"}`}},
		{"bytes", []byte{1, 2}, map[string]any{"bytes": "AQI="}},
		{"a document", json.RawMessage(`{"a":1}`), map[string]any{"json": `{"a":1}`}},
		{"nothing", nil, map[string]any{}},
		{"a float", 1.5, map[string]any{"double": 1.5}},
		{"an int", 3, map[string]any{"json": "3"}},
		{"texts", []string{"a", "", "b"}, map[string]any{"collectionString": map[string]any{"string": []any{"a", "b"}}}},
		{"a struct", struct{ A string }{"<"}, map[string]any{"json": `{"A":"<"}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inv := invocation(w, "seen", tt.input)
			inv.Metadata = map[string]any{"DequeueCount": 2, "Id": "7", "none": nil}
			inv.Inputs = map[string]any{"blob": "content"}
			m := seen(t, w, inv)
			inputs := m["inputData"].([]any)
			want := []any{map[string]any{"name": "item", "data": tt.want}, map[string]any{"name": "blob", "data": map[string]any{"string": "content"}}}
			if diff := cmp.Diff(want, inputs); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(map[string]any{"DequeueCount": map[string]any{"json": "2"}, "Id": map[string]any{"string": "7"}}, m["triggerMetadata"]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestListsAreJSONForWorkersWithoutCollections(t *testing.T) {
	w := newFixture(t, "seen").start(t)
	m := seen(t, w, invocation(w, "seen", []string{"a", ""}))
	got := m["inputData"].([]any)[0].(map[string]any)["data"]
	if diff := cmp.Diff(map[string]any{"json": `["a",""]`}, got); diff != "" {
		t.Error(diff)
	}
}

func TestRetryAndTraceReachAFunction(t *testing.T) {
	w := newFixture(t, "seen").start(t)
	inv := invocation(w, "seen", "x")
	inv.HasRetry, inv.RetryCount, inv.MaxRetries, inv.LastError = true, 1, 3, "before"
	inv.Trace = worker.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", State: "a=b", Attributes: map[string]string{"k": "v"}}
	m := seen(t, w, inv)
	want := map[string]any{"retryCount": 1.0, "maxRetryCount": 3.0, "exception": map[string]any{"message": "before"}}
	if diff := cmp.Diff(want, m["retryContext"]); diff != "" {
		t.Error(diff)
	}
	trace := m["traceContext"].(map[string]any)
	parent := trace["traceParent"].(string)
	if !strings.HasPrefix(parent, "00-0af7651916cd43dd8448eb211c80319c-") || !strings.HasSuffix(parent, "-01") || strings.Contains(parent, "b7ad6b7169203331") {
		t.Errorf("traceparent %s is not a span of its own in the trace", parent)
	}
	if trace["traceState"] != "a=b" || trace["attributes"].(map[string]any)["k"] != "v" {
		t.Errorf("trace %v", trace)
	}
}

func TestOutputsAreSortedByBinding(t *testing.T) {
	f := newFixture(t, "outputs", "bytes", "nothing")
	f.script.Functions[0].Bindings = append(f.script.Functions[0].Bindings, `{"type":"queue","name":"out","direction":"out"}`,
		`{"type":"blob","name":"bin","direction":"out"}`, `{"type":"queue","name":"other","direction":"out"}`)
	f.script.Functions[1].Bindings = append(f.script.Functions[1].Bindings, queueReturn)
	w := f.start(t)
	got := invoke(t, w, "outputs", "")
	want := &worker.Result{
		Outputs: map[string]json.RawMessage{"out": json.RawMessage(`"text"`), "other": json.RawMessage(`[1]`)},
		Binary:  map[string][]byte{"bin": {1, 2}}, Return: json.RawMessage(`{"other": [1], "out": "not this", "strange": 1}`),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, b, ok := invoke(t, w, "bytes", "").Output(worker.Return); !ok || string(b) != "raw" {
		t.Errorf("returned %q, %v", b, ok)
	}
	if r := invoke(t, w, "nothing", ""); r.Return != nil || r.Binary != nil || r.HTTP != nil {
		t.Errorf("returned %+v", r)
	}
}

func httpInvocation(f *fixture, t *testing.T, method, target, body string, header map[string]string) (*worker.Invocation, map[string]any) {
	t.Helper()
	w := f.start(t)
	inv := invocation(w, "seen", nil)
	inv.Request = httptest.NewRequest(method, target, nil)
	for name, value := range header {
		inv.Request.Header.Set(name, value)
	}
	inv.Body, inv.RouteParams = []byte(body), map[string]string{"id": "5"}
	inv.StripKey, inv.KeyName, inv.KeyLevel = true, "default", "Function"
	return inv, seen(t, w, inv)
}

func TestRequestsAreWrittenAsEachWorkerWantsThem(t *testing.T) {
	modern := map[string]string{"RpcHttpBodyOnly": "1", "RawHttpBodyBytes": "1", "RpcHttpTriggerMetadataRemoved": "1",
		"UseNullableValueDictionaryForHttp": "1", "IgnoreEmptyValuedRpcHttpHeaders": "1"}
	text := func(s string) map[string]any { return map[string]any{"value": s} }
	tests := []struct {
		name string
		caps map[string]string
		want map[string]any
		meta bool // the request is in the metadata too
	}{
		{"modern", modern, map[string]any{
			"nullableHeaders": map[string]any{"content-type": text("application/json"), "host": text("example.com"), "x-empty": text("")},
			"nullableQuery":   map[string]any{"q": text("1,2"), "e": text("")}, "nullableParams": map[string]any{"id": text("5")},
			"body": map[string]any{"bytes": "eyJhIjogImIifQ=="},
		}, false},
		{"plain", nil, map[string]any{
			"headers": map[string]any{"content-type": "application/json", "host": "example.com", "x-empty": ""},
			"query":   map[string]any{"q": "1,2"}, "params": map[string]any{"id": "5"},
			"body": map[string]any{"json": `{"a": "b"}`}, "rawBody": map[string]any{"string": `{"a": "b"}`},
		}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, "seen")
			f.script.Capabilities = tt.caps
			f.script.Functions[0].Bindings = []string{httpTrigger}
			_, m := httpInvocation(f, t, "POST", "http://example.com/api/x%20y?q=1&code=secret&q=2&e=", `{"a": "b"}`,
				map[string]string{"Content-Type": "application/json", "X-Empty": ""})
			data := m["inputData"].([]any)[0].(map[string]any)["data"].(map[string]any)["http"].(map[string]any)
			if ids := data["identities"].([]any); len(ids) != 1 {
				t.Errorf("identities %v", ids)
			}
			delete(data, "identities")
			tt.want["method"], tt.want["url"] = "POST", "http://example.com/api/x%20y?q=1&q=2&e="
			if diff := cmp.Diff(tt.want, data); diff != "" {
				t.Error(diff)
			}
			meta := m["triggerMetadata"].(map[string]any)
			if _, has := meta["$request"]; has != tt.meta {
				t.Errorf("the request is in the metadata: %v, want %v", has, tt.meta)
			}
			if diff := cmp.Diff([]any{map[string]any{"string": "5"}, map[string]any{"string": "b"}, nil}, []any{meta["id"], meta["a"], meta["code"]}); diff != "" {
				t.Error(diff)
			}
			if strings.Contains(fmt.Sprint(m), "secret") {
				t.Error("the key reached the function")
			}
		})
	}
}

func TestAnswersOfHTTPFunctions(t *testing.T) {
	f := newFixture(t, "http")
	f.script.Capabilities = map[string]string{"RpcHttpBodyOnly": "1", "RawHttpBodyBytes": "1"}
	w := f.start(t)
	inv := invocation(w, "http", nil)
	inv.Request, inv.Body = httptest.NewRequest("PUT", "/", nil), []byte("body")
	res, err := w.Invoke(limited(t), inv)
	if err != nil {
		t.Fatal(err)
	}
	want := &worker.HTTPResult{Status: 201, Body: []byte("body"), Header: map[string][]string{
		"Content-Type": {"text/x"}, "X-Method": {"PUT"}, "Set-Cookie": {"a=1; max-age=60; path=/; secure; samesite=none", "b=2"}}}
	if diff := cmp.Diff(want, res.HTTP); diff != "" {
		t.Error(diff)
	}
}

func TestAFunctionThatFails(t *testing.T) {
	w := newFixture(t, "throw", "unload").start(t)
	_, err := w.Invoke(limited(t), invocation(w, "throw", ""))
	wantKind(t, err, problem.Internal, "function throw failed: it threw", "/app/src/thing.js:12:5")
	_, err = w.Invoke(limited(t), invocation(w, "unload", ""))
	wantKind(t, err, problem.Internal, "function unload cannot be loaded: it does not compile")
}

func TestLogsComeInOrderBeforeTheResult(t *testing.T) {
	f := newFixture(t, "logs")
	f.script.Flood = 2000
	w := f.start(t)
	inv := invocation(w, "logs", "")
	if _, err := w.Invoke(limited(t), inv); err != nil {
		t.Fatal(err)
	}
	users := f.logs.of("function") // all there as soon as the result is
	if len(users) != 2010 || users[1999].Message != "flood 1999" || users[2009].Message != "9" {
		t.Fatalf("%d lines, last %+v", len(users), users[len(users)-1])
	}
	if l := users[0]; l.InvocationID != inv.ID || l.Function != "logs" || l.Level != "info" {
		t.Errorf("line %+v", l)
	}
	metrics := f.logs.of("metric")
	if len(metrics) != 10 || cmp.Diff(map[string]string{"Name": "orders", "Value": "2.5"}, metrics[0].Properties) != "" {
		t.Errorf("metrics %+v", metrics)
	}
	if strings.Contains(strings.Join(f.logs.texts(), " "), "lost") {
		t.Error("a log of no invocation in progress was kept")
	}
}

func TestMessagesNobodyAskedForDoNoHarm(t *testing.T) {
	f := newFixture(t, "echo", "double")
	f.script.Unasked = true
	w := f.start(t)
	for n := range 20 {
		if got := string(invoke(t, w, "double", "x").Return); got != "" {
			t.Fatal(got)
		}
		if got := string(invoke(t, w, "echo", fmt.Sprint(n)).Return); got != fmt.Sprintf("%q", fmt.Sprint(n)) {
			t.Fatalf("echo %d gave %s", n, got)
		}
	}
}

func TestLargeMessages(t *testing.T) {
	w := newFixture(t, "echo", "big").start(t)
	const size = 24 << 20
	if got := len(invoke(t, w, "big", fmt.Sprint(size)).Return); got != size+2 {
		t.Errorf("%d bytes came back", got)
	}
	if got := len(invoke(t, w, "echo", strings.Repeat("x", size)).Return); got != size+2 {
		t.Errorf("%d bytes came back", got)
	}
}

func TestManyInvocationsAtOnce(t *testing.T) {
	for _, overFrames := range []bool{false, true} {
		f := newFixture(t, "echo", "logs", "big")
		f.cfg.Runtime.Frames = overFrames
		w := f.start(t)
		manyAtOnce(t, w)
		invoke(t, w, "logs", "")
		if n := len(f.logs.of("function")); n != 10 {
			t.Errorf("%d logs", n)
		}
		invoke(t, w, "big", fmt.Sprint(24<<20))
	}
}

func manyAtOnce(t *testing.T, w *rpc.Worker) {
	t.Helper()
	var all sync.WaitGroup
	for g := range 32 {
		inv := invocation(w, "echo", fmt.Sprint(g))
		all.Go(func() {
			for n := range 50 {
				one := *inv
				one.ID = fmt.Sprintf("%d-%d", g, n)
				res, err := w.Invoke(context.Background(), &one)
				if err != nil || string(res.Return) != fmt.Sprintf("%q", fmt.Sprint(g)) {
					t.Errorf("%v, %v", res, err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestACancelledInvocationIsToldToTheWorker(t *testing.T) {
	f := newFixture(t, "hang", "echo")
	f.script.Capabilities = map[string]string{"HandlesInvocationCancelMessage": "1"}
	w := f.start(t)
	ctx, cancel := context.WithCancel(context.Background())
	inv := invocation(w, "hang", "")
	done := make(chan error, 1)
	go func() { _, err := w.Invoke(ctx, inv); done <- err }()
	f.logs.await(t, "hanging")
	cancel()
	wantKind(t, receive(t, done), problem.Timeout, "cancelled")
	f.logs.await(t, "cancelled "+inv.ID)
	invoke(t, w, "echo", "still there")
}

func TestAnInvocationCancelledBeforeItBeganIsSentIfTheAppWantsThat(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		f := newFixture(t, "hang", "echo")
		f.script.Capabilities = map[string]string{"HandlesInvocationCancelMessage": "1"}
		f.cfg.App.Host.SendCanceledInvocations = wanted
		w := f.start(t)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		inv := invocation(w, "hang", "")
		_, err := w.Invoke(ctx, inv)
		wantKind(t, err, problem.Timeout, "cancelled")
		if wanted {
			f.logs.await(t, "cancelled "+inv.ID)
		}
		invoke(t, w, "echo", "still there")
		if sent := slices.Contains(f.logs.texts(), "hanging"); sent != wanted {
			t.Errorf("wanted %v, sent %v", wanted, sent)
		}
	}
}

func TestTheTypeOfAUsersExceptionIsToldIfTheWorkerWantsThat(t *testing.T) {
	f := newFixture(t, "throw")
	w := f.start(t)
	_, err := w.Invoke(limited(t), invocation(w, "throw", ""))
	wantKind(t, err, problem.Internal, "failed: it threw")
	f.script.Capabilities = map[string]string{"EnableUserCodeException": "true"}
	w = f.start(t)
	_, err = w.Invoke(limited(t), invocation(w, "throw", ""))
	wantKind(t, err, problem.Internal, "failed: Error: it threw")
}

func TestLinesForToolsAreDebugOutput(t *testing.T) {
	f := newFixture(t, "tool")
	w := f.start(t)
	invoke(t, w, "tool", "")
	line := f.logs.await(t, `{"name":"dotnet-worker-startup"}`)
	if line.Level != "debug" || line.Category != "tooling" || strings.Contains(line.Message, "azfuncjsonlog") {
		t.Errorf("%+v", line)
	}
}

func TestOnlyWorkersThatDialInHaveADoor(t *testing.T) {
	for _, overFrames := range []bool{false, true} {
		f := newFixture(t, "echo")
		f.cfg.Runtime.Frames = overFrames
		w := f.start(t)
		invoke(t, w, "echo", "hello")
		if open := w.HasDoor(); open == overFrames {
			t.Errorf("over frames %v, open %v", overFrames, open)
		}
	}
}

func TestAFunctionThatNeverEndsCostsItsProcess(t *testing.T) {
	f := newFixture(t, "hang", "pid", "echo")
	w := f.start(t)
	before := w.PID()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	var all sync.WaitGroup
	for range 4 { // at once: the process is replaced once
		inv := invocation(w, "hang", "")
		all.Go(func() {
			_, err := w.Invoke(ctx, inv)
			if problem.KindOf(err) != problem.Timeout && problem.KindOf(err) != problem.Unavailable {
				t.Errorf("error %v", err)
			}
		})
	}
	all.Wait()
	if got := string(invoke(t, w, "pid", "").Return); got == fmt.Sprintf("%q", fmt.Sprint(before)) {
		t.Error("the process is still the same")
	}
	if pids := w.PIDs(); len(pids) != 1 {
		t.Errorf("processes %v", pids)
	}
	select {
	case <-w.Exited():
		t.Error("the worker has ended")
	default:
	}
}

func TestStopTellsWorkersThatUnderstandIt(t *testing.T) {
	f := newFixture(t, "echo")
	f.script.Capabilities = map[string]string{"HandlesWorkerTerminateMessage": "1"}
	w := f.start(t)
	if err := w.Stop(limited(t)); err != nil {
		t.Fatal(err)
	}
	f.logs.await(t, "terminated within 5s")
	if e := w.Exit(); e.Code != 0 {
		t.Errorf("exit %+v", e)
	}
	_, err := w.Invoke(limited(t), invocation(w, "echo", ""))
	wantKind(t, err, problem.Unavailable)
	wantKind(t, w.Start(limited(t)), problem.Unavailable)
}

func TestStopKillsAWorkerThatDoesNotEnd(t *testing.T) {
	f := newFixture(t, "echo")
	f.script.Capabilities = map[string]string{"HandlesWorkerTerminateMessage": "1"}
	f.script.SilentAt, f.script.LeavesChild = testworker.AtTerminate, true
	w := f.start(t)
	pid := w.PID()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if e := w.Exit(); e.Signal != "killed" {
		t.Errorf("exit %+v", e)
	}
	until(t, "the end of the process group", func() bool { return !groupExists(pid) })
}

// groupExists reports whether a process of a group runs.
func groupExists(group int) bool {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		if len(fields) > 2 && fields[2] == fmt.Sprint(group) && fields[0] != "Z" {
			return true
		}
	}
	return false
}
