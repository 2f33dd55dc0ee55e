package hosttest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/testkit"
)

func TestKeyOpensFunctionByLevel(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) {
			h := testkit.Start(t, testkit.App{Mode: mode, Files: threeLevels(), Settings: disabledSettings})
			keys := map[string]string{
				"none": "", "unknown": strings.Repeat("x", 56), "master": h.Master(t), "host": h.HostKey(t),
				"own": "", "other": h.FunctionKey(t, "other"), "system": h.SystemKey(t, "eventgrid"),
			}
			want := map[string]map[string]int{ // function → key → status
				"open":    {"none": 200, "unknown": 200, "master": 200, "host": 200, "own": 200, "other": 200, "system": 200},
				"closed":  {"none": 401, "unknown": 401, "master": 200, "host": 200, "own": 200, "other": 401, "system": 401},
				"boss":    {"none": 401, "unknown": 401, "master": 200, "host": 401, "own": 401, "other": 401, "system": 401},
				"wire":    {"none": 401, "unknown": 401, "master": 200, "host": 401, "own": 401, "other": 401, "system": 200},
				"off":     {"none": 401, "unknown": 401, "master": 200, "host": 404, "own": 404, "other": 401, "system": 401},
				"off2":    {"none": 401, "unknown": 401, "master": 200, "host": 404, "own": 404, "other": 401, "system": 401},
				"offopen": {"none": 404, "unknown": 404, "master": 200, "host": 404, "own": 404, "other": 404, "system": 404},
			}
			for function, statuses := range want {
				keys["own"] = h.FunctionKey(t, function)
				for key, status := range statuses {
					if status == 200 && mode == testkit.Default {
						status = http.StatusNoContent // the handler's {} has no answer in it
					}
					for way, answer := range map[string]testkit.Answer{
						"header": h.Get(t, "/api/"+function, keys[key]),
						"query":  h.Get(t, "/api/"+function+"?code="+url.QueryEscape(keys[key]), ""),
					} {
						if answer.Status != status || (status >= 400 && answer.Body != "") {
							t.Errorf("%s with key %s in the %s: %d %q, want %d", function, key, way, answer.Status, answer.Body, status)
						}
					}
				}
			}
		})
	}
}

func TestKeyIsFoundInHeaderThenQuery(t *testing.T) {
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: threeLevels()})
	good, bad := h.HostKey(t), strings.Repeat("x", 56)
	tests := []struct {
		name   string
		header []string // nil: no such header
		query  string
		want   int
	}{
		{"header", []string{good}, "", 200},
		{"header wins over a wrong query", []string{good}, "code=" + bad, 200},
		{"no fallback to the query", []string{bad}, "code=" + good, 401},
		{"empty header hides the query", []string{""}, "code=" + good, 401},
		{"first header counts", []string{good, bad}, "", 200},
		{"second header does not", []string{bad, good}, "", 401},
		{"query", nil, "code=" + good, 200},
		{"query name ignores case", nil, "CoDe=" + good, 200},
		{"query name percent-encoded", nil, "%63o%64%65=" + good, 200},
		{"query value percent-encoded", nil, "code=" + percent(good), 200},
		{"first query value counts", nil, "code=" + good + "&code=" + bad, 200},
		{"second query value does not", nil, "code=" + bad + "&code=" + good, 401},
		{"first of any spelling", nil, "Code=" + bad + "&code=" + good, 401},
		{"after other parameters", nil, "a=1&b&code=" + good, 200},
		{"after a bad escape", nil, "a=%zz&code=" + good, 200},
		{"another name", nil, "codes=" + good, 401},
		{"empty query value", nil, "code=", 401},
		{"case of the value matters", nil, "code=" + swapCase(good), 401},
		{"part of the value", nil, "code=" + good[:55], 401},
		{"more than the value", []string{good + "x"}, "", 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := h.HTTP(t.Context(), testkit.Request{Path: "/api/closed?" + tt.query})
			if err != nil {
				t.Fatal(err)
			}
			if tt.header != nil {
				req.Header["X-Functions-Key"] = tt.header
			}
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.want)
			}
		})
	}
}

func percent(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		b.WriteString("%" + string(digits[s[i]>>4]) + string(digits[s[i]&15]))
	}
	return b.String()
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 32
		}
		if 'A' <= r && r <= 'Z' {
			return r + 32
		}
		return r
	}, s)
}

