package containerstream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/containerstream"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
)

const base = "/subscriptions/5ab5c1b0-0000-4000-8000-000000000000/resourceGroups/g/"

// parts are an engine with one container that repeats what it is given, and apps.
type parts struct {
	uid    string
	gone   atomic.Bool // who has the token
	opened []string
	close  func()
}

func (p *parts) Logs(ctx context.Context, _ engine.Target, o engine.LogOptions, w io.Writer) error {
	_, err := io.WriteString(w, "one \"quoted\"\ntwo without an end")
	if o.Follow {
		<-ctx.Done()
	}
	return err
}

func (p *parts) Exec(_ context.Context, _ engine.Target, cmd engine.Exec) (int, error) {
	switch {
	case cmd.TTY:
		return 0, problem.New(problem.Unsupported, "no terminal")
	case cmd.Command[0] == "missing":
		return 0, problem.New(problem.Invalid, "there is no such program")
	}
	_, err := io.Copy(cmd.Stdout, cmd.Stdin)
	_, _ = io.WriteString(cmd.Stderr, strings.Join(cmd.Command, "|"))
	return 7, err
}

func (p *parts) Observe(context.Context, engine.Ref) (engine.Status, error) {
	return engine.Status{
		Replicas: []engine.Replica{{Name: "p", Containers: []engine.ContainerStatus{{Name: "c", Role: engine.RoleMain}, {Name: "side", Role: engine.RoleSidecar}}}},
		Events:   []engine.Event{{At: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), Replica: "p", Reason: engine.ReasonStarted, Message: "first"}},
	}, nil
}

func (p *parts) Get(_ context.Context, id resource.ID) (containerapp.App, error) {
	return containerapp.App{ID: id, Name: id.Name(), UID: p.uid}, nil
}

func (p *parts) Revisions(context.Context, resource.ID) ([]containerapp.Revision, error) {
	return []containerapp.Revision{{Name: "r"}}, nil
}

