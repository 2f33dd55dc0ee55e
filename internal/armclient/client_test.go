package armclient_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/web/localca"
)

// plane is a management API that answers as a test says.
type plane struct {
	*httptest.Server
	cred   armclient.Credential
	tokens atomic.Int64
	api    http.HandlerFunc
}

func newPlane(t *testing.T, api http.HandlerFunc) *plane {
	t.Helper()
	p := &plane{api: api}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	p.cred = armclient.Credential{Endpoint: p.URL, CAFile: ca, TenantID: "tenant", ClientID: "id", ClientSecret: "right"}
	return p
}

func (p *plane) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/tenant/oauth2/v2.0/token" {
		if r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, "no token", http.StatusUnauthorized)
			return
		}
		p.api(w, r)
		return
	}
	p.tokens.Add(1)
	if r.FormValue("client_secret") != "right" || r.FormValue("scope") != p.URL+"/.default" || r.FormValue("grant_type") != "client_credentials" {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided. Trace ID: 1 Correlation ID: 2"}`)
		return
	}
	fmt.Fprintf(w, `{"access_token":%q,"expires_in":3600}`, token)
}

var token = "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"oid":"object","tid":"tenant","ver":"2.0"}`)) + ".x"

func (p *plane) client(t *testing.T) *armclient.Client {
	t.Helper()
	c, err := armclient.New(p.cred)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCallsCarryATokenAndAVersion(t *testing.T) {
	p := newPlane(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("ETag", `"7"`)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"method": r.Method, "path": r.URL.Path, "version": r.URL.Query().Get("api-version"), "type": r.Header.Get("Content-Type"),
			"match": r.Header.Get("If-Match") + r.Header.Get("If-None-Match"), "body": string(body), "size": r.ContentLength,
		})
	})
	c := p.client(t)
	for _, tt := range []struct {
		request armclient.Request
		in      any
		want    map[string]any
	}{
		{armclient.Request{Method: "GET", Path: "/a%20b"}, nil,
			map[string]any{"method": "GET", "path": "/a b", "version": armclient.APIVersion, "type": "", "match": "", "body": "", "size": 0.0}},
		{armclient.Request{Method: "PUT", Path: "/x?api-version=1", IfMatch: `"6"`}, map[string]int{"n": 1},
			map[string]any{"method": "PUT", "path": "/x", "version": "1", "type": "application/json", "match": `"6"`, "body": `{"n":1}`, "size": 7.0}},
		{armclient.Request{Method: "PUT", Path: "/x", IfAbsent: true}, nil,
			map[string]any{"method": "PUT", "path": "/x", "version": armclient.APIVersion, "type": "", "match": "*", "body": "", "size": 0.0}},
	} {
		var got map[string]any
		answer, err := c.Exchange(t.Context(), tt.request, tt.in, &got)
		if err != nil || answer != (armclient.Answer{Status: http.StatusCreated, ETag: `"7"`}) {
			t.Errorf("%+v: %+v, %v", tt.request, answer, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%+v: %s", tt.request, diff)
		}
	}
	if n := p.tokens.Load(); n != 1 {
		t.Errorf("%d tokens were asked for, want 1", n)
	}
}

func TestBodiesAreStreamedWithTheirSize(t *testing.T) {
	p := newPlane(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%s %d %d", r.Header.Get("Content-Type"), r.ContentLength, n)
	})
	var out bytes.Buffer
	_, err := p.client(t).Send(t.Context(), armclient.Request{
		Method: "PUT", Path: "/x", ContentType: "application/zip", Body: io.LimitReader(strings.NewReader(strings.Repeat("x", 1<<20)), 1<<20), Size: 1 << 20, Out: &out,
	})
	if want := "application/zip 1048576 1048576"; err != nil || out.String() != want {
		t.Errorf("%q, %v; want %q", out.String(), err, want)
	}
}

func TestListsAreReadToTheirEndAndOnlyFromTheInstallation(t *testing.T) {
	var p *plane
	p = newPlane(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("page") {
		case "":
			fmt.Fprintf(w, `{"value":[1,2],"nextLink":"%s/list?page=2&api-version=1"}`, p.URL)
		case "2":
			fmt.Fprint(w, `{"value":[3],"nextLink":"https://elsewhere.example/list?page=3"}`) // the token must not go there
		default:
			fmt.Fprintf(w, `{"value":[4]}`)
		}
	})
	got, err := armclient.List[int](t.Context(), p.client(t), "/list")
	if diff := cmp.Diff([]int{1, 2, 3, 4}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestAnswersBecomeErrorsOfTheirKind(t *testing.T) {
	for _, tt := range []struct {
		status     int
		body, says string
		kind       problem.Kind
	}{
		{400, `{"error":{"code":"BadRequest","message":"The name is too long."}}`, "The name is too long", problem.Invalid},
		{401, `{"error":{"code":"AuthenticationFailed","message":"Gone."}}`, "Gone", problem.Unauthenticated},
		{403, `{"error":{"message":"You may not."}}`, "You may not", problem.Denied},
		{404, `{"Message":"No such thing."}`, "No such thing", problem.NotFound},
		{409, `{}`, "409 Conflict", problem.Conflict},
		{412, ``, "412 Precondition Failed", problem.Conflict},
		{413, `too much`, "413 Request Entity Too Large: too much", problem.TooLarge},
		{429, `<html>`, "429 Too Many Requests", problem.Throttled},
		{500, `null`, "500 Internal Server Error", problem.Internal},
		{503, strings.Repeat("x", 2000), "503 Service Unavailable", problem.Unavailable},
		{302, ``, "302 Found", problem.Invalid},
	} {
		p := newPlane(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://elsewhere.example/")
			w.WriteHeader(tt.status)
			fmt.Fprint(w, tt.body)
		})
		err := p.client(t).Do(t.Context(), "GET", "/x", nil, nil)
		if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) || len(err.Error()) > 300 {
			t.Errorf("%d: %v", tt.status, err)
		}
	}
}

