package keyvault_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/keystore/keyvault"
	"github.com/latchkey/latchkey/internal/testkit/localvault"
)

// next advances a clock until something is heard.
func next(t *testing.T, c *clock.Manual, heard <-chan keystore.Doc) keystore.Doc {
	t.Helper()
	for {
		if err := c.AwaitTimers(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		c.Advance(time.Second)
		select {
		case d := <-heard:
			return d
		default:
		}
	}
}

// Two writes of a stock host in one second look the same in a list.
func TestASecondWriteInTheSameSecondIsNotMissed(t *testing.T) {
	still, own := clock.NewManual(time.Unix(1_700_000_000, 0)), clock.NewManual(time.Unix(1, 0))
	p := newPlace(t, localvault.Config{Clock: still})
	s := p.open(func(c *keyvault.Config) { c.Clock, c.Poll = own, 0 })
	heard := make(chan keystore.Doc, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done, err := s.Watch(ctx, func(d keystore.Doc) { heard <- d })
	if err != nil {
		t.Fatal(err)
	}
	p.stock("fn", keystoretest.Function("1"))
	if d := next(t, own, heard); d != "fn" {
		t.Fatalf("told of %q", d)
	}
	p.stock("fn", keystoretest.Function("2"))
	if d := next(t, own, heard); d != "fn" {
		t.Fatalf("told of %q", d)
	}
	cancel()
	<-done
}

func TestAPollIsOneListAndRepeatsNothingWithoutAChange(t *testing.T) {
	own := clock.NewManual(time.Unix(1, 0))
	p := newPlace(t, localvault.Config{})
	s := p.open(func(c *keyvault.Config) { c.Clock, c.Poll = own, 0 })
	p.stock("fn", keystoretest.Function("1"))
	lists := make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done, err := s.Watch(ctx, func(d keystore.Doc) { t.Errorf("told of %q", d) })
	if err != nil {
		t.Fatal(err)
	}
	p.wire.set(func(r *http.Request) (*http.Response, error) { lists <- r.URL.Path; return nil, nil })
	for range 4 {
		if err := own.AwaitTimers(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		own.Advance(17 * time.Second) // 15, give or take a tenth
		if path := <-lists; strings.Trim(path, "/") != "secrets" {
			t.Errorf("a request of %s", path)
		}
	}
	cancel()
	<-done
	if len(lists) != 0 {
		t.Errorf("%d more requests", len(lists))
	}
}

func TestAVaultThatStaysAwayEndsTheWatch(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	done, err := s.Watch(t.Context(), func(keystore.Doc) {})
	if err != nil {
		t.Fatal(err)
	}
	p.wire.set(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") })
	<-done
	if _, err := s.Watch(t.Context(), func(keystore.Doc) {}); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("watch: %v", err)
	}
	p.wire.set(nil)
	want := keystoretest.Function("1")
	put(t, s, "fn", want)
}

func TestAPermissionRevokedMidFlightLosesNothing(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open()
	put(t, s, keystore.HostDoc, keystoretest.Host("1"))
	p.wire.setAfter(func(r *http.Request, _ *http.Response) error {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "host--masterKey") {
			p.vault.Allow("app", "get", "list")
		}
		return nil
	})
	if err := try(t.Context(), s, keystore.HostDoc, keystoretest.Host("2")); !errors.Is(err, keystore.ErrReadOnly) {
		t.Fatal(err)
	}
	p.wire.setAfter(nil)
	got, _, err := s.Load(t.Context(), keystore.HostDoc)
	if err != nil || got.Keys.Master.Value != "master-2" || got.Keys.Keys[0].Value != "host-1" {
		t.Errorf("%v, %v", values(got), err)
	}
	p.vault.Allow("app", localvault.All...)
	put(t, s, keystore.HostDoc, keystoretest.Host("2"))
	want := keystoretest.Host("2")
	if d, _, err := s.Load(t.Context(), keystore.HostDoc); err != nil || d.Keys.Master.Value != want.Keys.Master.Value {
		t.Errorf("%v", err)
	}
}

func TestTheFirstLoadOfAllAfterAWatchBeganSharesItsList(t *testing.T) {
	p := newPlace(t, localvault.Config{})
	s := p.open(func(c *keyvault.Config) { c.Poll = time.Hour })
	put(t, s, "fn", keystoretest.Function("1"))
	lists := 0
	p.wire.set(func(r *http.Request) (*http.Response, error) {
		if strings.Trim(r.URL.Path, "/") == "secrets" {
			lists++
		}
		return nil, nil
	})
	if _, err := s.Watch(t.Context(), func(keystore.Doc) {}); err != nil {
		t.Fatal(err)
	}
	for want := 1; want < 4; want++ {
		got, err := s.LoadAll(t.Context())
		if err != nil || len(got) != 1 || got["fn"].Err != nil || lists != want {
			t.Errorf("%v, %v; %d lists, want %d", got, err, lists, want)
		}
	}
}
