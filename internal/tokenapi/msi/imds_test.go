package msi

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
)

// metadata gives a token request for IMDS, with further parameters.
func metadata(more ...string) string {
	return imdsToken + "?api-version=2018-02-01&resource=" + url.QueryEscape(vault) + strings.Join(append([]string{""}, more...), "&")
}

func TestIMDSAnswersWithAToken(t *testing.T) {
	w := &workload{assigned: []identity.Assigned{one, own, two}}
	cfg := w.config()
	c := clock.NewManual(start)
	c.Advance(time.Hour)
	cfg.Clock = c
	answer := func(who identity.Assigned, more ...string) map[string]any {
		m := map[string]any{
			"access_token": "token of " + who.AppID, "client_id": who.AppID, "expires_in": "82799", "expires_on": "1772452799",
			"ext_expires_in": "82799", "not_before": "1772366400", "resource": vault, "token_type": "Bearer",
		}
		for i := 0; i < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		return m
	}
	for _, tt := range []struct {
		query string
		want  map[string]any
	}{
		{"", answer(own)},
		{"authority=x&bypass_cache=true", answer(own)},
		{"client_id=" + one.AppID, answer(one)},
		{"object_id=" + two.ObjectID, answer(two, "object_id", two.ObjectID)},
		{"msi_res_id=" + strings.ToUpper(one.ResourceID), answer(one, "msi_res_id", strings.ToUpper(one.ResourceID))},
		{"mi_res_id=" + two.ResourceID, answer(two, "mi_res_id", two.ResourceID)},
	} {
		for _, value := range []string{"true", "True"} {
			got := ask(NewIMDS(cfg), "GET", metadata(tt.query), "Metadata", value)
			if diff := cmp.Diff(tt.want, members(t, got)); diff != "" || got.Code != 200 {
				t.Errorf("%q: status %d %s", tt.query, got.Code, diff)
			}
		}
	}
	if e := w.events[0]; !e.Granted || e.Status != 200 || e.Identity != own || e.TokenID != "uti" {
		t.Errorf("event %+v", e)
	}
}

func TestIMDSPicksTheOnlyIdentityThereIs(t *testing.T) {
	for name, tt := range map[string]struct {
		assigned []identity.Assigned
		query    string
		want     string // "" for an error
		text     string
	}{
		"own and others":      {[]identity.Assigned{one, two, own}, "", own.AppID, ""},
		"one other":           {[]identity.Assigned{one}, "", one.AppID, ""},
		"two others":          {[]identity.Assigned{one, two}, "", "", textSeveral},
		"two, one deleted":    {[]identity.Assigned{one, gone}, "", "", textSeveral},
		"two, one is chosen":  {[]identity.Assigned{one, two}, "client_id=" + two.AppID, two.AppID, ""},
		"one, another chosen": {[]identity.Assigned{one}, "client_id=" + two.AppID, "", textNotFound},
		"one deleted":         {[]identity.Assigned{gone}, "", "", textNotFound},
		"none":                {nil, "", "", textNotFound},
	} {
		w := &workload{assigned: tt.assigned}
		got := ask(NewIMDS(w.config()), "GET", metadata(tt.query), "Metadata", "true")
		body := members(t, got)
		if tt.want != "" && body["client_id"] != tt.want {
			t.Errorf("%s: status %d %v", name, got.Code, body)
		}
		want := map[string]any{"error": "invalid_request", "error_description": tt.text}
		if tt.want == "" && (got.Code != 400 || !cmp.Equal(body, want)) {
			t.Errorf("%s: status %d %v", name, got.Code, body)
		}
	}
}

