package etcd

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Defaults of [Config].
const (
	DefaultPrefix         = "/latchkey"
	DefaultDialTimeout    = 5 * time.Second
	DefaultRequestTimeout = 5 * time.Second
)

// How connections are kept: a member that has gone without a word is noticed
// after pingAfter and pingWait, one that comes back is used after redialMost.
// Servers refuse pings more often than every five seconds.
const (
	redialFirst = 50 * time.Millisecond
	redialMost  = 2 * time.Second
	pingAfter   = 10 * time.Second
	pingWait    = 3 * time.Second
)

// Config says which etcd and how to reach it.
type Config struct {
	// Endpoints are the client URLs of the members, for example
	// "https://etcd-1:2379". Without a scheme they are https if TLS is set, http
	// otherwise; all have the same. They hold no user name or password.
	Endpoints []string
	// Prefix comes before every key, so that an etcd can be shared; "" is
	// DefaultPrefix. It follows the rules of a state.Key.
	Prefix string
	// Username and Password are for etcd's own authentication; both or none.
	Username string
	Password string
	// TLS is for https endpoints; nil there trusts the system's authorities.
	TLS *tls.Config
	// DialTimeout bounds one attempt to connect; 0 is DefaultDialTimeout.
	DialTimeout time.Duration
	// RequestTimeout bounds every request, whatever happens to the members in
	// the meantime; 0 is DefaultRequestTimeout.
	RequestTimeout time.Duration
	// Clock times leases and looks at the store's health; nil is the system clock.
	Clock clock.Clock
	// Log hears of lost connections and leases; nil is nobody.
	Log *slog.Logger
}

// complete checks a configuration and fills in defaults.
func (c Config) complete() (Config, error) {
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if err := state.CheckKey(state.Key(c.Prefix)); err != nil {
		return c, problem.Wrap(problem.Invalid, "the prefix of the keys in etcd cannot be used", err)
	}
	if (c.Username == "") != (c.Password == "") {
		return c, problem.New(problem.Invalid, "etcd's user name and password go together; one of them is missing")
	}
	if c.DialTimeout < 0 || c.RequestTimeout < 0 {
		return c, problem.New(problem.Invalid, "a timeout for etcd is negative")
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = DefaultDialTimeout
	}
	if c.RequestTimeout == 0 {
		c.RequestTimeout = DefaultRequestTimeout
	}
	if c.Clock == nil {
		c.Clock = clock.Real{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c.withEndpoints()
}

// withEndpoints brings the endpoints into one form. The client would connect to
// all of them as the first one's scheme says, and without encryption if that is
// http even with TLS settings: neither must go unnoticed.
func (c Config) withEndpoints() (Config, error) {
	if len(c.Endpoints) == 0 {
		return c, problem.New(problem.Invalid, "no etcd endpoint is given").WithNext("name at least one, such as https://etcd-1:2379")
	}
	c.Endpoints = slices.Clone(c.Endpoints)
	first := ""
	for i, text := range c.Endpoints {
		u, err := c.endpoint(text)
		if err != nil {
			return c, problem.Wrap(problem.Invalid, fmt.Sprintf("etcd endpoint number %d cannot be used", i+1), err).
				WithNext("write it like https://etcd-1:2379")
		}
		if first == "" {
			first = u.Scheme
		}
		if u.Scheme != first {
			return c, problem.New(problem.Invalid, fmt.Sprintf("etcd endpoint number %d is %s, the first is %s; all must be the same", i+1, u.Scheme, first))
		}
		c.Endpoints[i] = u.Scheme + "://" + u.Host
	}
	if c.TLS != nil && first == "http" {
		return c, problem.New(problem.Invalid, "there are TLS settings for etcd but the endpoints are http").
			WithNext("write the endpoints with https://")
	}
	return c, nil
}

// endpoint reads one endpoint. Errors do not repeat the text: it could hold a
// password.
func (c Config) endpoint(text string) (*url.URL, error) {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "://") {
		scheme := "http"
		if c.TLS != nil {
			scheme = "https"
		}
		text = scheme + "://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, problem.New(problem.Invalid, "it is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, problem.New(problem.Invalid, "it is neither http nor https")
	case u.User != nil:
		return nil, problem.New(problem.Invalid, "it holds a user name or password, which have settings of their own")
	case u.Hostname() == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, problem.New(problem.Invalid, "it is not just a host and a port")
	}
	return u, nil
}

// client gives the settings of the client library, whose own log stays silent:
// what matters comes back as errors. note sees every attempt at a request.
func (c Config) client(note grpc.UnaryClientInterceptor) clientv3.Config {
	retry := backoff.DefaultConfig
	retry.BaseDelay, retry.MaxDelay = redialFirst, redialMost
	return clientv3.Config{
		Endpoints:            c.Endpoints,
		Username:             c.Username,
		Password:             c.Password,
		TLS:                  c.TLS,
		DialTimeout:          c.DialTimeout,
		DialKeepAliveTime:    pingAfter,
		DialKeepAliveTimeout: pingWait,
		DialOptions: []grpc.DialOption{
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: c.DialTimeout}),
			grpc.WithChainUnaryInterceptor(note),
		},
		Logger: zap.NewNop(),
	}
}
