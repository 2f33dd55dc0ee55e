package hosttest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/testkit"
)

// inbox is a custom handler that keeps what functions were called with, and fails
// for the function named fails.
type inbox struct {
	mu    sync.Mutex
	calls map[string][]string // by function
}

func (b *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.calls == nil {
		b.calls = map[string][]string{}
	}
	b.calls[r.URL.Path] = append(b.calls[r.URL.Path], string(body))
	if r.URL.Path == "/fails" {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"Outputs":{},"Logs":[],"ReturnValue":null}`))
}

func (b *inbox) of(function string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls["/"+function]
}

func eventFunction(more string) string {
	return `{"bindings":[{"type":"eventGridTrigger","name":"event","direction":"in"` + more + `}]}`
}

// systemKey waits for the key that an app's webhook gets when the app runs.
func systemKey(t *testing.T, h *testkit.Host, name string) string {
	t.Helper()
	deadline := time.Now().Add(2 * testkit.Patience)
	for {
		k, err := h.Node.Keys().Get(t.Context(), keyring.SystemKeys(), name)
		if err == nil {
			return k.Value
		}
		if time.Now().After(deadline) {
			t.Fatalf("no key %s: %v", name, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// publish delivers a batch as Event Grid does.
func publish(t *testing.T, h *testkit.Host, function, kind, code, body string) testkit.Answer {
	t.Helper()
	return h.Send(t, testkit.Request{
		Method: http.MethodPost, Path: "/runtime/webhooks/eventgrid?functionName=" + function + "&code=" + code, Body: body,
		Header: map[string]string{"aeg-event-type": kind, "aeg-subscription-name": "ORDERS", "aeg-delivery-count": "0", "Content-Type": "application/json; charset=utf-8"},
	})
}

func TestEventGridReachesFunctions(t *testing.T) {
	box := &inbox{}
	h := testkit.Start(t, testkit.App{Handler: box, Files: map[string]string{
		"one/function.json": eventFunction(""), "many/function.json": eventFunction(`,"cardinality":"many"`), "fails/function.json": eventFunction(""),
	}})
	code := systemKey(t, h, "eventgrid_extension") // nobody asked for it
	const batch = `[{"id":"1","subject":"a","eventType":"T","data":{"n":1},"dataVersion":"1","eventTime":"2026-11-20T10:00:00Z","topic":"t","metadataVersion":"1"},` +
		`{"id":"2","subject":"b","eventType":"T","data":{"n":2},"dataVersion":"1","eventTime":"2026-11-20T10:00:00Z","topic":"t","metadataVersion":"1"}]`
	a := publish(t, h, "one", "SubscriptionValidation", code, `[{"data":{"validationCode":"c-1"}}]`).WantStatus(t, 200)
	if a.Body != `{"validationResponse":"c-1"}`+"\n" {
		t.Errorf("handshake: %q", a.Body)
	}
	publish(t, h, "one", "Notification", code, batch).WantStatus(t, 202)
	publish(t, h, "many", "Notification", code, batch).WantStatus(t, 202)
	publish(t, h, "fails", "Notification", code, batch).WantStatus(t, 500)
	publish(t, h, "nobody", "Notification", code, batch).WantStatus(t, 404)
	publish(t, h, "one", "Notification", code, "{").WantStatus(t, 400)
	publish(t, h, "one", "Notification", "wrong", batch).WantStatus(t, 401).WantEmpty(t)
	publish(t, h, "one", "Notification", h.SystemKey(t, "durabletask"), batch).WantStatus(t, 403).WantEmpty(t)
	publish(t, h, "one", "Notification", h.HostKey(t), batch).WantStatus(t, 403).WantEmpty(t)
	publish(t, h, "one", "Notification", h.Master(t), batch).WantStatus(t, 202)
	if one, many := box.of("one"), box.of("many"); len(one) != 4 || len(many) != 1 {
		t.Fatalf("%d and %d invocations, want 4 and 1", len(one), len(many))
	}
	var got struct {
		Data     struct{ Event struct{ ID string } }
		Metadata struct{ Data struct{ N int } }
	}
	if err := json.Unmarshal([]byte(box.of("one")[0]), &got); err != nil || got.Data.Event.ID == "" || got.Metadata.Data.N == 0 {
		t.Errorf("%v: the function got %s", err, box.of("one")[0])
	}
}

func TestTheKeyOfEventGridIsNotMadeAnew(t *testing.T) {
	app := testkit.App{Handler: &inbox{}, Files: map[string]string{"one/function.json": eventFunction("")}}
	h := testkit.Start(t, app)
	code := systemKey(t, h, "eventgrid_extension")
	h.WriteFile(t, "two/function.json", eventFunction(""))
	h.Node.Instance().Restart("a function was added")
	deadline := time.Now().Add(2 * testkit.Patience)
	for publish(t, h, "two", "Notification", code, "[]").Status != 202 {
		if time.Now().After(deadline) {
			t.Fatal("the function that was added takes no events")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if again := systemKey(t, h, "eventgrid_extension"); again != code {
		t.Error("the key was replaced")
	}
}

func TestAnAppWithoutEventsGetsNoKeyForThem(t *testing.T) {
	h := testkit.Start(t, testkit.App{Files: map[string]string{"web/function.json": testkit.HTTPFunction("anonymous", "")}})
	h.Get(t, "/api/web", "") // the app runs
	keys, err := h.Node.Keys().List(t.Context(), keyring.SystemKeys())
	if err != nil || len(keys) != 0 {
		t.Errorf("%d system keys, %v", len(keys), err)
	}
}

func TestAReadOnlyStoreKeepsAWebhookFromItsKeyAndTheStatusSaysSo(t *testing.T) {
	dir := t.TempDir()
	write := func(name, value string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("host.master", "a-master-key-in-clear-that-is-long-enough")
	h := testkit.Start(t, testkit.App{
		Handler: &inbox{}, Files: map[string]string{"one/function.json": eventFunction("")},
		Settings: map[string]string{"AzureWebJobsSecretStorageType": "kubernetes", "LATCHKEY_MOUNTED_KEYS": dir},
	})
	deadline := time.Now().Add(2 * testkit.Patience)
	await := func(what string, done func() bool) {
		t.Helper()
		for !done() {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %q", what, h.Node.Instance().Deaf("one"))
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	await("the status does not tell", func() bool { return strings.Contains(h.Node.Instance().Deaf("one"), "eventgrid has no system key") })
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("%d files, %v: something was written", len(names), err)
	}
	write("host.systemKey.eventgrid_extension", "a-system-key-in-clear-that-is-long-enough") // whoever may write adds it
	await("the key that was added does not serve", func() bool {
		return publish(t, h, "one", "Notification", "a-system-key-in-clear-that-is-long-enough", "[]").Status == 202
	})
}
