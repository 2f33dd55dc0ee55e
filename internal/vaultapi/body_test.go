package vaultapi

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/vault/secrets"
)

func TestBodiesThatAreRefused(t *testing.T) {
	tests := []struct{ name, body, message string }{
		{"none", "", "body is missing"},
		{"blank", " \n", "body is missing"},
		{"no json", "{", "not valid JSON"},
		{"two values", "{}{}", "not valid JSON"},
		{"list", "[]", "body must be an object"},
		{"null", "null", "body must be an object"},
		{"no value", "{}", "Property value is missing"},
		{"value null", `{"value":null}`, "Property value is missing"},
		{"value number", `{"value":1}`, "Property value has an invalid value: it must be a string"},
		{"value object", `{"value":{}}`, "Property value "},
		{"content type", `{"value":"s","contentType":1}`, "Property contentType has an invalid value: it must be a string"},
		{"tags text", `{"value":"s","tags":"x"}`, "Property tags has an invalid value: it must be an object of strings"},
		{"tag number", `{"value":"s","tags":{"a":1}}`, "Property tags "},
		{"tag null", `{"value":"s","tags":{"a":null}}`, "Property tags "},
		{"attributes text", `{"value":"s","attributes":"x"}`, "Property attributes has an invalid value: it must be an object"},
		{"enabled text", `{"value":"s","attributes":{"enabled":"true"}}`, "Property attributes.enabled has an invalid value: it must be true or false"},
		{"nbf text", `{"value":"s","attributes":{"nbf":"2020-01-01"}}`, "Property attributes.nbf "},
		{"exp fraction", `{"value":"s","attributes":{"exp":1.5}}`, "Property attributes.exp has an invalid value: it must be a whole number of seconds since 1970"},
		{"exp negative", `{"value":"s","attributes":{"exp":-1}}`, "Property attributes.exp "},
		{"exp too late", `{"value":"s","attributes":{"exp":253402300800}}`, "Property attributes.exp "},
		{"value twice", `{"value":"s","Value":"t"}`, "Property value is there twice"},
		{"not utf-8", "{\"value\":\"\xff\"}", "not UTF-8"},
		{"half a character", `{"value":"\ud83d"}`, "surrogate"},
		{"other half", `{"value":"\ude00"}`, "surrogate"},
		{"halves apart", `{"value":"\ud83d \ude00"}`, "surrogate"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnv(t)
			w := e.do("PUT", "/secrets/n?api-version=7.4", tt.body)
			if w.Code != 400 || !strings.Contains(w.Body.String(), `"BadParameter"`) || !strings.Contains(w.Body.String(), tt.message) {
				t.Errorf("got %d %s, want %q", w.Code, w.Body, tt.message)
			}
			if len(e.secrets.calls)+len(e.audits) > 0 {
				t.Error("something was done")
			}
		})
	}
}

func TestWrongValuesAreNotShown(t *testing.T) {
	w := newEnv(t).do("PUT", "/secrets/n?api-version=7.4", `{"value":["hunter2"]}`)
	if w.Code != 400 || strings.Contains(w.Body.String(), "hunter2") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestValuesArriveAsTheyWereSent(t *testing.T) {
	for _, value := range []string{"", " ", "a\"b\\c", "<a&b>", "line\r\nline\x00\x1f\x7f", "ünïcödé 😀 \u2028", strings.Repeat("x", 25<<10), strings.Repeat("\x01", 25<<10)} {
		e := newEnv(t)
		body, err := json.Marshal(map[string]string{"value": value})
		if err != nil {
			t.Fatal(err)
		}
		w := e.do("PUT", "/secrets/n?api-version=7.4", string(body))
		var got struct{ Value *string }
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Value == nil {
			t.Fatalf("%v: %.200s", err, w.Body)
		}
		if diff := cmp.Diff(value, *got.Value); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"set n " + value}, e.secrets.calls); diff != "" {
			t.Error(diff)
		}
	}
}

func TestEscapedPairsAreCharacters(t *testing.T) {
	e := newEnv(t)
	e.do("PUT", "/secrets/n?api-version=7.4", `{"value":"\\ud83d \ud83d\ude00 \u00e9"}`)
	if diff := cmp.Diff([]string{`set n \ud83d 😀 é`}, e.secrets.calls); diff != "" {
		t.Error(diff)
	}
}