// serve starts a server and gives its address and a token for app a.
func serve(t *testing.T) (p *parts, url, token string) {
	t.Helper()
	p = &parts{uid: "one"}
	tokens, err := containerstream.NewTokens([]byte(strings.Repeat("k", 32)), clock.Real{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := containerstream.New(containerstream.Config{
		Engine: p, Apps: p, Tokens: tokens, Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler),
		Ref: func(a containerapp.App, revision string) engine.Ref {
			return engine.Ref{App: a.ID.String(), Revision: revision}
		},
		Active: func(_ context.Context, principal string) error {
			if p.gone.Load() || principal != "me" {
				return problem.New(problem.Unauthenticated, "the principal is disabled")
			}
			return nil
		},
		Opened: func(_ context.Context, o containerstream.Opened) error {
			p.opened = append(p.opened, o.Kind+" by "+o.Principal)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	p.close = h.Close
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	t.Cleanup(h.Close)
	id, err := resource.Parse(base + "providers/Microsoft.App/containerApps/a")
	if err != nil {
		t.Fatal(err)
	}
	token, _, err = tokens.Issue(containerapp.App{ID: id, UID: "one"}, "me")
	if err != nil {
		t.Fatal(err)
	}
	return p, server.URL + base + "containerApps/a", token
}

const container = "/revisions/r/replicas/p/containers/c/"

func get(t *testing.T, url, token string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestLinesAndEventsAreReadWithATokenOfTheApp(t *testing.T) {
	p, url, token := serve(t)
	if status, text := get(t, url+container+"logstream", token); status != 200 || text != "one \"quoted\"\ntwo without an end\n" {
		t.Errorf("%d %q", status, text)
	}
	status, text := get(t, url+container+"logstream?output=json", token)
	if status != 200 || strings.Count(text, "\n") != 2 || !strings.Contains(text, `"Log":"one \"quoted\""`) {
		t.Errorf("%d %q", status, text)
	}
	status, text = get(t, url+"/eventstream", token)
	if status != 200 || !strings.Contains(text, `"Reason":"Started"`) || !strings.Contains(text, `"Msg":"first"`) {
		t.Errorf("%d %q", status, text)
	}
	if got := strings.Join(p.opened, ","); got != "logs by me,logs by me,events by me" {
		t.Errorf("opened: %s", got)
	}
}

func TestStreamsAreRefusedToOthers(t *testing.T) {
	p, url, token := serve(t)
	other := strings.Replace(url, "containerApps/a", "containerApps/b", 1)
	for name, tt := range map[string]struct {
		url, token string
		status     int
	}{
		"no token": {url + "/eventstream", "", 401}, "another app's": {other + "/eventstream", token, 401}, "no such replica": {url + "/revisions/r/replicas/x/containers/c/logstream", token, 404},
		"no such container": {url + "/revisions/r/replicas/p/containers/x/exec?command=sh", token, 404}, "our own container": {url + "/revisions/r/replicas/p/containers/side/exec?command=sh", token, 404},
		"no WebSocket": {url + container + "exec?command=sh", token, 400}, "no command": {url + container + "exec", token, 400}, "bad wish": {url + container + "logstream?tailLines=-1", token, 400},
	} {
		if status, text := get(t, tt.url, tt.token); status != tt.status {
			t.Errorf("%s: %d %q, want %d", name, status, text, tt.status)
		}
	}
	p.uid = "two" // another app of the same name
	if status, text := get(t, url+"/eventstream", token); status != 404 {
		t.Errorf("a token of a life before: %d %q", status, text)
	}
	if len(p.opened) != 0 {
		t.Errorf("opened: %v", p.opened)
	}
}

// console runs a command and gives what came of it.
func console(t *testing.T, url, token string, messages ...[]byte) (stdout, stderr, fault string, end *websocket.CloseError) {
	t.Helper()
	conn, resp, err := websocket.DefaultDialer.DialContext(t.Context(), strings.Replace(url, "http", "ws", 1), http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(60 * time.Second))
	for _, m := range messages {
		if err := conn.WriteMessage(websocket.BinaryMessage, m); err != nil {
			t.Fatal(err)
		}
	}
	for {
		_, m, err := conn.ReadMessage()
		if err != nil {
			errors.As(err, &end)
			return stdout, stderr, fault, end
		}
		switch {
		case bytes.HasPrefix(m, []byte{0, 1}):
			stdout += string(m[2:])
		case bytes.HasPrefix(m, []byte{0, 2}):
			stderr += string(m[2:])
		case bytes.HasPrefix(m, []byte{2}):
			fault += string(m[1:])
		}
	}
}

func TestConsolesPassBothWaysAndTellTheExitCode(t *testing.T) {
	_, url, token := serve(t)
	stdout, stderr, _, end := console(t, url+container+"exec?command=sh+-c+%27a+b%27", token,
		[]byte("\x00\x04{\"Width\":80,\"Height\":25}"), []byte("\x00\x00typed"), []byte("\x00\x00 more"), []byte("\x00\x00"))
	if stdout != "typed more" || stderr != "sh|-c|a b" || end == nil || end.Code != websocket.CloseNormalClosure || end.Text != "exit code 7" {
		t.Errorf("%q %q %v", stdout, stderr, end)
	}
	_, _, fault, end := console(t, url+container+"exec?command=missing", token)
	if fault != "there is no such program" || end == nil || end.Code == websocket.CloseNormalClosure {
		t.Errorf("%q %v", fault, end)
	}
}

func TestFollowersEndWhenTheServerDoes(t *testing.T) {
	p, url, token := serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+container+"logstream?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	line := make([]byte, len("one \"quoted\"\n"))
	if _, err := io.ReadFull(resp.Body, line); err != nil || string(line) != "one \"quoted\"\n" {
		t.Errorf("%q, %v", line, err)
	}
	p.close()
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "two without an end\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestTokensOfWhoDoesNotCountAnyMoreOpenNothing(t *testing.T) {
	p, url, token := serve(t)
	if status, text := get(t, url+"/eventstream", token); status != 200 {
		t.Fatal(status, text)
	}
	p.gone.Store(true)
	if status, text := get(t, url+"/eventstream", token); status != 401 || !strings.Contains(text, "disabled") {
		t.Error(status, text)
	}
}

func TestNobodyHoldsMoreThanAQuarterOfTheStreams(t *testing.T) {
	_, url, token := serve(t)
	const quarter = 64
	ctx, cancel := context.WithCancel(t.Context())
	open := func() *http.Response {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+container+"logstream?follow=true", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return res
	}
	for n := range quarter {
		if res := open(); res.StatusCode != 200 {
			t.Fatal(n, res.Status)
		}
	}
	if res := open(); res.StatusCode != 429 || res.Header.Get("Retry-After") == "" {
		t.Error(res.Status, res.Header)
	}
	cancel() // the streams end, and there is room again
	for end := time.Now().Add(60 * time.Second); ; {
		status, text := get(t, url+"/eventstream", token)
		if status == 200 {
			return
		}
		if time.Now().After(end) {
			t.Fatal(status, text)
		}
		runtime.Gosched()
	}
}
