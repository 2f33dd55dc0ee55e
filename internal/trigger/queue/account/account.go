// Package account owns how a storage account's queue service is asked: the few
// calls that listeners and outputs need, tried again where that helps, their
// faults in words that name no secret. It does not know what messages mean nor
// when they are asked for.
package account

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/cloudfault"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger/queue/message"
	"github.com/latchkey/latchkey/internal/trigger/storage"
)

// MaxIdle is how many connections are kept for reuse: enough for what listeners do
// at a time.
const MaxIdle = 64

const defaultRetry = 250 * time.Millisecond

// Config says which account and how it is reached.
type Config struct {
	Account storage.Account
	// Credential gets tokens if Account is opened by an identity.
	Credential azcore.TokenCredential
	Transport  http.RoundTripper // nil is [NewTransport]
	Clock      clock.Clock       // nil is the system clock
	// Retry is the wait before a request is tried again, doubling; 0 is 250 ms.
	Retry time.Duration
}

// Account is the queue service of one storage account. It is safe for concurrent
// use.
type Account struct {
	cfg    Config
	client *azqueue.ServiceClient
	where  string // the service's address, without a signature
}

// NewTransport makes a transport that heeds the proxy settings of the environment
// and keeps enough connections for what listeners do at a time.
func NewTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = MaxIdle
	return t
}

// Open makes an Account; nobody is asked before it is used. It returns
// problem.Invalid, naming the setting, for an address that cannot be used.
func Open(cfg Config) (*Account, error) {
	if cfg.Transport == nil {
		cfg.Transport = NewTransport()
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	if cfg.Retry == 0 {
		cfg.Retry = defaultRetry
	}
	a := &Account{cfg: cfg}
	var err error
	switch {
	case cfg.Account.ConnectionString != "":
		a.client, err = azqueue.NewServiceClientFromConnectionString(cfg.Account.ConnectionString, a.options())
	case cfg.Credential == nil:
		return nil, problem.New(problem.Invalid, "there is no identity for the storage account of setting "+cfg.Account.Setting)
	default:
		a.client, err = azqueue.NewServiceClient(cfg.Account.ServiceURL+"/", cloudfault.Marked(cfg.Credential), a.options())
	}
	if err != nil { // its text may hold the connection string
		return nil, problem.New(problem.Invalid, "the address of the storage account cannot be used").WithNext("correct setting " + cfg.Account.Setting)
	}
	if u, err := url.Parse(a.client.URL()); err == nil {
		a.where = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimRight(u.Path, "/")}).String()
	}
	return a, nil
}

