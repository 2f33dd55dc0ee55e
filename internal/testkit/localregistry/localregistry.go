// Package localregistry owns a registry of images for tests that is asked as the
// cloud's are: a token of an identity is exchanged for a refresh token of the
// registry, that for an access token of one repository. It checks who signed tokens
// and for whom they are. It does not know where those come from.
package localregistry

import (
	"crypto/rand"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/latchkey/latchkey/internal/clock"
)

// Audience is what tokens must be made for.
const Audience = "https://containerregistry.azure.net"

// TokenUser is the user name that goes with refresh tokens.
const TokenUser = "00000000-0000-0000-0000-000000000000"

// Config says what a registry accepts.
type Config struct {
	// Keys give the keys that sign tokens of identities; see [Discovered].
	Keys func() (jose.JSONWebKeySet, error)
	// Issuer is the iss claim they must have.
	Issuer string
	Clock  clock.Clock   // nil is the system's
	Life   time.Duration // of refresh tokens; default 3 h
	TLS    bool          // else http, for loopback addresses
}

// Registry is a running registry. It is safe for concurrent use.
type Registry struct {
	Host string // with port
	// Client is one that trusts it and does not prove who it is.
	Client *http.Client

	cfg    Config
	scheme string
	secret []byte
	images http.Handler
	mu     sync.Mutex
	pulls  map[string][]string // repositories by who may pull from them
	users  map[string]string   // passwords
	counts map[string]int
	extra  http.Handler
}

// Start runs a registry until the test ends.
func Start(t testing.TB, cfg Config) *Registry {
	t.Helper()
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	if cfg.Life == 0 {
		cfg.Life = 3 * time.Hour
	}
	r := &Registry{
		cfg: cfg, secret: make([]byte, 32), pulls: map[string][]string{}, users: map[string]string{}, counts: map[string]int{},
		images: registry.New(registry.Logger(log.New(io.Discard, "", 0))), scheme: "http",
	}
	if _, err := rand.Read(r.secret); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(r)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that begin with TLS
	if cfg.TLS {
		r.scheme = "https"
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	r.Host, r.Client = u.Host, server.Client()
	return r
}

// Allow lets somebody, by object id, pull from these repositories and no others. It
// counts for access tokens that are got from now on.
func (r *Registry) Allow(objectID string, repositories ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pulls[objectID] = repositories
}

// AddUser lets a user with a password pull everything.
func (r *Registry) AddUser(user, password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.users[user] = password
}

// Instead has all requests answered by a handler; nil ends that.
func (r *Registry) Instead(h http.Handler) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.extra = h
}

// Requests gives how often a path was asked.
func (r *Registry) Requests(path string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[path]
}

// Forget makes all refresh tokens invalid, as a registry that was made anew would.
func (r *Registry) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret = []byte(rand.Text() + rand.Text())
}

// PushRandom puts an image of random content into a repository, past all rights, and
// gives its name.
func (r *Registry) PushRandom(t testing.TB, repository string) string {
	t.Helper()
	img, err := random.Image(512, 2)
	if err != nil {
		t.Fatal(err)
	}
	return r.Push(t, repository, img)
}

// Push puts an image into a repository, past all rights, and gives its name.
func (r *Registry) Push(t testing.TB, repository string, img v1.Image) string {
	t.Helper()
	open := httptest.NewServer(r.images)
	defer open.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(open.URL, "http://") + "/" + repository + ":v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return r.Host + "/" + repository + ":v1"
}

func (r *Registry) may(objectID, repository string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.pulls[objectID], repository)
}

func (r *Registry) isUser(user, password string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	had, known := r.users[user]
	return known && had == password
}
