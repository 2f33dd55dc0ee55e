package custom_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
)

// sent gives the document the handler received for inv.
func sent(t *testing.T, f *fixture, inv *worker.Invocation) (doc string, header string) {
	t.Helper()
	inv.Function.Name = "echo"
	if inv.Function.HTTP() == nil { // the echo answers through an http output
		inv.Function.Bindings = append(inv.Function.Bindings, funcapp.Binding{Name: "res", Type: "http", Direction: funcapp.Out})
	}
	res, err := f.start(t).Invoke(t.Context(), inv)
	if err != nil {
		t.Fatal(err)
	}
	return string(res.HTTP.Body), strings.Join(res.HTTP.Header["X-Seen"], "\n")
}

func wantJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
}

// timeless makes what the worker draws or reads from the clock predictable.
func timeless(doc string) string {
	var d map[string]map[string]any
	_ = json.Unmarshal([]byte(doc), &d)
	if sys, ok := d["Metadata"]["sys"].(map[string]any); ok && len(sys["RandGuid"].(string)) == 36 {
		sys["RandGuid"] = "guid"
	}
	raw, _ := json.Marshal(d)
	return string(raw)
}

func TestAnHTTPInvocationIsOneDocument(t *testing.T) {
	f := newFixture(t, "serve")
	r := httptest.NewRequest(http.MethodPost, "/api/echo/7?name=A%20B&name=C&Code=the-key&x=%zz", nil)
	r.Header = http.Header{"Content-Type": {"application/json"}, "X-Latchkey-Key-Name": {"forged"}, "X_latchkey_key_name": {"forged"}}
	inv := call(httpFunction("echo"))
	inv.Request, inv.Body = r, []byte(`{"name":"body","n":5,"o":{"p":1},"list":[1],"nothing":null}`)
	inv.RouteParams = map[string]string{"id": "7"}
	inv.StripKey, inv.KeyName, inv.KeyLevel = true, "default", "Function"
	doc, header := sent(t, f, inv)
	wantJSON(t, withoutTime(timeless(doc)), `{
	"Data": {"req": {
		"Url": "http://example.com/api/echo/7?name=A%20B&name=C&x=%zz",
		"Method": "POST",
		"Query": {"name": "A B,C", "x": "%zz"},
		"Headers": {"Content-Type": ["application/json"], "Host": ["example.com"]},
		"Params": {"id": "7"},
		"Identities": [{"AuthenticationType": "WebJobsAuthLevel", "IsAuthenticated": true, "Actor": null, "BootstrapContext": null,
			"Claims": [`+claimJSON("http://schemas.microsoft.com/2017/07/functions/claims/authlevel", "Function")+`,
				`+claimJSON("http://schemas.microsoft.com/2017/07/functions/claims/keyid", "default")+`],
			"Label": null, "Name": null,
			"NameClaimType": "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
			"RoleClaimType": "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"}],
		"Body": "{\"name\":\"body\",\"n\":5,\"o\":{\"p\":1},\"list\":[1],\"nothing\":null}"}},
	"Metadata": {
		"name": "\"A B,C\"", "x": "\"%zz\"", "n": "5", "o": {"p": 1}, "id": "\"7\"",
		"Query": {"name": "A B,C", "x": "%zz"},
		"Headers": {"Content-Type": "application/json", "Host": "example.com"},
		"sys": {"MethodName": "echo", "RandGuid": "guid"}}}`)
	for _, want := range []string{"X-Azure-Functions-Invocationid=11111111-2222-4333-8444-555555555555",
		"X-Azure-Functions-Hostversion=4.1037.0", "User-Agent=Azure-Functions-Host/4.1037.0", "X-Latchkey-Key-Name=default"} {
		if !strings.Contains(header, want) {
			t.Errorf("request fields %s lack %s", header, want)
		}
	}
	if strings.Contains(doc+header, "the-key") {
		t.Error("the access key reached the function")
	}
}

// withoutTime takes the time out of a document.
func withoutTime(doc string) string {
	var d map[string]map[string]any
	_ = json.Unmarshal([]byte(doc), &d)
	delete(d["Metadata"]["sys"].(map[string]any), "UtcNow")
	raw, _ := json.Marshal(d)
	return string(raw)
}

func claimJSON(kind, value string) string {
	return `{"Issuer": "LOCAL AUTHORITY", "OriginalIssuer": "LOCAL AUTHORITY", "Properties": {}, "Type": "` + kind +
		`", "Value": "` + value + `", "ValueType": "http://www.w3.org/2001/XMLSchema#string"}`
}

