package session

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/portal/ticket"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/memory"
)

const alice, bob = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"

type fixture struct {
	*testing.T
	*Sessions
	clock *clock.Manual
	store state.Store
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	c := clock.NewManual(time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC))
	store := memory.New(c)
	t.Cleanup(func() { _ = store.Close() })
	return &fixture{t, New(Config{Store: store, Clock: c}), c, store}
}

func (f *fixture) begin(objectID string) ticket.Ticket {
	f.Helper()
	k, _, err := f.Begin(f.Context(), Principal{ObjectID: objectID, Name: "somebody"}, "link")
	if err != nil {
		f.Fatal(err)
	}
	return k
}

func (f *fixture) counts(k ticket.Ticket) bool {
	f.Helper()
	_, err := f.Use(f.Context(), k)
	if err != nil && !errors.Is(err, problem.Unauthenticated) {
		f.Fatal(err)
	}
	return err == nil
}

// TestASessionLastsNoLongerThanItsProof has a session begin with a proof that is good
// for an hour, and be used all the time.
func TestASessionLastsNoLongerThanItsProof(t *testing.T) {
	f := newFixture(t)
	k, _, err := f.Begin(t.Context(), Principal{ObjectID: alice, Until: f.clock.Now().Add(time.Hour).Unix()}, "link")
	if err != nil {
		t.Fatal(err)
	}
	for range 59 {
		f.clock.Advance(time.Minute)
		if s, err := f.Use(t.Context(), k); err != nil || s.Method != "link" {
			t.Fatalf("%+v, %v", s, err)
		}
	}
	f.clock.Advance(time.Minute)
	if _, err := f.Use(t.Context(), k); !errors.Is(err, problem.Unauthenticated) {
		t.Errorf("it goes on: %v", err)
	}
}

func TestASessionEndsWhenItIsNotUsed(t *testing.T) {
	f := newFixture(t)
	k := f.begin(alice)
	for range 5 {
		f.clock.Advance(DefaultIdle - time.Minute)
		if !f.counts(k) {
			t.Fatal("a session that is used has ended")
		}
	}
	f.clock.Advance(DefaultIdle + precision)
	if f.counts(k) {
		t.Error("a session that was not used goes on")
	}
}

func TestLookingIsNoUse(t *testing.T) {
	f := newFixture(t)
	k := f.begin(alice)
	for range 40 {
		f.clock.Advance(time.Minute)
		_, _ = f.Look(t.Context(), k)
	}
	if f.counts(k) {
		t.Error("a page that lies open keeps the session")
	}
}

func TestASessionEndsAtItsAgeHoweverMuchItIsUsed(t *testing.T) {
	f := newFixture(t)
	k := f.begin(alice)
	for range int(DefaultAbsolute/(10*time.Minute)) - 1 {
		f.clock.Advance(10 * time.Minute)
		if !f.counts(k) {
			t.Fatal("it ended before its time")
		}
	}
	f.clock.Advance(10 * time.Minute)
	if f.counts(k) {
		t.Error("it goes on beyond its age")
	}
}

func TestSessionsAreEndedOneByOneAndAllTogether(t *testing.T) {
	f := newFixture(t)
	one, two, others := f.begin(alice), f.begin(alice), f.begin(bob)
	if err := f.End(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if f.counts(one) || !f.counts(two) {
		t.Error("the wrong session was ended")
	}
	if err := f.EndAll(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	if f.counts(two) || !f.counts(others) {
		t.Error("all of one principal were to be ended, and nobody else's")
	}
}

func TestSessionsOfAPrincipalAreBounded(t *testing.T) {
	f := newFixture(t)
	first := f.begin(alice)
	for range DefaultMost {
		f.clock.Advance(time.Second)
		f.begin(alice)
	}
	if f.counts(first) {
		t.Error("the oldest session did not give way")
	}
	list, err := f.of(t.Context(), alice)
	if err != nil || len(list) != DefaultMost {
		t.Errorf("%d sessions, %v", len(list), err)
	}
}

// TestTheStateHasNoTicket looks for the browser's secret in what is kept.
func TestTheStateHasNoTicket(t *testing.T) {
	f := newFixture(t)
	k := f.begin(alice)
	_, secret, _ := strings.Cut(k.Text(), ".")
	list, err := f.store.List(t.Context(), "/", state.Page{})
	if err != nil || len(list.Documents) == 0 {
		t.Fatal(len(list.Documents), err)
	}
	for _, d := range list.Documents {
		if strings.Contains(string(d.Key)+string(d.Value), secret) {
			t.Errorf("%s has it", d.Key)
		}
	}
}

func TestAForgedTicketOpensNothing(t *testing.T) {
	f := newFixture(t)
	k := f.begin(alice)
	_, secret, _ := strings.Cut(k.Text(), ".")
	stolen, err := ticket.Parse(bob + "." + secret)
	if err != nil {
		t.Fatal(err)
	}
	if f.counts(stolen) {
		t.Error("a ticket counts for somebody else")
	}
	for _, text := range []string{"", ".", alice, alice + ".", alice + "." + secret + "A", "../x." + secret, "{" + alice[1:] + "." + secret} {
		if _, err := ticket.Parse(text); !errors.Is(err, problem.Unauthenticated) {
			t.Errorf("Parse(%.60q): %v", text, err)
		}
	}
}

func TestSweepingRemovesWhatIsOver(t *testing.T) {
	f := newFixture(t)
	f.begin(alice)
	f.clock.Advance(2 * DefaultIdle)
	k := f.begin(bob)
	if err := f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := f.of(t.Context(), "")
	if err != nil || len(list) != 1 || !f.counts(k) {
		t.Errorf("%d sessions are left, %v", len(list), err)
	}
}
