package tokens

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/token"
)

const (
	tenant = "11111111-1111-1111-1111-111111111111"
	vault  = "https://vault.azure.net"
)

var (
	start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	app   = identity.Assigned{System: true, ResourceID: "/subscriptions/s/sites/app", ObjectID: "22222222-2222-2222-2222-222222222222", AppID: "33333333-3333-3333-3333-333333333333"}
)

// minting counts what the real authority mints.
type minting struct {
	*token.Authority
	mints atomic.Int64
	fail  atomic.Pointer[error]
	gate  chan struct{} // when set, mints wait for it
}

func (m *minting) Mint(ctx context.Context, c token.Claims, lifetime time.Duration) (token.Token, error) {
	m.mints.Add(1)
	if m.gate != nil {
		<-m.gate
	}
	if err := m.fail.Load(); err != nil {
		return token.Token{}, *err
	}
	return m.Authority.Mint(ctx, c, lifetime)
}

func (m *minting) failing(err error) { m.fail.Store(&err) }

type bench struct {
	*Issuer
	clock     *clock.Manual
	authority *minting
	epoch     int64 // of the last token that was verified
}

func setUp(t testing.TB, change func(*Config)) *bench {
	t.Helper()
	c := clock.NewManual(start)
	b := &bench{clock: c}
	a, err := token.New(token.Config{
		Store: memory.New(c), Clock: c, Log: slog.New(slog.DiscardHandler), TenantID: tenant,
		Active: func(_ context.Context, _ string, epoch int64) (string, error) { b.epoch = epoch; return "", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	m := &minting{Authority: a}
	cfg := Config{Authority: m, Clock: c}
	if change != nil {
		change(&cfg)
	}
	b.authority = m
	b.Issuer, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) get(t testing.TB, who identity.Assigned, resource string) token.Token {
	t.Helper()
	got, err := b.Get(t.Context(), who, resource)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestATokenSaysWhoseItIsAndWhatFor(t *testing.T) {
	b := setUp(t, nil)
	who := app
	who.Epoch = 3
	got := b.get(t, who, vault+"//.default")
	v, err := b.authority.Verify(t.Context(), got.Raw, token.Expect{Audiences: []string{vault}})
	if err != nil {
		t.Fatal(err)
	}
	if v.ObjectID != who.ObjectID || v.AppID != who.AppID || v.ResourceID != who.ResourceID || v.Proof != token.ProofCertificate || v.Audience != vault+"/" {
		t.Errorf("token says %+v", v)
	}
	if b.epoch != who.Epoch {
		t.Errorf("its epoch is %d", b.epoch)
	}
	if life := got.Expires.Sub(got.Issued); life != DefaultLifetime {
		t.Errorf("it lives %s", life)
	}
}

func TestATokenIsHandedOutAgainWhileEnoughOfItsLifeIsLeft(t *testing.T) {
	b := setUp(t, func(c *Config) { c.Lifetime, c.Reuse = 10*time.Hour, 4*time.Hour })
	first := b.get(t, app, vault)
	b.clock.Advance(6*time.Hour - time.Second)
	if b.get(t, app, vault) != first {
		t.Error("another token although more than four hours are left")
	}
	b.clock.Advance(time.Second)
	second := b.get(t, app, vault)
	if second == first || second.Expires.Sub(b.clock.Now()) != 10*time.Hour {
		t.Errorf("no new token when four hours are left: %s", second.Expires.Sub(b.clock.Now()))
	}
}

func TestByDefaultNoTokenHasLessThanHalfOfItsLife(t *testing.T) {
	b := setUp(t, nil)
	for range 48 {
		if left := b.get(t, app, vault).Expires.Sub(b.clock.Now()); left <= DefaultLifetime/2-time.Second {
			t.Fatalf("a token with %s left", left)
		}
		b.clock.Advance(time.Hour)
	}
	if n := b.authority.mints.Load(); n != 4 {
		t.Errorf("%d tokens in 48 hours, want 4", n)
	}
}

func TestTokensAreKeptPerIdentityEpochAndExactAudience(t *testing.T) {
	b := setUp(t, nil)
	first := b.get(t, app, vault)
	other, later, renamed := app, app, app
	other.ObjectID = "44444444-4444-4444-4444-444444444444"
	later.Epoch = 1
	renamed.AppID = "55555555-5555-5555-5555-555555555555"
	for name, got := range map[string]token.Token{
		"another identity": b.get(t, other, vault),
		"another epoch":    b.get(t, later, vault),
		"another app id":   b.get(t, renamed, vault),
		"a trailing slash": b.get(t, app, vault+"/"),
		"another resource": b.get(t, app, "https://management.azure.com"),
	} {
		if got == first {
			t.Errorf("%s gets the same token", name)
		}
	}
	if b.get(t, app, vault) != first || b.get(t, app, vault+"/.default") != first {
		t.Error("the first token is not kept")
	}
}

func TestForgottenTokensAreNotHandedOutAgain(t *testing.T) {
	b := setUp(t, nil)
	other := app
	other.ObjectID = "44444444-4444-4444-4444-444444444444"
	mine, theirs := b.get(t, app, vault), b.get(t, other, vault)
	b.Forget(app.ObjectID)
	if b.get(t, app, vault) == mine {
		t.Error("a forgotten token is handed out")
	}
	if b.get(t, other, vault) != theirs {
		t.Error("somebody else's token was forgotten")
	}
}

func TestATokenAskedForBeforeForgettingIsNotKept(t *testing.T) {
	b := setUp(t, nil)
	b.authority.gate = make(chan struct{})
	early := make(chan token.Token)
	go func() {
		got, _ := b.Get(context.WithoutCancel(t.Context()), app, vault)
		early <- got
	}()
	eventually(t, func() bool { return b.authority.mints.Load() == 1 })
	b.Forget(app.ObjectID)
	close(b.authority.gate)
	before := <-early
	if after := b.get(t, app, vault); after == before || before.Raw == "" {
		t.Error("a token from before Forget is handed out after it")
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it did not come about")
		}
	}
}

func TestTokensOfRevokedKeysAreNotHandedOut(t *testing.T) {
	b := setUp(t, nil)
	first := b.get(t, app, vault)
	if err := b.authority.Revoke(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := b.get(t, app, vault)
	if second == first {
		t.Fatal("a dead token is handed out")
	}
	if _, err := b.authority.Verify(t.Context(), second.Raw, token.Expect{Audiences: []string{vault}}); err != nil {
		t.Error(err)
	}
}

// TestATokenOfTheFutureIsNotHandedOut has a clock that is set back: nobody would
// accept the token for as long as it was ahead.
func TestATokenOfTheFutureIsNotHandedOut(t *testing.T) {
	b := setUp(t, nil)
	b.clock.Advance(5 * 24 * time.Hour)
	b.get(t, app, vault)
	b.clock.Advance(-5 * 24 * time.Hour)
	got := b.get(t, app, vault)
	if _, err := b.authority.Verify(t.Context(), got.Raw, token.Expect{Audiences: []string{vault}}); err != nil {
		t.Errorf("a token from %s was handed out at %s: %v", got.Issued, b.clock.Now(), err)
	}
}

func TestTokensOutliveARotationOfKeys(t *testing.T) {
	b := setUp(t, nil)
	first := b.get(t, app, vault)
	if err := b.authority.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.get(t, app, vault) != first {
		t.Error("a token of the old key is not handed out")
	}
}

func TestAnIdentityThatIsNoLongerWelcomeGetsNothing(t *testing.T) {
	refused := &identity.Refused{Reason: identity.Disabled}
	var active error
	b := setUp(t, func(c *Config) {
		c.Active = func(_ context.Context, objectID string, epoch int64) (string, error) {
			if objectID != app.ObjectID || epoch != app.Epoch {
				t.Errorf("asked about %s %d", objectID, epoch)
			}
			return "", active
		}
	})
	b.get(t, app, vault)
	active = refused
	if _, err := b.Get(t.Context(), app, vault); !errors.Is(err, problem.Unauthenticated) {
		t.Errorf("a kept token is given to a disabled identity: %v", err)
	}
	gone := app
	gone.ObjectID = ""
	if _, err := b.Get(t.Context(), gone, vault); !errors.Is(err, problem.NotFound) {
		t.Errorf("a deleted identity: %v", err)
	}
}

func TestManyWhoWantATokenAtOnceGetTheSame(t *testing.T) {
	b := setUp(t, nil)
	b.authority.gate = make(chan struct{})
	var wg sync.WaitGroup
	got := make([]token.Token, 50)
	for i := range got {
		wg.Go(func() { got[i], _ = b.Get(t.Context(), app, vault) })
	}
	eventually(t, func() bool { return b.authority.mints.Load() == 1 })
	close(b.authority.gate)
	wg.Wait()
	for _, g := range got {
		if g != got[0] || g.Raw == "" {
			t.Fatal("different tokens")
		}
	}
	if n := b.authority.mints.Load(); n != 1 {
		t.Errorf("%d tokens were made", n)
	}
}

func TestWhoGivesUpDoesNotSpoilItForOthers(t *testing.T) {
	b := setUp(t, nil)
	b.authority.gate = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := b.Get(ctx, app, vault)
		first <- err
	}()
	eventually(t, func() bool { return b.authority.mints.Load() == 1 })
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("who gave up got %v", err)
	}
	close(b.authority.gate)
	b.get(t, app, vault)
	if n := b.authority.mints.Load(); n != 1 {
		t.Errorf("%d tokens were made", n)
	}
}

func TestTheLastTokenServesWhileNoOtherCanBeHad(t *testing.T) {
	b := setUp(t, nil)
	first := b.get(t, app, vault)
	b.authority.failing(problem.New(problem.Unavailable, "the store is away"))
	b.clock.Advance(DefaultLifetime - leastLeft - time.Minute)
	if b.get(t, app, vault) != first {
		t.Error("the last good token is not given")
	}
	b.get(t, app, vault)
	if n := b.authority.mints.Load(); n != 2 {
		t.Errorf("%d attempts, want no second one within %s", n-1, retryAfter)
	}
	b.clock.Advance(retryAfter)
	if _, err := b.Get(t.Context(), app, vault); !errors.Is(err, problem.Unavailable) {
		t.Errorf("a token that is about to expire: %v", err)
	}
}

func TestARefusalIsNotCoveredByTheLastToken(t *testing.T) {
	b := setUp(t, nil)
	b.get(t, app, vault)
	b.clock.Advance(DefaultLifetime / 2)
	b.authority.failing(problem.New(problem.Denied, "no more"))
	if _, err := b.Get(t.Context(), app, vault); !errors.Is(err, problem.Denied) {
		t.Errorf("err %v", err)
	}
}

func TestFailuresAreNotKept(t *testing.T) {
	b := setUp(t, nil)
	b.authority.failing(problem.New(problem.Unavailable, "the store is away"))
	if _, err := b.Get(t.Context(), app, vault); !errors.Is(err, problem.Unavailable) {
		t.Errorf("err %v", err)
	}
	b.authority.fail.Store(nil)
	b.get(t, app, vault)
}

func TestNoMoreTokensAreKeptThanWanted(t *testing.T) {
	b := setUp(t, func(c *Config) { c.Max = 3 })
	for i := range 10 {
		b.get(t, app, fmt.Sprintf("https://r%d.example", i))
	}
	if n := b.kept.Len(); n != 3 {
		t.Errorf("%d tokens kept", n)
	}
}

// elsewhere stands for some identities.
type elsewhere struct {
	give    token.Token
	handled bool
	err     error
	asked   []string
}

func (e *elsewhere) Token(_ context.Context, who identity.Assigned, resource string) (token.Token, bool, error) {
	e.asked = append(e.asked, who.ObjectID+" "+resource)
	return e.give, e.handled, e.err
}

func TestAnUpstreamIsAskedFirst(t *testing.T) {
	up := &elsewhere{handled: true, give: token.Token{Raw: "theirs", Issued: start, Expires: start.Add(time.Hour)}}
	b := setUp(t, func(c *Config) { c.Upstream = up })
	if got := b.get(t, app, vault+"/.default"); got.Raw != "theirs" {
		t.Errorf("got %q", got.Raw)
	}
	b.clock.Advance(30*time.Minute - time.Second)
	b.get(t, app, vault)
	if len(up.asked) != 1 || up.asked[0] != app.ObjectID+" "+vault {
		t.Errorf("asked %q, want once until half of its life is over", up.asked)
	}
	b.clock.Advance(time.Second)
	up.give = token.Token{Raw: "newer", Expires: start.Add(2 * time.Hour)}
	if got := b.get(t, app, vault); got.Raw != "newer" {
		t.Errorf("got %q after half of its life", got.Raw)
	}
	if b.authority.mints.Load() != 0 {
		t.Error("our authority was asked too")
	}
}

func TestAnUpstreamsOutageAndRefusal(t *testing.T) {
	up := &elsewhere{handled: true, give: token.Token{Raw: "theirs", Expires: start.Add(time.Hour)}}
	b := setUp(t, func(c *Config) { c.Upstream = up })
	first := b.get(t, app, vault)
	b.clock.Advance(40 * time.Minute)
	up.err = problem.New(problem.Unavailable, "no network")
	if b.get(t, app, vault) != first {
		t.Error("the last good token is not given in an outage")
	}
	b.clock.Advance(retryAfter)
	up.err = problem.New(problem.Denied, "consent is missing")
	if _, err := b.Get(t.Context(), app, vault); !errors.Is(err, problem.Denied) {
		t.Errorf("a refusal: %v", err)
	}
	up.err, up.give = nil, token.Token{Raw: "old", Expires: start}
	if _, err := b.Get(t.Context(), app, vault+"/x"); !errors.Is(err, problem.Unavailable) {
		t.Errorf("an expired token: %v", err)
	}
}

func TestIdentitiesTheUpstreamDoesNotKnowAreOurs(t *testing.T) {
	up := &elsewhere{}
	b := setUp(t, func(c *Config) { c.Upstream = up })
	if got := b.get(t, app, vault); strings.Count(got.Raw, ".") != 2 {
		t.Errorf("got %q", got.Raw)
	}
	up.err = problem.New(problem.Unavailable, "no network")
	if _, err := b.Get(t.Context(), app, vault+"/x"); !errors.Is(err, problem.Unavailable) {
		t.Errorf("an upstream that cannot say: %v", err)
	}
}

func TestAudiences(t *testing.T) {
	for _, tt := range []struct{ resource, want string }{
		{vault, vault},
		{vault + "/", vault + "/"},
		{vault + "/.default", vault},
		{vault + "//.default", vault + "/"},
		{"https://Vault.Azure.NET", "https://Vault.Azure.NET"},
		{"https://vault.localhost:7443", "https://vault.localhost:7443"},
		{"api://my-app/x", "api://my-app/x"},
		{"CFA8B339-82A2-471A-A3C9-0FC0BE7A4093", "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"},
		{"cfa8b339-82a2-471a-a3c9-0fc0be7a4093/.default", "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"},
		{"", ""}, {"/.default", ""}, {"vault", ""}, {"http://vault.azure.net", ""}, {"https://", ""}, {"https:vault", ""},
		{"https://u:p@h", ""}, {"https://h?x=1", ""}, {"https://h?", ""}, {"https://h#f", ""}, {"https://h/a b", ""},
		{"https://h\\x", ""}, {"https://h/\u202e", ""}, {"https://h/\n", ""}, {"https://h/\xff", ""},
		{"cfa8b33982a2471aa3c90fc0be7a4093", ""}, {"{cfa8b339-82a2-471a-a3c9-0fc0be7a4093}", ""},
		{"https://" + strings.Repeat("h", maxResource), ""},
	} {
		got, err := Audience(tt.resource)
		if got != tt.want || (err == nil) != (tt.want != "") || err != nil && !errors.Is(err, problem.Invalid) {
			t.Errorf("%q: %q %v, want %q", tt.resource, got, err, tt.want)
		}
	}
}

func FuzzAudience(f *testing.F) {
	f.Add(vault + "/.default")
	f.Add("api://x")
	f.Add("cfa8b339-82a2-471a-a3c9-0fc0be7a4093")
	f.Fuzz(func(t *testing.T, resource string) {
		got, err := Audience(resource)
		if err != nil {
			return
		}
		if got == "" || len(got) > maxResource || strings.ContainsAny(got, " \x00\r\n") {
			t.Errorf("%q became %q", resource, got)
		}
	})
}

func TestConfigsThatCannotWork(t *testing.T) {
	c := clock.NewManual(start)
	for name, cfg := range map[string]Config{
		"no authority":   {Clock: c},
		"no clock":       {Authority: &minting{}},
		"long life":      {Authority: &minting{}, Clock: c, Lifetime: 25 * time.Hour},
		"negative life":  {Authority: &minting{}, Clock: c, Lifetime: -time.Hour},
		"reuse too late": {Authority: &minting{}, Clock: c, Lifetime: time.Hour, Reuse: time.Hour},
		"negative max":   {Authority: &minting{}, Clock: c, Max: -1},
	} {
		if _, err := New(cfg); !errors.Is(err, problem.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s := setUp(b, nil)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	if err := s.authority.Ready(ctx); err != nil {
		b.Fatal(err)
	}
	go s.authority.Run(ctx)
	b.Run("kept", func(b *testing.B) {
		b.ReportAllocs()
		s.get(b, app, vault)
		for b.Loop() {
			s.get(b, app, vault)
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		who := app
		for b.Loop() {
			who.Epoch++
			s.get(b, who, vault)
		}
	})
}
