// Package queue owns the triggers and outputs of storage queues: when queues are
// looked at, how many messages are worked on at a time, when a message is done,
// tried again or poison, and what outputs send. What is in a message is package
// message's, how the service is asked package account's. It does not know workers
// nor where identities get their tokens.
package queue

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/keystore/credential"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger"
	"github.com/latchkey/latchkey/internal/trigger/expression"
	"github.com/latchkey/latchkey/internal/trigger/queue/account"
	"github.com/latchkey/latchkey/internal/trigger/queue/message"
	"github.com/latchkey/latchkey/internal/trigger/storage"
)

// Types of the bindings.
const (
	TriggerType = "queueTrigger"
	OutputType  = "queue"
)

// DefaultLease is how long a message that is being worked on is out of sight; it
// is renewed at half time.
const DefaultLease = 10 * time.Minute

// Config says how the queues of one app are reached. The zero value is for an app
// that runs with the identity of this process.
type Config struct {
	// Credential gives what gets tokens for connections without a secret; nil is
	// credential.New, the identity of this process.
	Credential func(credential.Request) (credential.Token, error)
	// Transport sends the requests; nil is one for all queues of the app.
	Transport http.RoundTripper
	// Lease is how long messages are out of sight, whole seconds; 0 is DefaultLease.
	Lease time.Duration
	// Retry is the wait before a request is tried again, doubling; 0 is 250 ms.
	Retry time.Duration
}

func (c Config) complete() Config {
	if c.Credential == nil {
		c.Credential = credential.New
	}
	if c.Transport == nil {
		c.Transport = account.NewTransport()
	}
	if c.Lease == 0 {
		c.Lease = DefaultLease
	}
	return c
}

// Bindings gives the source of queue triggers and the sink of queue outputs of an
// app. Both are safe for concurrent use.
func Bindings(cfg Config) (trigger.Source, trigger.Sink) {
	cfg = cfg.complete()
	return source{cfg}, sink{cfg}
}

// open makes the account that a binding's connection names.
func (c Config) open(s *trigger.Setup) (*account.Account, error) {
	found, err := storage.Resolve(s.Setting, s.Binding.Connection, storage.Queues())
	if err != nil {
		return nil, err
	}
	a := account.Config{Account: found, Transport: c.Transport, Clock: s.Clock, Retry: c.Retry}
	if found.ConnectionString == "" {
		if a.Credential, err = c.Credential(found.Identity); err != nil {
			return nil, err
		}
	}
	return account.Open(a)
}

type source struct{ cfg Config }

// Type implements [trigger.Source].
func (source) Type() string { return TriggerType }

// Check implements [trigger.Source].
func (source) Check(s *trigger.Setup) []funcapp.Fault {
	return check(s, func(t expression.Template) error {
		if !t.Constant() {
			return problem.New(problem.Invalid, fmt.Sprintf("%q names no queue: a trigger has no data for expressions in braces yet", t)).
				WithNext("write %Setting% for a name that a setting gives")
		}
		return message.CheckName(strings.ToLower(t.String()))
	})
}

// Listener implements [trigger.Source].
func (so source) Listener(s *trigger.Setup) (trigger.Listener, error) {
	a, err := so.cfg.open(s)
	if err != nil {
		return nil, err
	}
	return newListener(so.cfg, s, a), nil
}

// queueName gives the name of a binding's queue as it was written, in lower case:
// there are no others.
func queueName(b *funcapp.Binding) (string, bool) {
	name, ok := b.Properties["queuename"].(string)
	return name, ok && name != ""
}

// check finds what is wrong with a binding's queue name and connection.
func check(s *trigger.Setup, checkName func(expression.Template) error) []funcapp.Fault {
	var faults []funcapp.Fault
	add := func(member string, err error) {
		faults = append(faults, funcapp.Fault{
			Message: fmt.Sprintf("%s of binding %q: %v", member, s.Binding.Name, err), Next: problem.NextOf(err),
		})
	}
	if name, ok := queueName(s.Binding); !ok {
		add("queueName", problem.New(problem.Invalid, "it is missing").WithNext(`add "queueName"`))
	} else if t, err := expression.Parse(name); err != nil {
		add("queueName", err)
	} else if err := checkName(t); err != nil {
		add("queueName", err)
	}
	if _, err := storage.Resolve(s.Setting, s.Binding.Connection, storage.Queues()); err != nil {
		add("connection", err)
	}
	return faults
}