func TestWrongSecretsAreToldFromServersThatAreNoTokenService(t *testing.T) {
	p := newPlane(t, nil)
	p.cred.ClientSecret = "not-the-secret"
	err := p.client(t).SignIn(t.Context())
	if !errors.Is(err, problem.Unauthenticated) || !strings.Contains(err.Error(), "Invalid client secret") ||
		strings.Contains(err.Error(), "Trace") || strings.Contains(err.Error(), "not-the-secret") {
		t.Errorf("wrong secret: %v", err)
	}
	p.cred.ClientSecret, p.cred.TenantID = "right", "another"
	if err := p.client(t).SignIn(t.Context()); !errors.Is(err, problem.Unavailable) {
		t.Errorf("another server: %v", err)
	}
}

func TestWhoCannotBeReachedOrTrustedIsSaid(t *testing.T) {
	p := newPlane(t, nil)
	trusting := p.client(t)
	p.cred.CAFile = ""
	err := p.client(t).SignIn(t.Context())
	if !errors.Is(err, problem.Unavailable) || !strings.Contains(err.Error(), "is not trusted") || problem.NextOf(err) == "" {
		t.Errorf("unknown authority: %v", err)
	}
	p.Close()
	if err := trusting.SignIn(t.Context()); !errors.Is(err, problem.Unavailable) || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := trusting.SignIn(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestOddCredentialsAreRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []armclient.Credential{
		{}, {Endpoint: "http://localhost:7443"}, {Endpoint: "localhost:7443"}, {Endpoint: "https://localhost/path"}, {Endpoint: "https://"},
		{Endpoint: "https://localhost", CAFile: "nowhere"}, {Endpoint: "https://localhost", CAFile: empty},
	} {
		if _, err := armclient.New(c); !errors.Is(err, problem.Invalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestHostsBelowTheEndpointAreReachedWhereItIs(t *testing.T) {
	p := &plane{api: func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, `{"host":%q}`, r.Host) }}
	text, err := localca.Generate("test", []string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := localca.Open(text, clock.Real{}, func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.TLS = ca.TLS()
	p.StartTLS()
	t.Cleanup(p.Close)
	u, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	p.URL = "https://localhost:" + u.Port()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	p.cred = armclient.Credential{Endpoint: p.URL, CAFile: file, TenantID: "tenant", ClientID: "id", ClientSecret: "right"}
	c := p.client(t)
	for target, want := range map[string]string{
		"https://orders.scm.localhost:" + u.Port() + "/x": "orders.scm.localhost:" + u.Port(),
		"https://elsewhere.example/x":                     "localhost:" + u.Port(), // a token goes nowhere else
		"http://orders.scm.localhost:" + u.Port() + "/x":  "localhost:" + u.Port(),
	} {
		var got struct{ Host string }
		if err := c.Do(t.Context(), "GET", target, nil, &got); err != nil || got.Host != want {
			t.Errorf("%s: %q, %v; want %q", target, got.Host, err, want)
		}
	}
}

func TestTheTokenSaysWhoTheClientIs(t *testing.T) {
	p := newPlane(t, nil)
	id, err := p.client(t).Identity(t.Context())
	if want := (armclient.Identity{ObjectID: "object", TenantID: "tenant"}); err != nil || id != want {
		t.Errorf("%+v, %v; want %+v", id, err, want)
	}
	if got := p.client(t).Credential(); got.ClientSecret != "" || got.ClientID != "id" {
		t.Errorf("credential %+v", got)
	}
}

func TestAnswersThatAreTooLongOrBrokenOffAreNotTaken(t *testing.T) {
	p := newPlane(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/short":
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "{}")
		case "/odd":
			fmt.Fprint(w, "<html>")
		}
	})
	for _, path := range []string{"/short", "/odd"} {
		var out any
		if err := p.client(t).Do(t.Context(), "GET", path, nil, &out); !errors.Is(err, problem.Unavailable) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestCredentialFilesAreKeptSafe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "owner.json")
	want := armclient.Credential{
		Endpoint: "https://localhost:7443", CAFile: "/x/ca.pem", TenantID: "t", SubscriptionID: "s", ClientID: "c", ClientSecret: "secret",
		Expires: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	if _, err := armclient.ReadCredential(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := want.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := armclient.ReadCredential(path)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for _, text := range []string{"", "{}", "[]", `{"endpoint":"https://x"}`, "secret"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := armclient.ReadCredential(path); !errors.Is(err, problem.Undecryptable) || strings.Contains(err.Error(), "secret") || problem.NextOf(err) == "" {
			t.Errorf("%q: %v", text, err)
		}
	}
}
