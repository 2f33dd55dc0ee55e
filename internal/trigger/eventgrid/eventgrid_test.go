package eventgrid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/worker"
)

// app is an endpoint with functions, the invocations of which are kept.
type app struct {
	*Endpoint
	clock *clock.Manual

	mu    sync.Mutex
	calls []trigger.Call
	on    func(context.Context, trigger.Call) error // nil: succeed
	// expected are functions that the app has, listening or not.
	expected map[string]bool
}

func newApp(t *testing.T) *app {
	t.Helper()
	a := &app{clock: clock.NewManual(time.Unix(1_700_000_000, 0)), expected: map[string]bool{}}
	a.Endpoint = New(Config{Clock: a.clock, Log: slog.New(slog.DiscardHandler), Expected: func(name string) bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.expected[name]
	}})
	return a
}

func (a *app) invoke(ctx context.Context, c trigger.Call) (*worker.Result, error) {
	a.mu.Lock()
	a.calls = append(a.calls, c)
	on := a.on
	a.mu.Unlock()
	if on == nil {
		return &worker.Result{}, nil
	}
	return nil, on(ctx, c)
}

func (a *app) listen(t *testing.T, function, cardinality string) trigger.Listener {
	t.Helper()
	l, err := a.Listener(&trigger.Setup{
		Function: &funcapp.Function{Name: function}, Binding: &funcapp.Binding{Type: Type, Cardinality: cardinality},
		Invoke: a.invoke, Log: slog.New(slog.DiscardHandler), Clock: a.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

// publisher delivers as Event Grid does.
type publisher struct {
	url          string
	subscription string
}

func (p publisher) deliver(t *testing.T, function, kind, contentType, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/runtime/webhooks/eventgrid?functionName="+function, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if kind != "" {
		req.Header.Set("aeg-event-type", kind)
	}
	req.Header.Set("aeg-subscription-name", p.subscription)
	req.Header.Set("aeg-delivery-count", "0")
	req.Header.Set("aeg-data-version", "1.0")
	req.Header.Set("aeg-metadata-version", "1")
	return send(t, req)
}

func send(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b strings.Builder
	if _, err := fmt.Fprint(&b, res.Header.Get("WebHook-Allowed-Origin"), res.Header.Get("WebHook-Allowed-Rate")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	for {
		n, err := res.Body.Read(buf)
		b.Write(buf[:n])
		if err != nil {
			return res.StatusCode, strings.TrimSpace(b.String())
		}
	}
}

func serve(t *testing.T, h http.Handler) publisher {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return publisher{url: s.URL, subscription: "ORDERS"}
}

const (
	gridJSON  = "application/json; charset=utf-8"
	cloudJSON = "application/cloudevents+json; charset=utf-8"
	cloudMany = "application/cloudevents-batch+json; charset=utf-8"
)

func gridEvent(id string) string {
	return fmt.Sprintf(`{"topic":"/subscriptions/0/resourceGroups/g/providers/Microsoft.EventGrid/topics/orders","subject":"orders/%[1]s","eventType":"Order.Placed","id":"%[1]s","eventTime":"2026-11-20T10:00:00.123Z","data":{"number":"%[1]s"},"dataVersion":"1.0","metadataVersion":"1"}`, id)
}

func cloudEvent(id string) string {
	return fmt.Sprintf(`{"specversion":"1.0","type":"order.placed","source":"/shops/1","id":"%[1]s","time":"2026-11-20T10:00:00Z","datacontenttype":"application/json","data":{"number":"%[1]s"},"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","tracestate":"a=b"}`, id)
}

func TestDeliveriesAreAnsweredAsDocumented(t *testing.T) {
	const grid = "SubscriptionValidation"
	tests := map[string]struct {
		function, kind, contentType, body string
		status                            int
		answer                            string
		calls                             int
	}{
		"validation of Event Grid's schema": {"one", grid, gridJSON, `[{"id":"1","topic":"t","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"512d-4a","validationUrl":"https://x.test"}}]`, 200, `{"validationResponse":"512d-4a"}`, 0},
		"validation of CloudEvents":         {"one", grid, cloudJSON, `{"specversion":"1.0","id":"1","data":"{\"validationCode\":\"77\"}"}`, 200, `{"validationResponse":"77"}`, 0},
		"validation with data as an object": {"one", grid, cloudJSON, `{"data":{"validationCode":"78"}}`, 200, `{"validationResponse":"78"}`, 0},
		"validation ignores case":           {"ONE", "subscriptionvalidation", gridJSON, `[{"data":{"validationCode":"9"}}]`, 200, `{"validationResponse":"9"}`, 0},
		"validation without code":           {"one", grid, gridJSON, `[{"data":{}}]`, 400, "the body has no data.validationCode", 0},
		"validation without events":         {"one", grid, gridJSON, `[]`, 400, "the body has no data.validationCode", 0},
		"validation of no JSON":             {"one", grid, gridJSON, `{`, 400, "the body is not JSON", 0},
		"one event":                         {"one", "Notification", gridJSON, "[" + gridEvent("1") + "]", 202, "", 1},
		"a batch, one by one":               {"one", "Notification", gridJSON, "[" + gridEvent("1") + "," + gridEvent("2") + "]", 202, "", 2},
		"a batch at once":                   {"many", "Notification", gridJSON, "[" + gridEvent("1") + "," + gridEvent("2") + "]", 202, "", 1},
		"a CloudEvent":                      {"one", "Notification", cloudJSON, cloudEvent("1"), 202, "", 1},
		"a CloudEvent for many":             {"many", "Notification", cloudJSON, cloudEvent("1"), 202, "", 1},
		"a batch of CloudEvents":            {"one", "Notification", cloudMany, "[" + cloudEvent("1") + "," + cloudEvent("2") + "," + cloudEvent("3") + "]", 202, "", 3},
		"no events":                         {"one", "Notification", gridJSON, `[]`, 202, "", 0},
		"a byte order mark":                 {"one", "Notification", gridJSON, "\xef\xbb\xbf[" + gridEvent("1") + "]", 202, "", 1},
		"unsubscribed":                      {"one", "Unsubscribe", gridJSON, `[]`, 202, "", 0},
		"another type":                      {"one", "Surprise", gridJSON, `[]`, 400, "the header aeg-event-type is missing or unknown", 0},
		"no type":                           {"one", "", gridJSON, `[]`, 400, "the header aeg-event-type is missing or unknown", 0},
		"a function that is not there":      {"gone", "Notification", gridJSON, `[]`, 404, "cannot find function: 'gone'", 0},
		"no function":                       {"", "Notification", gridJSON, `[]`, 404, "cannot find function: ''", 0},
		"malformed JSON":                    {"one", "Notification", gridJSON, `[{"id":`, 400, "the body is not JSON", 0},
		"an empty body":                     {"one", "Notification", gridJSON, ``, 400, "the body is not JSON", 0},
		"a text":                            {"one", "Notification", gridJSON, `"x"`, 400, "the body must be an event or an array of events", 0},
		"an event that is a number":         {"one", "Notification", gridJSON, "[" + gridEvent("1") + ",7]", 400, "event 1 is not a JSON object", 0},
		"too many events":                   {"one", "Notification", gridJSON, "[" + strings.Repeat("{},", maxEvents) + "{}]", 413, "more than 5000 events at once", 0},
		"a body that is too large":          {"one", "Notification", gridJSON, `[{"data":"` + strings.Repeat("x", maxBody) + `"}]`, 413, "a delivery may have 2097152 bytes", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := newApp(t)
			defer a.listen(t, "one", "").Stop(t.Context())
			defer a.listen(t, "many", "many").Stop(t.Context())
			status, body := serve(t, a).deliver(t, test.function, test.kind, test.contentType, test.body)
			if status != test.status || body != test.answer {
				t.Errorf("answer %d %q, want %d %q", status, body, test.status, test.answer)
			}
			if len(a.calls) != test.calls {
				t.Errorf("%d invocations, want %d", len(a.calls), test.calls)
			}
		})
	}
}

func TestFunctionsGetEventAndData(t *testing.T) {
	a := newApp(t)
	defer a.listen(t, "one", "one").Stop(t.Context())
	defer a.listen(t, "many", "many").Stop(t.Context())
	p := serve(t, a)
	p.deliver(t, "one", "Notification", cloudJSON, cloudEvent("1"))
	p.deliver(t, "many", "Notification", gridJSON, "["+gridEvent("1")+",{\"id\":\"2\"}]")
	if len(a.calls) != 2 {
		t.Fatalf("%d invocations, want 2", len(a.calls))
	}
	one, many := a.calls[0], a.calls[1]
	if got := string(one.Input.(json.RawMessage)); got != cloudEvent("1") {
		t.Errorf("the event came as %s", got)
	}
	if got := string(one.Metadata["data"].(json.RawMessage)); got != `{"number":"1"}` {
		t.Errorf("data %s", got)
	}
	if one.Trace.Parent != "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" || one.Trace.State != "a=b" {
		t.Errorf("trace %+v", one.Trace)
	}
	if got := string(many.Input.(json.RawMessage)); got != "["+gridEvent("1")+",{\"id\":\"2\"}]" {
		t.Errorf("the events came as %s", got)
	}
	if got := string(many.Metadata["data"].(json.RawMessage)); got != `[{"number":"1"},null]` {
		t.Errorf("data %s", got)
	}
}

func TestFailuresAreSentAgain(t *testing.T) {
	tests := map[string]struct {
		err    error
		status int
		answer string
	}{
		"the function fails":     {errors.New("secret detail"), 500, "Exception while executing function: one"},
		"the app is not there":   {fmt.Errorf("x: %w", trigger.ErrNotRun), 503, "the function was not started"},
		"one of three is enough": {nil, 500, "Exception while executing function: one"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := newApp(t)
			a.on = func(_ context.Context, c trigger.Call) error {
				if test.err != nil {
					return test.err
				}
				if strings.Contains(string(c.Input.(json.RawMessage)), `"id":"2"`) {
					return errors.New("two")
				}
				return nil
			}
			defer a.listen(t, "one", "").Stop(t.Context())
			status, body := serve(t, a).deliver(t, "one", "Notification", gridJSON, "["+gridEvent("1")+","+gridEvent("2")+","+gridEvent("3")+"]")
			if status != test.status || body != test.answer {
				t.Errorf("answer %d %q, want %d %q", status, body, test.status, test.answer)
			}
			if len(a.calls) != 3 {
				t.Errorf("%d invocations, want all 3", len(a.calls))
			}
		})
	}
}

func TestSendersOfCloudEventsAskFirst(t *testing.T) {
	tests := map[string]struct {
		origin, rate string
		status       int
		answer       string
	}{
		"with origin":   {"eventgrid.azure.net", "", 200, "eventgrid.azure.net*"},
		"with a rate":   {"eventgrid.azure.net", "120", 200, "eventgrid.azure.net120"},
		"without":       {"", "", 400, "the header WebHook-Request-Origin is missing"},
		"no such rate":  {"e.test", "many", 200, "e.test*"},
		"negative rate": {"e.test", "-1", 200, "e.test*"},
	}
	a := newApp(t)
	defer a.listen(t, "one", "").Stop(t.Context())
	p := serve(t, a)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, p.url+"/?functionName=one", nil)
			if err != nil {
				t.Fatal(err)
			}
			if test.origin != "" {
				req.Header.Set("WebHook-Request-Origin", test.origin)
			}
			req.Header.Set("WebHook-Request-Rate", test.rate)
			if status, answer := send(t, req); status != test.status || answer != test.answer {
				t.Errorf("answer %d %q, want %d %q", status, answer, test.status, test.answer)
			}
		})
	}
}