func TestTriggerValuesAreEncodedAsHandlersExpect(t *testing.T) {
	for _, tc := range []struct {
		name  string
		input any
		want  string
	}{
		{"text is encoded twice", "hello", `"\"hello\""`},
		{"JSON text stays text", `{"a":1}`, `"\"{\\\"a\\\":1}\""`},
		{"an object stays one", json.RawMessage(`{"a":"<b>"}`), `{"a":"<b>"}`},
		{"a table is an object", map[string]any{"a": 1}, `{"a":1}`},
		{"an array becomes text", json.RawMessage(`[1, 2]`), `"[1,2]"`},
		{"a number becomes text", 5, `"5"`},
		{"nothing becomes the text null", nil, `"null"`},
		{"bytes are base64", []byte{0xff, 0}, `"/wA="`},
		{"a time is a date", time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC), `"2025-01-02T03:04:05Z"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFixture(t, "serve")
			inv := &worker.Invocation{ID: "id", Input: tc.input, Function: &funcapp.Function{
				Bindings: []funcapp.Binding{{Name: "msg", Type: "queueTrigger"}}}}
			doc, _ := sent(t, f, inv)
			var d struct{ Data map[string]json.RawMessage }
			if err := json.Unmarshal([]byte(doc), &d); err != nil {
				t.Fatal(err)
			}
			if got := string(d.Data["msg"]); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestMetadataOfOtherTriggers(t *testing.T) {
	f := newFixture(t, "serve")
	f.cfg.Clock = fixedClock{}
	inv := &worker.Invocation{ID: "id", Input: "x", HasRetry: true, RetryCount: 1, MaxRetries: 3, LastError: "it broke",
		Metadata: map[string]any{"DequeueCount": 2, "Id": "abc", "QueueTrigger": "x", "gone": nil, "sys": map[string]any{"RandGuid": strings.Repeat("g", 36)}},
		Function: &funcapp.Function{Bindings: []funcapp.Binding{{Name: "msg", Type: "queueTrigger"}}}}
	doc, _ := sent(t, f, inv)
	wantJSON(t, timeless(doc), `{"Data": {"msg": "\"x\""}, "Metadata": {"DequeueCount": "2", "Id": "\"abc\"", "sys": {"RandGuid": "guid"},
		"RetryContext": {"RetryCount": 1, "MaxRetryCount": 3, "Exception": {"Message": "it broke"}}}}`)
}

type fixedClock struct{ clock.Real }

func (fixedClock) Now() time.Time { return time.Unix(0, 0) }

func TestBodiesThatAreNoTextAreBase64(t *testing.T) {
	for _, tc := range []struct{ kind, body, want string }{
		{"text/plain", "grüße", "grüße"},
		{"text/plain", "\xef\xbb\xbfmark", "mark"},
		{"text/plain; charset=iso-8859-1", "gr\xfc\xdfe", "grüße"},
		{"application/octet-stream", "abc", "YWJj"},
		{"multipart/form-data; boundary=x", "abc", "YWJj"},
		{"text/plain", "\xff\xfe", "//4="},
		{"", "abc", "abc"},
	} {
		f := newFixture(t, "serve")
		inv := call(httpFunction("echo"))
		inv.Body = []byte(tc.body)
		inv.Request.Header.Set("Content-Type", tc.kind)
		doc, _ := sent(t, f, inv)
		var d struct {
			Data map[string]struct {
				Body       *string
				Identities []struct{ IsAuthenticated bool }
			}
		}
		if err := json.Unmarshal([]byte(doc), &d); err != nil {
			t.Fatal(err)
		}
		if got := d.Data["req"]; got.Body == nil || *got.Body != tc.want || len(got.Identities) != 1 || got.Identities[0].IsAuthenticated {
			t.Errorf("%s %q: got %+v, want body %q and one unauthenticated identity", tc.kind, tc.body, got, tc.want)
		}
	}
}

func TestFailedInvocationsSayWhy(t *testing.T) {
	f := newFixture(t, "serve")
	f.cfg.MaxAnswerBytes = 1 << 20
	w := f.start(t)
	for _, tc := range []struct {
		function string
		kind     problem.Kind
		want     string
	}{
		{"text", problem.Internal, "enableForwardingHttpRequest"},
		{"failing", problem.Internal, "status 500"},
		{"redirect", problem.Internal, "status 302"},
		{"huge", problem.Internal, "larger than 1048576 bytes"},
		{"hangup", problem.Internal, "without an answer"},
		{"half", problem.Internal, ""},
	} {
		_, err := w.Invoke(t.Context(), call(httpFunction(tc.function)))
		t.Log(tc.function, err)
		wantKind(t, err, tc.kind, tc.want)
	}
	if l := f.logs.await(t, "last words"); l.Source != "function" || l.Function != "failing" || l.Level != "info" || l.InvocationID == "" {
		t.Errorf("log of a failed function %+v", l)
	}
	res, err := w.Invoke(t.Context(), call(httpFunction("empty")))
	if err != nil || res.HTTP != nil {
		t.Errorf("an empty answer gave %+v, %v; want no result and no error", res, err)
	}
}

func TestInvokeEndsWithItsDeadline(t *testing.T) {
	f := newFixture(t, "serve")
	w := f.start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := w.Invoke(ctx, call(httpFunction("hang")))
	wantKind(t, err, problem.Timeout)
}

func TestStopEndsInvocationsInFlight(t *testing.T) {
	f := newFixture(t, "serve")
	w := f.start(t)
	result := make(chan error, 1)
	go func() { _, err := w.Invoke(t.Context(), call(httpFunction("hang"))); result <- err }()
	f.logs.await(t, "hanging")
	stop(t, w, patience)
	wantKind(t, receive(t, result), problem.Unavailable, "terminated")
}
