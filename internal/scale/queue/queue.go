// Package queue owns how the length of a storage queue is found out for scale
// rules: by a connection string of a secret or by a token of an identity of the
// app. How the service is asked is the queue triggers' affair.
//
// It does not know what follows from a length nor who decides it.
package queue

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore/credential"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/scale"
	"github.com/latchkey/latchkey/internal/trigger/queue/account"
	"github.com/latchkey/latchkey/internal/trigger/storage"
)

// publicSuffix is what hosts of queue services in the public cloud end in.
const publicSuffix = "queue.core.windows.net"

// Config says how queues are reached.
type Config struct {
	// Token gives a token of an identity of a container app ("system" or the id of
	// a user-assigned one) for a resource; nil: identities open nothing.
	Token func(ctx context.Context, app, identity, resource string) (token string, expires time.Time, err error)
	// Allow is asked before a token is got for the host of a queue service that a rule
	// names and Address does not know; its error is told. nil allows.
	Allow func(ctx context.Context, app, identity, host string) error
	// Address gives the address of an account's queue service for identities, such
	// as that of an emulator; "" or nil is the public cloud's.
	Address   func(account string) string
	Transport http.RoundTripper // nil: one for all queues
	Clock     clock.Clock
}

// Reader reads lengths. It is safe for concurrent use.
type Reader struct{ cfg Config }

// New makes a Reader; nobody is asked before Length.
func New(cfg Config) *Reader {
	if cfg.Transport == nil {
		cfg.Transport = account.NewTransport()
	}
	return &Reader{cfg}
}

// Length gives about how many messages a queue has, those out of sight included.
// It asks once. Errors name the rule and no secret: problem.NotFound for a queue
// that does not exist, problem.Denied, problem.Unavailable, and problem.Invalid
// for a rule that cannot work.
func (r *Reader) Length(ctx context.Context, q scale.Queue) (int64, error) {
	found, err := r.account(ctx, q)
	if err != nil {
		return 0, err
	}
	cfg := account.Config{Account: found, Transport: r.cfg.Transport, Clock: r.cfg.Clock}
	if q.Identity != "" {
		cfg.Credential = r.credential(q)
	}
	opened, err := account.Open(cfg)
	if err != nil {
		return 0, err
	}
	place := opened.Queue(q.Name)
	n, err := place.Length(ctx)
	if errors.Is(err, account.ErrNoQueue) {
		return 0, problem.New(problem.NotFound, "queue "+place.String()+" does not exist").WithNext("make it, or correct queueName of " + rule(q))
	}
	return n, err
}

func rule(q scale.Queue) string { return fmt.Sprintf("scale rule %q", q.Rule) }

// account finds the account of a rule.
func (r *Reader) account(ctx context.Context, q scale.Queue) (storage.Account, error) {
	if q.Identity != "" {
		return r.identified(ctx, q)
	}
	if q.Connection == "" {
		return storage.Account{}, problem.New(problem.Invalid, "the connection string of "+rule(q)+" is empty").
			WithNext("put a connection string into the secret of its triggerParameter connection")
	}
	return storage.Resolve(only(rule(q), q.Connection), rule(q), storage.Queues())
}

// only is settings with nothing but one.
func only(name, value string) func(string) string {
	return func(asked string) string {
		if asked == name {
			return value
		}
		return ""
	}
}

var (
	accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
	hostSuffix  = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,200}[a-zA-Z0-9])?(:[0-9]{1,5})?$`)
)

// identified gives an account that an identity opens. Its token travels by https,
// or within this machine, which [storage.Resolve] sees to.
func (r *Reader) identified(ctx context.Context, q scale.Queue) (storage.Account, error) {
	suffix := q.Endpoint
	if suffix == "" {
		suffix = publicSuffix
	}
	switch {
	case !accountName.MatchString(q.Account):
		return storage.Account{}, problem.New(problem.Invalid, "accountName of "+rule(q)+" cannot be the name of a storage account").
			WithNext("names have 3 to 24 lower-case letters and digits")
	case !hostSuffix.MatchString(suffix):
		return storage.Account{}, problem.New(problem.Invalid, "endpointSuffix of "+rule(q)+" cannot be the end of a host name").
			WithNext("set it to such as " + publicSuffix)
	}
	address, known := "https://"+q.Account+"."+suffix, ""
	if r.cfg.Address != nil && q.Endpoint == "" {
		known = r.cfg.Address(q.Account)
	}
	if known != "" {
		address = known
	} else if r.cfg.Allow != nil {
		if err := r.cfg.Allow(ctx, q.App, q.Identity, q.Account+"."+suffix); err != nil {
			return storage.Account{}, problem.Wrap(problem.KindOf(err), rule(q)+" must not be given a token of identity "+q.Identity, err).WithNext(problem.NextOf(err))
		}
	}
	return storage.Resolve(only(rule(q)+"__queueServiceUri", address), rule(q), storage.Queues())
}

// credential gets tokens of the rule's identity.
func (r *Reader) credential(q scale.Queue) credential.Token {
	return credential.FromFunc(func(ctx context.Context, resource string) (string, time.Time, error) {
		if r.cfg.Token == nil {
			return "", time.Time{}, problem.New(problem.Unsupported, "identities open no queues here")
		}
		return r.cfg.Token(ctx, q.App, q.Identity, resource)
	})
}