func TestNoMoreInvocationsThanPlaces(t *testing.T) {
	a := newApp(t)
	full, free := make(chan struct{}), make(chan struct{})
	var running, most int
	var once sync.Once // there may be as many again later
	a.on = func(context.Context, trigger.Call) error {
		a.mu.Lock()
		if running++; running == maxInvocations {
			once.Do(func() { close(full) })
		}
		most = max(most, running)
		a.mu.Unlock()
		<-free
		a.mu.Lock()
		running--
		a.mu.Unlock()
		return nil
	}
	defer a.listen(t, "one", "").Stop(t.Context())
	p := serve(t, a)
	go func() { <-full; close(free) }()
	body := "[" + strings.Repeat("{},", 2*maxInvocations) + "{}]"
	if status, _ := p.deliver(t, "one", "Notification", gridJSON, body); status != 202 {
		t.Errorf("status %d", status)
	}
	if most > maxInvocations || len(a.calls) != 2*maxInvocations+1 {
		t.Errorf("%d at a time, %d in all", most, len(a.calls))
	}
}

func TestEventsWaitWhileTheAppRestarts(t *testing.T) {
	a := newApp(t)
	a.expected["one"] = true
	p := serve(t, a)
	first := a.listen(t, "one", "")
	first.Stop(t.Context())
	done := make(chan int, 1)
	go func() {
		status, _ := p.deliver(t, "one", "Notification", gridJSON, "["+gridEvent("1")+"]")
		done <- status
	}()
	if err := a.clock.AwaitTimers(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	defer a.listen(t, "one", "").Stop(t.Context())
	if status := receive(t, done); status != 202 {
		t.Errorf("status %d, want 202 from the listener after the restart", status)
	}
}

func TestEventsAreAskedForAgainWhenTheFunctionDoesNotListen(t *testing.T) {
	a := newApp(t)
	a.expected["one"] = true
	p := serve(t, a)
	done := make(chan int, 1)
	go func() {
		status, _ := p.deliver(t, "one", "Notification", gridJSON, "["+gridEvent("1")+"]")
		done <- status
	}()
	if err := a.clock.AwaitTimers(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	a.clock.Advance(patience)
	if status := receive(t, done); status != 503 {
		t.Errorf("status %d, want 503", status)
	}
}

func TestStopWaitsForWorkThenCancelsIt(t *testing.T) {
	a := newApp(t)
	started := make(chan struct{})
	a.on = func(ctx context.Context, _ trigger.Call) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	}
	l := a.listen(t, "one", "")
	p := serve(t, a)
	done := make(chan int, 1)
	go func() {
		status, _ := p.deliver(t, "one", "Notification", gridJSON, "["+gridEvent("1")+"]")
		done <- status
	}()
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.Stop(ctx)
	if status := receive(t, done); status != 500 {
		t.Errorf("status %d, want 500", status)
	}
	if status, _ := p.deliver(t, "one", "Notification", gridJSON, "[]"); status != 404 {
		t.Errorf("after Stop: status %d, want 404", status)
	}
}

func TestAListenerWithoutItsKeyDoesNotStart(t *testing.T) {
	broken := errors.New("the key store is read-only and has no key eventgrid_extension")
	e := New(Config{Clock: clock.NewManual(time.Unix(0, 0)), Log: slog.New(slog.DiscardHandler), Prepare: func(context.Context) error { return broken }})
	l, err := e.Listener(&trigger.Setup{Function: &funcapp.Function{Name: "one"}, Binding: &funcapp.Binding{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(t.Context()); !errors.Is(err, broken) {
		t.Errorf("Start: %v, want what Prepare said", err)
	}
}

func TestCheckFindsAWrongDirection(t *testing.T) {
	e := New(Config{})
	for d, want := range map[funcapp.Direction]int{funcapp.In: 0, funcapp.Out: 1, funcapp.InOut: 1} {
		if got := len(e.Check(&trigger.Setup{Binding: &funcapp.Binding{Direction: d}})); got != want {
			t.Errorf("direction %d: %d faults, want %d", d, got, want)
		}
	}
}

func FuzzParseEvents(f *testing.F) {
	for _, s := range []string{"", "[]", "{}", "[" + gridEvent("1") + "]", cloudEvent("1"), `[{"data":"{"}]`, `"x"`, "[1]", "[null]"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		events, whole, err := parseEvents(body)
		_, _ = validationCode(body)
		if err != nil {
			return
		}
		if !json.Valid(whole) || !json.Valid(manyData(events)) {
			t.Errorf("%q: not JSON any more: %s", body, whole)
		}
		for i := range events {
			_ = events[i].trace()
			if !json.Valid(events[i].raw) || !json.Valid(events[i].data()) {
				t.Errorf("%q: event %d is not JSON", body, i)
			}
		}
	})
}

// receive takes a value from a channel, or finds it closed; it does not wait for ever.
func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}
