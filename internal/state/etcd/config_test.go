package etcd_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/etcd"
	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
)

func contains(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }

func TestSettingsThatCannotBeRightAreRefused(t *testing.T) {
	at := []string{"http://127.0.0.1:1"}
	for name, tt := range map[string]struct {
		cfg  etcd.Config
		says string
	}{
		"no endpoint":          {etcd.Config{}, "no etcd endpoint"},
		"empty endpoint":       {etcd.Config{Endpoints: []string{at[0], ""}}, "number 2"},
		"no port":              {etcd.Config{Endpoints: []string{"http://etcd"}}, "a host and a port"},
		"a path":               {etcd.Config{Endpoints: []string{"http://etcd:2379/v3"}}, "a host and a port"},
		"another scheme":       {etcd.Config{Endpoints: []string{"ftp://etcd:2379"}}, "neither http nor https"},
		"no URL":               {etcd.Config{Endpoints: []string{"http://SECRET:x%zz@etcd:2379"}}, "not a URL"},
		"password in endpoint": {etcd.Config{Endpoints: []string{"http://u:SECRET@etcd:2379"}}, "settings of their own"},
		"mixed schemes":        {etcd.Config{Endpoints: []string{"https://a:1", "http://b:1"}}, "number 2 is http"},
		"TLS over http":        {etcd.Config{Endpoints: at, TLS: &tls.Config{}}, "TLS settings"},
		"user without word":    {etcd.Config{Endpoints: at, Username: "u"}, "go together"},
		"word without user":    {etcd.Config{Endpoints: at, Password: "SECRET"}, "go together"},
		"prefix":               {etcd.Config{Endpoints: at, Prefix: "latchkey/"}, "prefix"},
		"timeout":              {etcd.Config{Endpoints: at, RequestTimeout: -1}, "negative"},
	} {
		_, err := etcd.Open(t.Context(), tt.cfg)
		if !errors.Is(err, problem.Invalid) || !contains(err, tt.says) || contains(err, "SECRET") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEndpointsNeedNoScheme(t *testing.T) {
	url := etcdtest.Start(t)[0]
	s := open(t, etcd.Config{Endpoints: []string{" " + strings.TrimPrefix(url, "http://") + "/"}})
	if got, want := s.String(), "etcd "+url+" below /latchkey"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// silent gives an address that takes connections and never says a word.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return "http://" + listener.Addr().String()
}

// refusal gives the error of opening a store that cannot be reached. Busy machines
// get more time until the error holds the words it should.
func refusal(t *testing.T, cfg etcd.Config, words string) (err error) {
	t.Helper()
	for limit := time.Second; limit < patience; limit *= 2 {
		cfg.RequestTimeout, cfg.DialTimeout = limit, limit
		if _, err = etcd.Open(bounded(t), cfg); contains(err, words) {
			break
		}
	}
	return err
}

func TestAnUnreachableEndpointIsNamedSoon(t *testing.T) {
	t.Parallel() // it waits most of the time
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	refusing := "http://" + closed.Addr().String()
	for url, words := range map[string]string{refusing: "refused", silent(t): "no answer"} {
		for user, cfg := range map[string]etcd.Config{"": {}, "user": {Username: "u", Password: "SECRET"}} {
			cfg.Endpoints = []string{url}
			err := refusal(t, cfg, words)
			if !errors.Is(err, state.ErrUnavailable) || !contains(err, url) || !contains(err, words) || problem.NextOf(err) == "" || contains(err, "SECRET") {
				t.Errorf("%s as %q: %v (next: %q)", words, user, err, problem.NextOf(err))
			}
		}
	}
}

func TestConnectionsCanBeEncrypted(t *testing.T) {
	t.Parallel() // it waits most of the time
	endpoints, trust := etcdtest.StartTLS(t)
	s := open(t, etcd.Config{Endpoints: endpoints, TLS: trust})
	events := watching(t, s, "/", 0)
	write(t, s, put("/a", 1))
	wantEvents(t, events, "0 /a 1")
	if err := refusal(t, etcd.Config{Endpoints: endpoints}, "certificate"); !errors.Is(err, state.ErrUnavailable) || !contains(err, "certificate") {
		t.Errorf("without trust: %v", err)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := etcd.Open(ctx, etcd.Config{Endpoints: []string{silent(t)}, RequestTimeout: time.Hour})
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, problem.Timeout) {
		t.Error(err)
	}
}

// protect turns on authentication: root, and a user who may use a prefix.
func protect(t *testing.T, c *clientv3.Client, user, password, prefix string) {
	t.Helper()
	ctx := bounded(t)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.RoleAdd(ctx, "root"))
	must(c.UserAdd(ctx, "root", "root of the test"))
	must(c.UserGrantRole(ctx, "root", "root"))
	must(c.RoleAdd(ctx, "role"))
	must(c.RoleGrantPermission(ctx, "role", prefix+"/", clientv3.GetPrefixRangeEnd(prefix+"/"), clientv3.PermissionType(clientv3.PermReadWrite)))
	must(c.UserAdd(ctx, user, password))
	must(c.UserGrantRole(ctx, user, "role"))
	must(c.AuthEnable(ctx))
}

func TestUsersGetWhatTheyMay(t *testing.T) {
	endpoints := etcdtest.Start(t)
	protect(t, raw(t, endpoints), "app", "SECRET", "/mine")
	cfg := etcd.Config{Endpoints: endpoints, Prefix: "/mine", Username: "app", Password: "SECRET"}
	s := open(t, cfg)
	events, err := s.Watch(bounded(t), "/", 0)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, put("/a", 1))
	if e := <-events; e.Key != "/a" {
		t.Errorf("event %v", e)
	}
	lease, err := s.Acquire(bounded(t), "x", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.Release(bounded(t)); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*etcd.Config){
		"wrong password": func(c *etcd.Config) { c.Password = "SECRET2" },
		"unknown user":   func(c *etcd.Config) { c.Username = "nobody" },
		"no user":        func(c *etcd.Config) { c.Username, c.Password = "", "" },
		"other prefix":   func(c *etcd.Config) { c.Prefix = "/others" },
	} {
		cfg := cfg
		change(&cfg)
		_, err := etcd.Open(bounded(t), cfg)
		if !errors.Is(err, problem.Denied) || contains(err, "SECRET") || problem.NextOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