func TestMatchingOrderNamesTheKey(t *testing.T) {
	s := newSeen()
	h := testkit.Start(t, testkit.App{Mode: testkit.Forwarding, Files: threeLevels(), Handler: s})
	const value = "the-same-value-in-every-list-0123456789"
	steps := []struct {
		name    string
		section keyring.Section
		key     string
		want    string // name of the key the function is told
	}{
		{"function key", keyring.FunctionKeys("open"), "own", "own"},
		{"host key before function key", keyring.HostKeys(), "all", "all"},
		{"system key before host key", keyring.SystemKeys(), "wire", "wire"},
		{"master before system key", keyring.MasterKey(), "_master", "master"},
	}
	for _, tt := range steps {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := h.Node.Keys().Set(t.Context(), tt.section, tt.key, value); err != nil {
				t.Fatal(err)
			}
			h.Get(t, "/api/open", value).WantStatus(t, 200)
			if got := s.last(t).Header.Get("X-Latchkey-Key-Name"); got != tt.want {
				t.Errorf("key name %q, want %q", got, tt.want)
			}
		})
	}
}

func TestFunctionLearnsKeyNameButNeverTheKey(t *testing.T) {
	for name, mode := range modes {
		t.Run(name, func(t *testing.T) { keyStaysWithTheHost(t, mode) })
	}
}

func keyStaysWithTheHost(t *testing.T, mode testkit.Mode) {
	type sight struct{ all, key string }
	sights := make(chan sight, 10)
	h := testkit.Start(t, testkit.App{Mode: mode, Files: threeLevels(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		head, _ := json.Marshal(r.Header)
		sights <- sight{r.URL.String() + string(head) + string(body), r.Header.Get("X-Latchkey-Key-Name")}
		_, _ = w.Write([]byte("{}"))
	})})
	key := h.HostKey(t)
	for way, r := range map[string]testkit.Request{
		"header": {Path: "/api/closed?a=1", Key: key},
		"query":  {Path: "/api/closed?a=1&code=" + key},
		"open":   {Path: "/api/open?a=1&Code=" + key},
	} {
		r.Header = map[string]string{"X-Latchkey-Key-Name": "forged"}
		if a := h.Send(t, r); a.Status >= 400 {
			t.Fatalf("%s: status %d", way, a.Status)
		}
		got := <-sights
		if strings.Contains(got.all, key) || strings.Contains(got.all, "forged") {
			t.Errorf("%s: the function sees %s", way, got.all)
		}
		if got.key != "default" || !strings.Contains(got.all, "a=1") {
			t.Errorf("%s: key name %q in %s", way, got.key, got.all)
		}
	}
	others := h.FunctionKey(t, "closed")
	for _, path := range []string{"/api/open?a=1", "/api/open?a=1&code=" + others} {
		key := others
		if strings.Contains(path, "code=") {
			key = ""
		}
		h.Get(t, path, key)
		if got := <-sights; got.key != "" || strings.Contains(got.all, others) {
			t.Errorf("an anonymous function sees the key of another function: %s", got.all)
		}
	}
	h.Get(t, "/api/open?code=from-an-oauth-server", "")
	if got := <-sights; got.key != "" || !strings.Contains(got.all, "from-an-oauth-server") {
		t.Errorf("code that is no key is data; the function sees %s", got.all)
	}
	for _, secret := range []string{key, "from-an-oauth-server"} {
		if strings.Contains(h.Log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func TestClaimsReachFunctionInDefaultMode(t *testing.T) {
	const prefix = "http://schemas.microsoft.com/2017/07/functions/claims/"
	identities := make(chan []map[string]any, 1)
	h := testkit.Start(t, testkit.App{Files: threeLevels(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var doc struct {
			Data struct {
				Req struct{ Identities []map[string]any } `json:"req"`
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&doc); err != nil {
			t.Error(err)
		}
		identities <- doc.Data.Req.Identities
		_, _ = w.Write([]byte("{}"))
	})})
	tests := map[string]struct {
		key  string
		want map[string]string
	}{
		"none":    {"", nil},
		"unknown": {strings.Repeat("x", 56), nil},
		"host":    {h.HostKey(t), map[string]string{"authlevel": "Function", "keyid": "default", "invoke": "true"}},
		"system":  {h.SystemKey(t, "blobs"), map[string]string{"authlevel": "System", "keyid": "blobs_extension", "invoke": "true"}},
		"master":  {h.Master(t), map[string]string{"authlevel": "Admin", "keyid": "master", "invoke": "true"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h.Get(t, "/api/open", tt.key).WantStatus(t, 204)
			ids := <-identities
			var got map[string]string
			for _, c := range claimsOf(ids) {
				if name, ours := strings.CutPrefix(c[0], prefix); ours {
					if got == nil {
						got = map[string]string{}
					}
					got[name] = c[1]
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("claims of %v: %s", ids, diff)
			}
		})
	}
}

// claimsOf gives type and value of all claims of identities as handlers get them.
func claimsOf(ids []map[string]any) (claims [][2]string) {
	for _, id := range ids {
		list, _ := id["Claims"].([]any)
		for _, c := range list {
			m, _ := c.(map[string]any)
			kind, _ := m["Type"].(string)
			value, _ := m["Value"].(string)
			claims = append(claims, [2]string{kind, value})
		}
	}
	return claims
}
