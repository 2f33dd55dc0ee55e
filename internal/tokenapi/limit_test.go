package tokenapi

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
)

// exhaust presents wrong secrets until the service does not listen any more.
func (f *fixture) exhaust(t *testing.T, edit func(n int, r *http.Request)) {
	t.Helper()
	for n := range 10 * wrongBurst {
		w := f.post(v2, f.form("client_secret", "wrong"), func(r *http.Request) { edit(n, r) })
		if code(t, w) == 90055 {
			if after, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || after < 1 || w.Code != 429 {
				t.Errorf("%d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
			}
			return
		}
	}
	t.Fatal("wrong secrets are never throttled")
}

func TestWrongSecretsOfOneSourceAreThrottled(t *testing.T) {
	f := newFixture(t)
	f.exhaust(t, func(_ int, r *http.Request) { from("10.0.0.1")(r) })
	if got := code(t, f.post(v2, f.form(), from("10.0.0.1"))); got != 90055 {
		t.Errorf("the right secret from there: AADSTS%d", got)
	}
	if e := f.lastEvent(t); e.Granted || e.Code != 90055 || e.Source != "10.0.0.1" {
		t.Errorf("event %+v", e)
	}
	f.clock.Advance(time.Minute)
	if got := code(t, f.post(v2, f.form(), from("10.0.0.1"))); got != 0 {
		t.Errorf("later: AADSTS%d", got)
	}
}

func TestWrongSecretsOfOneAppAreThrottledWithoutLockingItOut(t *testing.T) {
	f := newFixture(t)
	if got := code(t, f.post(v2, f.form(), from("10.9.9.9"))); got != 0 {
		t.Fatalf("AADSTS%d", got)
	}
	f.exhaust(t, func(n int, r *http.Request) { from(fmt.Sprintf("10.0.%d.%d", n/200, n%200))(r) })
	for source, want := range map[string]int{"10.9.9.9": 0, "10.8.8.8": 90055} {
		if got := code(t, f.post(v2, f.form(), from(source))); got != want {
			t.Errorf("right secret from %s: AADSTS%d, want %d", source, got, want)
		}
	}
	if got := code(t, f.post(v2, f.form("client_secret", "wrong"), from("10.9.9.9"))); got != 90055 {
		t.Errorf("wrong secret from a known place: AADSTS%d", got)
	}
}

func TestNeighboursAreNotLockedOut(t *testing.T) {
	f := newFixture(t)
	if got := code(t, f.post(v2, f.form(), from("127.0.0.1"))); got != 0 {
		t.Fatalf("AADSTS%d", got)
	}
	for range 2 * wrongBurst {
		f.post(v2, f.form("client_id", nobody), from("127.0.0.1"))
	}
	if got := code(t, f.post(v2, f.form("client_id", nobody), from("127.0.0.1"))); got != 90055 {
		t.Errorf("a client that does not exist: AADSTS%d", got)
	}
	if got := code(t, f.post(v2, f.form(), from("127.0.0.1"))); got != 0 {
		t.Errorf("a client beside it: AADSTS%d", got)
	}
	if got := code(t, f.post(v2, f.form("client_id", "x"), from("127.0.0.1"))); got != 90055 {
		t.Errorf("a client id that is none: AADSTS%d", got)
	}
	f.clock.Advance(trustFor)
	f.exhaust(t, func(_ int, r *http.Request) { from("127.0.0.1")(r) })
	if got := code(t, f.post(v2, f.form(), from("127.0.0.1"))); got != 90055 {
		t.Errorf("after a day: AADSTS%d", got)
	}
}

func TestMemoryOfLimitsIsBounded(t *testing.T) {
	f := newFixture(t)
	l := newLimits(f.clock)
	for n := range 2 * remembered {
		app := uuid.NewString()
		source := fmt.Sprintf("10.1.%d.%d", n/256, n%256)
		r := &http.Request{}
		from(source)(r)
		l.wrong(remote(r), app)
		l.right(remote(r), app)
	}
	if l.apps.Len() != remembered || l.trusted.Len() != remembered {
		t.Errorf("%d apps, %d pairs", l.apps.Len(), l.trusted.Len())
	}
	before := l.apps.Len()
	l.apps.Purge()
	r := &http.Request{RemoteAddr: "10.0.0.1:1"}
	l.wrong(remote(r), "")
	if l.apps.Len() != 0 || before == 0 {
		t.Error("apps that do not exist are remembered")
	}
}