func TestIMDSRefusesRequestsSomebodyWasTrickedInto(t *testing.T) {
	for name, headers := range map[string][]string{
		"a probe":         nil,
		"false":           {"Metadata", "false"},
		"twice":           {"Metadata", "true", "Metadata", "true"},
		"a proxy":         {"Metadata", "true", "X-Forwarded-For", "192.0.2.1"},
		"an empty proxy":  {"Metadata", "true", "X-Forwarded-For", ""},
		"only the secret": {"X-IDENTITY-HEADER", secret},
	} {
		for _, path := range []string{metadata(), imdsInfo + "?api-version=2018-02-01", imdsCompute + "?api-version=2021-02-01"} {
			w := &workload{assigned: []identity.Assigned{own}}
			got := ask(NewIMDS(w.config()), "GET", path, headers...)
			if body := members(t, got); got.Code != 400 || body["error"] != "invalid_request" || body["error_description"] == "" {
				t.Errorf("%s: %s: status %d %v", name, path, got.Code, body)
			}
			if len(w.asked) > 0 {
				t.Errorf("%s: a token was made", name)
			}
		}
	}
	got := ask(NewIMDS((&workload{}).config()), "GET", imdsToken)
	if body := members(t, got); body["error_description"] != "Required metadata header not specified" {
		t.Errorf("a probe gets %v", body)
	}
}

func TestIMDSErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		w      workload
		target string
		status int
		code   string
	}{
		"no version":         {workload{}, imdsToken + "?resource=x", 400, "invalid_request"},
		"old version":        {workload{}, strings.Replace(metadata(), "2018-02-01", "2017-01-01", 1), 400, "invalid_request"},
		"no date":            {workload{}, strings.Replace(metadata(), "2018-02-01", "latest", 1), 400, "invalid_request"},
		"no resource":        {workload{}, imdsToken + "?api-version=2018-02-01", 400, "invalid_request"},
		"two selectors":      {workload{}, metadata("client_id=a", "object_id=b"), 400, "invalid_request"},
		"odd resource":       {workload{issue: problem.New(problem.Invalid, "resource is odd")}, metadata(), 400, "invalid_request"},
		"refused":            {workload{issue: problem.New(problem.Denied, "no")}, metadata(), 400, "unauthorized_client"},
		"drill":              {workload{fault: problem.New(problem.Unavailable, "drill")}, metadata(), 500, "server_error"},
		"authority is away":  {workload{issue: problem.New(problem.Unavailable, "away")}, metadata(), 500, "server_error"},
		"too much":           {workload{issue: problem.New(problem.Throttled, "much")}, metadata(), 429, "too_many_requests"},
		"another address":    {workload{}, "/metadata/identity", 404, "not_found"},
		"the other dialect":  {workload{}, target(version2019), 404, "not_found"},
		"metadata v2 (mTLS)": {workload{}, "/metadata/identity/getplatformmetadata", 404, "not_found"},
	} {
		tt.w.assigned = []identity.Assigned{own}
		got := ask(NewIMDS(tt.w.config()), "GET", tt.target, "Metadata", "true", "X-IDENTITY-HEADER", secret)
		body := members(t, got)
		if got.Code != tt.status || body["error"] != tt.code || body["error_description"] == "" || len(body) != 2 {
			t.Errorf("%s: status %d %v", name, got.Code, body)
		}
		if events := len(tt.w.events); (events == 1) != strings.HasPrefix(tt.target, imdsToken) {
			t.Errorf("%s: %d events", name, events)
		}
	}
}

func TestIMDSTellsTenantAndLocation(t *testing.T) {
	h := NewIMDS((&workload{}).config())
	for path, want := range map[string]map[string]any{
		"/metadata/identity/info?api-version=2018-02-01":      {"tenantId": "11111111-1111-1111-1111-111111111111"},
		"/metadata/instance/compute?api-version=2021-02-01":   {"location": "westeurope"},
		"/Metadata/Instance/Compute/?api-version=2021-02-01":  {"location": "westeurope"},
		"/metadata/identity/info/?x=1&api-version=2024-12-31": {"tenantId": "11111111-1111-1111-1111-111111111111"},
	} {
		got := ask(h, http.MethodGet, path, "Metadata", "true")
		if diff := cmp.Diff(want, members(t, got)); diff != "" || got.Code != 200 {
			t.Errorf("%s: status %d %s", path, got.Code, diff)
		}
	}
}
