package registries_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/containerapp/identityrules"
	"github.com/latchkey/latchkey/internal/containerapp/registries"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/tokens"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/testkit/localregistry"
	"github.com/latchkey/latchkey/internal/token"
)

const (
	tenant  = "11111111-2222-3333-4444-555555555555"
	appID   = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.App/containerApps/shop"
	userID  = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/puller"
	object  = "aaaaaaaa-0000-0000-0000-000000000001"
	object2 = "aaaaaaaa-0000-0000-0000-000000000002"
)

// fixture is an app with identities, the authority of their tokens, and a registry.
type fixture struct {
	*registries.Credentials
	registry  *localregistry.Registry
	clock     *clock.Manual
	authority *token.Authority
	app       containerapp.App
	has       []identity.Assigned
	secrets   map[string]string
	log       bytes.Buffer
}

func setUp(t *testing.T, tls bool, change func(*registries.Config)) *fixture {
	t.Helper()
	id, err := resource.Parse(appID)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{
		clock: clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)), secrets: map[string]string{"pw": "right"},
		app: containerapp.App{ID: id, Name: "shop", UID: "u1"},
		has: []identity.Assigned{
			{System: true, ResourceID: appID, ObjectID: object, AppID: "bbbbbbbb-0000-0000-0000-000000000001"},
			{ResourceID: userID, ObjectID: object2, AppID: "bbbbbbbb-0000-0000-0000-000000000002"},
		},
	}
	f.authority, err = token.New(token.Config{
		Store: memory.New(f.clock), Clock: f.clock, Log: slog.New(slog.DiscardHandler), TenantID: tenant,
		Active: func(context.Context, string, int64) (string, error) { return "", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := tokens.New(tokens.Config{Authority: f.authority, Clock: f.clock})
	if err != nil {
		t.Fatal(err)
	}
	f.registry = localregistry.Start(t, localregistry.Config{Keys: f.keys, Issuer: token.IssuerV1(tenant), Clock: f.clock, TLS: tls})
	cfg := registries.Config{
		Clock: f.clock, Transport: f.registry.Client.Transport, Log: slog.New(slog.NewTextHandler(&f.log, nil)),
		App: func(_ context.Context, id string) (containerapp.App, error) { return f.app, nil },
		Secret: func(_ context.Context, _ containerapp.App, name string) (string, error) {
			if v, ok := f.secrets[name]; ok {
				return v, nil
			}
			return "", problem.New(problem.Unavailable, "secret "+name+" has no value yet").WithNext("latchkey containerapp secret show")
		},
		Token: func(ctx context.Context, _ containerapp.App, who, resource string) (string, error) {
			for _, i := range f.has {
				if i.System && who == "system" || !i.System && identityrules.SameIdentity(who, i.ResourceID) {
					t, err := issuer.Get(ctx, i, resource)
					return t.Raw, err
				}
			}
			return "", problem.New(problem.NotFound, "the identity is not assigned to the app")
		},
	}
	if change != nil {
		change(&cfg)
	}
	f.Credentials = registries.New(cfg)
	return f
}

// keys are the authority's, as it publishes them.
func (f *fixture) keys() (set jose.JSONWebKeySet, err error) {
	list, err := f.authority.JWKS(context.Background())
	if err != nil {
		return set, err
	}
	text, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		return set, err
	}
	return set, json.Unmarshal(text, &set)
}

// uses has the app pull from registries in this way.
func (f *fixture) uses(list ...containerapp.Registry) {
	f.app.Properties.Configuration = &containerapp.Configuration{Registries: list}
}

func (f *fixture) credential(t *testing.T, image string) (engine.Credential, error) {
	t.Helper()
	return f.Credential(t.Context(), engine.Ref{App: appID, Revision: "shop--1"}, image)
}

// pull fetches all of an image as an engine with a credential does.
func (f *fixture) pull(t *testing.T, image string, with engine.Credential) error {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	auth := authn.Anonymous
	if with != (engine.Credential{}) {
		auth = authn.FromConfig(authn.AuthConfig{Username: with.Username, Password: with.Password, RegistryToken: with.Token})
	}
	img, err := remote.Image(ref, remote.WithAuth(auth), remote.WithTransport(f.registry.Client.Transport), remote.WithContext(t.Context()))
	if err != nil {
		return err
	}
	return drain(img)
}

func drain(img v1.Image) error {
	layers, err := img.Layers()
	for _, l := range layers {
		if _, bad := l.Digest(); bad != nil {
			return bad
		}
		r, bad := l.Compressed()
		if bad != nil {
			return bad
		}
		_, bad = new(bytes.Buffer).ReadFrom(r)
		r.Close()
		if bad != nil {
			return bad
		}
	}
	return err
}

func TestImagesArePulledByIdentity(t *testing.T) {
	for _, tls := range []bool{false, true} {
		for _, who := range []string{"system", userID, strings.ToLower(userID)} {
			f := setUp(t, tls, nil)
			image := f.registry.PushRandom(t, "team/shop")
			f.uses(containerapp.Registry{Server: f.registry.Host, Identity: who})
			f.registry.Allow(object, "team/shop")
			f.registry.Allow(object2, "team/shop")
			if err := f.pull(t, image, engine.Credential{}); err == nil {
				t.Fatal("the registry gives its images to everybody")
			}
			with, err := f.credential(t, image)
			if err != nil {
				t.Fatalf("tls %v, %s: %v", tls, who, err)
			}
			if err := f.pull(t, image, with); err != nil {
				t.Errorf("tls %v, %s: %v", tls, who, err)
			}
		}
	}
}

func TestAnIdentityThatCodeCannotUsePulls(t *testing.T) {
	f := setUp(t, false, nil)
	image := f.registry.PushRandom(t, "team/shop")
	f.registry.Allow(object2, "team/shop")
	f.uses(containerapp.Registry{Server: f.registry.Host, Identity: userID})
	f.app.Properties.Configuration.IdentitySettings = []containerapp.IdentitySetting{{Identity: userID, Lifecycle: "None"}}
	for _, role := range []identityrules.Role{identityrules.InitContainer, identityrules.MainContainer} {
		if f.app.Rules(false).Decide(f.has[1], role).Allowed {
			t.Errorf("%s containers get tokens of the identity", role)
		}
	}
	with, err := f.credential(t, image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.pull(t, image, with); err != nil {
		t.Error(err)
	}
}

func TestWhatIsRememberedIsUsedUntilShortlyBeforeItEnds(t *testing.T) {
	f := setUp(t, false, nil)
	image := f.registry.PushRandom(t, "team/shop")
	f.registry.Allow(object, "team/shop")
	f.uses(containerapp.Registry{Server: f.registry.Host, Identity: "system"})
	for i, step := range []struct {
		after     time.Duration
		exchanges int
	}{{0, 1}, {time.Hour, 1}, {time.Hour, 1}, {54 * time.Minute, 1}, {2 * time.Minute, 2}, {time.Minute, 2}} {
		f.clock.Advance(step.after)
		with, err := f.credential(t, image)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.registry.Requests("/oauth2/exchange"); got != step.exchanges {
			t.Errorf("step %d: %d exchanges, want %d", i, got, step.exchanges)
		}
		if err := f.pull(t, image, with); err != nil {
			t.Errorf("step %d: %v", i, err)
		}
	}
	f.registry.Forget()
	with, err := f.credential(t, image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.pull(t, image, with); err != nil {
		t.Errorf("after the registry forgot its tokens: %v", err)
	}
}

func TestAnIdentityThatIsTakenAwayPullsNoMore(t *testing.T) {
	f := setUp(t, false, nil)
	image := f.registry.PushRandom(t, "team/shop")
	f.registry.Allow(object2, "team/shop")
	f.uses(containerapp.Registry{Server: f.registry.Host, Identity: userID})
	if _, err := f.credential(t, image); err != nil {
		t.Fatal(err)
	}
	f.registry.Allow(object2) // another right
	_, err := f.credential(t, image)
	wantFailure(t, err, engine.ReasonImageAuth, problem.Denied, f.registry.Host, userID, "team/shop", "AcrPull")
	f.registry.Allow(object2, "team/shop")
	if _, err := f.credential(t, image); err != nil {
		t.Errorf("the right is given again: %v", err)
	}
	f.has = f.has[:1]
	_, err = f.credential(t, image)
	wantFailure(t, err, engine.ReasonImageAuth, problem.NotFound, f.registry.Host, userID, "identity assign --name shop --resource-group rg --user-assigned "+userID)
}

// wantFailure checks an error's reason and kind, and that it says these things.
func wantFailure(t *testing.T, err error, reason engine.Reason, kind problem.Kind, says ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("there is no error")
	}
	if engine.ReasonOf(err) != reason || problem.KindOf(err) != kind {
		t.Errorf("reason %s, kind %q, want %s and %q: %v", engine.ReasonOf(err), problem.KindOf(err), reason, kind, err)
	}
	text := err.Error() + " | " + problem.NextOf(err)
	for _, s := range says {
		if !strings.Contains(text, s) {
			t.Errorf("%q does not say %q", text, s)
		}
	}
	if strings.Contains(text, "eyJ") {
		t.Errorf("%q holds a token", text)
	}
}

func TestTokensOfOthersAreNotExchanged(t *testing.T) {
	var raw atomic.Pointer[string]
	f := setUp(t, false, func(c *registries.Config) {
		c.Token = func(context.Context, containerapp.App, string, string) (string, error) { return *raw.Load(), nil }
	})
	image := f.registry.PushRandom(t, "team/shop")
	f.registry.Allow(object, "team/shop")
	f.uses(containerapp.Registry{Server: f.registry.Host, Identity: "system"})
	other, err := token.New(token.Config{
		Store: memory.New(f.clock), Clock: f.clock, Log: slog.New(slog.DiscardHandler), TenantID: tenant,
		Active: func(context.Context, string, int64) (string, error) { return "", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	for what, tt := range map[string]struct {
		by       *token.Authority
		audience string
		after    time.Duration
		good     bool
	}{
		"ours":              {by: f.authority, audience: registries.Audience, good: true},
		"another audience":  {by: f.authority, audience: "https://management.azure.com"},
		"another authority": {by: other, audience: registries.Audience},
		"expired":           {by: f.authority, audience: registries.Audience, after: 2 * time.Hour},
	} {
		made, err := tt.by.Mint(t.Context(), token.Claims{Audience: tt.audience, ObjectID: object, AppID: object, Proof: token.ProofCertificate}, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.clock.Advance(tt.after)
		raw.Store(&made.Raw)
		if _, err := f.credential(t, image); (err == nil) != tt.good {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestPasswordsComeFromSecrets(t *testing.T) {
	f := setUp(t, false, nil)
	image := f.registry.PushRandom(t, "team/shop")
	f.registry.AddUser("robot", "right")
	f.uses(containerapp.Registry{Server: strings.ToUpper(f.registry.Host), Username: "robot", PasswordSecretRef: "pw"})
	with, err := f.credential(t, image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.pull(t, image, with); err != nil {
		t.Error(err)
	}
	delete(f.secrets, "pw")
	_, err = f.credential(t, image)
	wantFailure(t, err, engine.ReasonImageAuth, problem.Unavailable, "pw", "shop", "secret show")
	if got, err := f.credential(t, "elsewhere.example/team/shop:v1"); err != nil || got != (engine.Credential{}) {
		t.Errorf("a registry that the app does not name: %v, %v", got, err)
	}
}

func TestServersAreFoundByTheirNames(t *testing.T) {
	for image, want := range map[string]string{
		"nginx": "docker.io", "team/app:1": "docker.io", "docker.io/library/nginx": "docker.io", "index.docker.io/team/app": "docker.io",
		"registry-1.docker.io/team/app": "docker.io", "R.azurecr.io/app@sha256:00": "r.azurecr.io", "r.azurecr.io:443/app": "r.azurecr.io",
		"localhost/app": "localhost", "localhost:5000/app:1": "localhost:5000", "10.0.0.1:5000/a/b": "10.0.0.1:5000", "ghcr.io/a/b:c": "ghcr.io",
	} {
		if got := registries.Server(image); got != want {
			t.Errorf("%s: %s, want %s", image, got, want)
		}
	}
}

func TestFaultsOfRegistriesAreTold(t *testing.T) {
	const secret = "internal page of another server"
	answer := func(status int, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://elsewhere.example/")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		})
	}
	for what, tt := range map[string]struct {
		by     http.Handler
		reason engine.Reason
		kind   problem.Kind
	}{
		"no exchange":      {answer(404, secret), engine.ReasonImageAuth, problem.Unsupported},
		"a web page":       {answer(200, secret), engine.ReasonImageAuth, problem.Unsupported},
		"another shape":    {answer(200, `{"refresh_token":7}`), engine.ReasonImageAuth, problem.Unsupported},
		"nothing":          {answer(200, `{}`), engine.ReasonImageAuth, problem.Unsupported},
		"a redirect":       {answer(307, secret), engine.ReasonImageAuth, problem.Unsupported},
		"refused":          {answer(401, secret), engine.ReasonImageAuth, problem.Denied},
		"forbidden":        {answer(403, secret), engine.ReasonImageAuth, problem.Denied},
		"too many":         {answer(429, secret), engine.ReasonImageNetwork, problem.Unavailable},
		"broken":           {answer(500, secret), engine.ReasonImageNetwork, problem.Unavailable},
		"a very long one":  {answer(200, `{"refresh_token":"`+strings.Repeat("x", 1<<20)+`"}`), engine.ReasonImageAuth, problem.Unsupported},
		"a cut connection": {http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), engine.ReasonImageNetwork, problem.Unavailable},
	} {
		t.Run(what, func(t *testing.T) {
			f := setUp(t, false, nil)
			f.registry.Instead(tt.by)
			f.uses(containerapp.Registry{Server: f.registry.Host, Identity: "system"})
			_, err := f.credential(t, f.registry.Host+"/team/shop:v1")
			wantFailure(t, err, tt.reason, tt.kind, f.registry.Host)
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%q quotes the answer", err)
			}
		})
	}
}

func TestASilentRegistryIsNotWaitedForLong(t *testing.T) {
	f := setUp(t, false, func(c *registries.Config) {
		c.Timeout = 50 * time.Millisecond
		c.Token = func(context.Context, containerapp.App, string, string) (string, error) { return "token", nil }
	})
	over := make(chan struct{})
	defer close(over)
	f.registry.Instead(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	f.uses(containerapp.Registry{Server: f.registry.Host, Identity: "system"})
	_, err := f.credential(t, f.registry.Host+"/team/shop:v1")
	wantFailure(t, err, engine.ReasonImageNetwork, problem.Timeout, f.registry.Host)
}

func TestTokensGoToNobodyElse(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	f := setUp(t, false, nil)
	f.uses(containerapp.Registry{Server: f.registry.Host, Identity: "system"})
	f.registry.Instead(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+other.URL+`/oauth2/token",service="x"`)
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	if _, err := f.credential(t, f.registry.Host+"/team/shop:v1"); err == nil {
		t.Error("a redirect was followed")
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("the other server was asked %d times", n)
	}
}

func TestTokensAreNotSentInTheClearOverANetwork(t *testing.T) {
	var asked []string
	f := setUp(t, false, func(c *registries.Config) {
		c.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			asked = append(asked, r.URL.Scheme+"://"+r.URL.Host)
			return nil, http.ErrSchemeMismatch
		})
	})
	f.uses(containerapp.Registry{Server: "registry.example", Identity: "system"})
	_, err := f.credential(t, "registry.example/team/shop:v1")
	wantFailure(t, err, engine.ReasonImageNetwork, problem.Unavailable, "registry.example")
	if len(asked) != 1 || asked[0] != "https://registry.example" {
		t.Errorf("asked %q", asked)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAddressesOfMetadataServicesAreNotConnectedTo(t *testing.T) {
	for _, address := range []string{"169.254.169.254", "168.63.129.16", "[fe80::1]", "0.0.0.0", "[::ffff:169.254.169.254]"} {
		f := setUp(t, false, func(c *registries.Config) {
			transport := registries.NewTransport()
			transport.Proxy = nil
			c.Transport = transport
		})
		f.uses(containerapp.Registry{Server: address + ":443", Identity: "system"})
		_, err := f.credential(t, address+":443/team/shop:v1")
		wantFailure(t, err, engine.ReasonImageNetwork, problem.Unavailable, "not one that registries have")
	}
}

func TestMissingTokensAreTold(t *testing.T) {
	for what, tt := range map[string]struct {
		err    error
		reason engine.Reason
		kind   problem.Kind
		next   string
	}{
		"not assigned": {problem.New(problem.NotFound, "it is not assigned"), engine.ReasonImageAuth, problem.NotFound, "--system-assigned"},
		"disabled":     {problem.New(problem.Denied, "it is disabled").WithNext("enable it"), engine.ReasonImageAuth, problem.Denied, "enable it"},
		"too slow":     {context.DeadlineExceeded, engine.ReasonIdentity, problem.Timeout, ""},
		"unavailable":  {problem.New(problem.Unavailable, "the cloud is away"), engine.ReasonIdentity, problem.Unavailable, ""},
	} {
		f := setUp(t, false, func(c *registries.Config) {
			c.Token = func(context.Context, containerapp.App, string, string) (string, error) { return "", tt.err }
		})
		f.uses(containerapp.Registry{Server: f.registry.Host, Identity: "system"})
		_, err := f.credential(t, f.registry.Host+"/team/shop:v1")
		wantFailure(t, err, tt.reason, tt.kind, f.registry.Host, "system", "shop", tt.next)
		if t.Failed() {
			t.Fatal(what)
		}
	}
	f := setUp(t, false, func(c *registries.Config) {
		c.Allow = func(context.Context, containerapp.App, string, string) error {
			return problem.New(problem.Denied, "tokens of the cloud go to registries of the cloud only")
		}
		c.Token = func(context.Context, containerapp.App, string, string) (string, error) {
			return "", errors.New("a token was asked for")
		}
	})
	f.uses(containerapp.Registry{Server: f.registry.Host, Identity: "system"})
	_, err := f.credential(t, f.registry.Host+"/team/shop:v1")
	wantFailure(t, err, engine.ReasonImageAuth, problem.Denied, f.registry.Host, "of the cloud only")
}