// options leaves trying again to this package, which does so by its own clock,
// and follows no redirection: it would carry credentials elsewhere. Tokens go in
// the clear within this machine only, which [storage.Resolve] sees to.
func (a *Account) options() *azqueue.ClientOptions {
	return &azqueue.ClientOptions{ClientOptions: policy.ClientOptions{
		Retry: policy.RetryOptions{MaxRetries: -1},
		Transport: &http.Client{
			Transport:     a.cfg.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		InsecureAllowCredentialWithHTTP: strings.HasPrefix(a.cfg.Account.ServiceURL, "http://"),
	}}
}

// Queue is one queue of an account. It is safe for concurrent use.
type Queue struct {
	a      *Account
	client *azqueue.QueueClient
	name   string
}

// Queue gives a queue by its name, whether it exists or not.
func (a *Account) Queue(name string) *Queue {
	return &Queue{a: a, client: a.client.NewQueueClient(name), name: name}
}

// String names the queue's place, without a secret.
func (q *Queue) String() string { return q.a.where + "/" + q.name }

// Receive takes at most n messages out of sight for a lease of whole seconds. It
// asks once: an answer that is lost takes messages with it until their lease
// ends. Errors: [ErrNoQueue], problem.Denied, problem.Unavailable.
func (q *Queue) Receive(ctx context.Context, n int, lease time.Duration) ([]message.Received, error) {
	count, visibility := int32(n), seconds(lease)
	var got azqueue.DequeueMessagesResponse
	_, err := q.a.try(ctx, 1, func(ctx context.Context) (err error) {
		got, err = q.client.DequeueMessages(ctx, &azqueue.DequeueMessagesOptions{NumberOfMessages: &count, VisibilityTimeout: &visibility})
		return err
	})
	if err != nil {
		return nil, q.fault(ctx, receiving, err)
	}
	list := make([]message.Received, 0, len(got.Messages))
	for _, m := range got.Messages {
		if m == nil || m.MessageID == nil || m.PopReceipt == nil {
			return nil, q.fault(ctx, receiving, errNoService)
		}
		list = append(list, message.Received{
			ID: *m.MessageID, Text: value(m.MessageText), PopReceipt: *m.PopReceipt, DequeueCount: value(m.DequeueCount),
			Inserted: value(m.InsertionTime), Expires: value(m.ExpirationTime), NextVisible: value(m.TimeNextVisible),
		})
	}
	return list, nil
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// seconds gives a duration as the service takes it, rounded up.
func seconds(d time.Duration) int32 { return int32((d + time.Second - 1) / time.Second) }

// Extend keeps a message out of sight for a time from now on, 0 to show it, and
// gives the receipt and the time that count from then on. Errors: [ErrLost] and
// those of Receive.
func (q *Queue) Extend(ctx context.Context, m message.Received, by time.Duration) (message.Received, error) {
	visibility := seconds(by)
	_, err := q.a.try(ctx, maxTries, func(ctx context.Context) error {
		got, err := q.client.UpdateMessage(ctx, m.ID, m.PopReceipt, m.Text, &azqueue.UpdateMessageOptions{VisibilityTimeout: &visibility})
		if err == nil && got.PopReceipt == nil {
			return errNoService
		}
		if err == nil {
			m.PopReceipt, m.NextVisible = *got.PopReceipt, value(got.TimeNextVisible)
		}
		return err
	})
	return m, q.fault(ctx, changing, err)
}

// Delete takes a message out of the queue. Errors as for Extend.
func (q *Queue) Delete(ctx context.Context, m message.Received) error {
	unsure, err := q.a.try(ctx, maxTries, func(ctx context.Context) error {
		_, err := q.client.DeleteMessage(ctx, m.ID, m.PopReceipt, nil)
		return err
	})
	if unsure && gone(err) {
		return nil // a try whose answer was lost did it
	}
	return q.fault(ctx, deleting, err)
}

// Send adds a message, and makes the queue if it does not exist. A message may be
// added twice if an answer is lost. Errors: problem.Denied, problem.Unavailable.
func (q *Queue) Send(ctx context.Context, text string) error {
	err := q.enqueue(ctx, text)
	if !noQueue(err) {
		return q.fault(ctx, sending, err)
	}
	_, err = q.a.try(ctx, maxTries, func(ctx context.Context) error {
		_, err := q.client.Create(ctx, nil)
		return err
	})
	if err != nil && !exists(err) {
		return q.fault(ctx, creating, err)
	}
	return q.fault(ctx, sending, q.enqueue(ctx, text))
}

func (q *Queue) enqueue(ctx context.Context, text string) error {
	_, err := q.a.try(ctx, maxTries, func(ctx context.Context) error {
		_, err := q.client.EnqueueMessage(ctx, text, nil)
		return err
	})
	return err
}

// Length gives about how many messages there are, those out of sight included.
// Errors as for Receive.
func (q *Queue) Length(ctx context.Context) (int64, error) {
	var got azqueue.GetQueuePropertiesResponse
	_, err := q.a.try(ctx, 1, func(ctx context.Context) (err error) {
		got, err = q.client.GetProperties(ctx, nil)
		return err
	})
	return int64(value(got.ApproximateMessagesCount)), q.fault(ctx, measuring, err)
}