func TestAttributes(t *testing.T) {
	text := func(s string) *string { return &s }
	flag := func(b bool) *bool { return &b }
	at := func(n int64) *time.Time { t := time.Unix(n, 0).UTC(); return &t }
	tests := []struct {
		name, body string
		want       secrets.Attributes
	}{
		{"absent", `{"value":"s"}`, secrets.Attributes{}},
		{"null", `{"value":"s","contentType":null,"tags":null,"attributes":null}`, secrets.Attributes{}},
		{"null inside", `{"value":"s","attributes":{"enabled":null,"exp":null,"nbf":null}}`, secrets.Attributes{}},
		{"all", `{"value":"s","contentType":"text/plain","tags":{"a":"b","C":""},"attributes":{"enabled":false,"nbf":1,"exp":2}}`,
			secrets.Attributes{ContentType: text("text/plain"), Tags: map[string]string{"a": "b", "C": ""}, Enabled: flag(false), NotBefore: at(1), Expires: at(2)}},
		{"empty", `{"value":"s","contentType":"","tags":{}}`, secrets.Attributes{ContentType: text(""), Tags: map[string]string{}}},
		{"any case", `{"Value":"s","ContentType":"x","Attributes":{"Enabled":true,"EXP":0}}`, secrets.Attributes{ContentType: text("x"), Enabled: flag(true), Expires: at(0)}},
		{"what only we set", `{"value":"s","id":"x","managed":true,"attributes":{"created":"x","updated":1,"recoveryLevel":7},"more":{}}`, secrets.Attributes{}},
		{"byte order mark", "\ufeff" + `{"value":"s"}`, secrets.Attributes{}},
	}
	for _, tt := range tests {
		for _, method := range []string{"PUT", "PATCH"} {
			t.Run(tt.name+" "+method, func(t *testing.T) {
				e := newEnv(t)
				if w := e.do(method, "/secrets/n?api-version=7.4", tt.body); w.Code != 200 {
					t.Fatalf("%d %s", w.Code, w.Body)
				}
				if diff := cmp.Diff(tt.want, e.secrets.attrs); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestBodiesThatAreTooLarge(t *testing.T) {
	for _, known := range []bool{true, false} {
		e := newEnv(t)
		r := httptest.NewRequest("PUT", "https://"+host+"/secrets/n?api-version=7.4", strings.NewReader(`{"value":"`+strings.Repeat("x", maxBody)+`"}`))
		r.Header.Set("Authorization", "Bearer ok")
		if !known {
			r.ContentLength = -1
		}
		if w := e.raw(r); w.Code != 413 || len(e.secrets.calls) > 0 {
			t.Errorf("length known %v: %d %s", known, w.Code, w.Body)
		}
	}
}

func TestBodiesThatArriveTooSlowly(t *testing.T) {
	e := newEnv(t)
	r := httptest.NewRequest("PUT", "https://"+host+"/secrets/n?api-version=7.4", failing{os.ErrDeadlineExceeded})
	r.Header.Set("Authorization", "Bearer ok")
	if w := e.raw(r); w.Code != 408 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestRestoreTakesLargeBodies(t *testing.T) {
	e := newEnv(t)
	w := e.do("POST", "/secrets/restore?api-version=7.4", `{"value":"`+strings.Repeat("A", 2*maxBody)+`"}`)
	if w.Code != 200 || len(e.secrets.calls) != 1 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := e.last().Secret; got != "restored" {
		t.Errorf("the record names %q", got)
	}
}

func TestRestoresWaitForEachOther(t *testing.T) {
	e := newEnv(t)
	slots := e.handle.(*service).restores
	for range maxRestores {
		slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequest("POST", "https://"+host+"/secrets/restore?api-version=7.4", strings.NewReader(`{"value":"YQ"}`)).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer ok")
	if w := e.raw(r); w.Code != statusGone || len(e.secrets.calls) > 0 {
		t.Errorf("%d, calls %v", w.Code, e.secrets.calls)
	}
	<-slots
	if w := e.do("POST", "/secrets/restore?api-version=7.4", `{"value":"YQ"}`); w.Code != 200 || len(slots) != maxRestores-1 {
		t.Errorf("%d, %d slots in use", w.Code, len(slots))
	}
}

func TestForms(t *testing.T) {
	e := newEnv(t)
	e.secrets.value = `a"b`
	e.secrets.props = secrets.Properties{Name: "Mixed-Case", ContentType: "text/plain", NotBefore: time.Unix(1, 0), Expires: time.Unix(2, 0), Tags: map[string]string{"b": "2", "a": "ü"}}
	const members = `"id":"https://kv1.vault.localhost:7443/secrets/Mixed-Case/0123456789abcdef0123456789abcdef","contentType":"text/plain",` +
		`"attributes":{"enabled":true,"nbf":1,"exp":2,"created":1700000000,"updated":1700000001,"recoveryLevel":"Recoverable+Purgeable","recoverableDays":90},"tags":{"a":"ü","b":"2"}}`
	tests := []struct{ name, method, target, body, want string }{
		{"bundle", "GET", "/secrets/mixed-case?api-version=7.4", "", `{"value":"a\"b",` + members},
		{"without value", "PATCH", "/secrets/mixed-case/?api-version=7.4", "{}", `{` + members},
		{"deleted", "DELETE", "/secrets/mixed-case?api-version=7.4", "", `{"recoveryId":"https://kv1.vault.localhost:7443/deletedsecrets/Mixed-Case","deletedDate":1700000000,"scheduledPurgeDate":1707776000,` + members},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, e.do(tt.method, tt.target, tt.body).Body.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
	e.secrets.props.Tags = map[string]string{}
	if body := e.do("GET", "/secrets/mixed-case?api-version=7.4", "").Body.String(); !strings.HasSuffix(body, `,"tags":{}}`) {
		t.Errorf("empty tags: %s", body)
	}
}

func TestIdsHaveTheHostThatTheClientUsed(t *testing.T) {
	for used, want := range map[string]string{
		"kv1.vault.localhost":      `"id":"https://kv1.vault.localhost/secrets/n/`,
		"KV1.vault.localhost:9443": `"id":"https://kv1.vault.localhost:9443/secrets/n/`,
	} {
		e := newEnv(t)
		r := httptest.NewRequest("GET", "https://"+used+"/secrets/n?api-version=7.4", nil)
		r.Header.Set("Authorization", "Bearer ok")
		if body := e.raw(r).Body.String(); !strings.Contains(body, want) {
			t.Errorf("%s: %s", used, body)
		}
	}
}
