package vaultapi

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzRequest sends strangers' paths and queries: whatever they are, the answer is
// JSON and no failure of ours, and without a token it is the challenge.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{"/secrets/n?api-version=7.4", "//secrets//n/?api-version=2026-04-01", "/secrets/%2e%2e/v?api-version=7.6-preview.1",
		"/deletedsecrets/n/recover", "/secrets?api-version=7.4&$skiptoken=eyJOZXh0TWFya2VyIjoiYiJ9&maxresults=3", "/certificates/contacts", "/%", "/secrets/%zz"} {
		f.Add("GET", seed)
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		path, raw, _ := strings.Cut(target, "?")
		for _, authorization := range []string{"Bearer ok", ""} {
			e := newEnv(t)
			r := httptest.NewRequest("GET", "https://"+host+"/", strings.NewReader("{}"))
			r.Method, r.URL.RawQuery = method, raw
			r.URL.Path, r.URL.RawPath = path, path
			if authorization != "" {
				r.Header.Set("Authorization", authorization)
			}
			w := e.raw(r)
			if w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
				t.Errorf("no JSON: %q", w.Body)
			}
			switch {
			case w.Code >= 500 && w.Code != 501:
				t.Errorf("%d %s", w.Code, w.Body)
			case authorization == "" && (w.Code != 401 || w.Header().Get("WWW-Authenticate") != wantChallenge):
				t.Errorf("without a token: %d %v", w.Code, w.Header())
			}
		}
	})
}

// FuzzBody checks that what is taken is exactly what was sent.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{`{"value":"s"}`, `{"value":"\ud83d\ude00\\u","tags":{"a":"b"},"attributes":{"exp":1}}`, `{"value":"\ud83d"}`, `[]`, `{"attributes":{"enabled":1}}`, `"\`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := readObject(body, "")
		if err != nil {
			return
		}
		if _, err := readAttributes(m); err != nil {
			return
		}
		value, err := m.text("value")
		if err != nil || value == nil {
			return
		}
		var again string
		if err := json.Unmarshal(appendText(nil, *value), &again); err != nil || again != *value || !utf8.ValidString(again) {
			t.Errorf("%q became %q: %v", *value, again, err)
		}
	})
}

// FuzzText checks that every text survives being written.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "plain", "a\"b\\c\n", "<&>", "\u2028", "\x7f", "é😀"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			t.Skip()
		}
		var again string
		if err := json.Unmarshal(appendText(nil, s), &again); err != nil || again != s {
			t.Errorf("%q became %q: %v", s, again, err)
		}
	})
}
