package account

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2/queueerror"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/cloudfault"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	maxTries   = 4
	tryTimeout = 10 * time.Second // of one try
	maxWait    = 10 * time.Second // that the service may ask for within a call; more is a refusal
)

var (
	// ErrNoQueue says that the queue does not exist.
	ErrNoQueue = problem.New(problem.NotFound, "the queue does not exist")
	// ErrLost says that a message is not the caller's any more: its lease has ended
	// and it was given to others, or it is gone.
	ErrLost = problem.New(problem.Conflict, "the message was given to others or is gone")
)

// errNoService is for answers that a storage account does not give.
var errNoService = errors.New("the answer is not that of a storage account")

// Busy is the cause of an error of a service that asks to be left alone for a time.
type Busy struct {
	After time.Duration
	err   error
}

// Error gives the cause's text.
func (b *Busy) Error() string { return b.err.Error() }

// Unwrap gives the cause.
func (b *Busy) Unwrap() error { return b.err }

// try makes a request, again after faults that pass: no answer, a broken one, too
// many requests, a service in trouble. unsure says that a try without a clear
// answer may have taken place. Only the wait between tries goes by the clock.
func (a *Account) try(ctx context.Context, tries int, do func(context.Context) error) (unsure bool, err error) {
	for n := 0; ; n++ {
		err = once(ctx, do)
		if !passing(err) || ctx.Err() != nil {
			return unsure, err
		}
		unsure = unsure || !throttled(err)
		wait := a.cfg.Retry<<n/2 + rand.N(a.cfg.Retry<<n)
		asked := cloudfault.RetryAfter(err, a.cfg.Clock.Now())
		if n+1 >= tries || asked > maxWait {
			if asked > 0 {
				err = &Busy{After: asked, err: err}
			}
			return unsure, err
		}
		if clock.Sleep(ctx, a.cfg.Clock, max(wait, asked)) != nil {
			return unsure, err
		}
	}
}

func once(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	return do(ctx)
}

// passing reports whether trying again may help.
func passing(err error) bool {
	if errors.Is(err, errNoService) || errors.Is(err, problem.Denied) {
		return false
	}
	return cloudfault.Passing(err) || queueerror.HasCode(err, queueerror.QueueBeingDeleted) // of this name, for some time
}

// throttled reports whether the service said that it did nothing.
func throttled(err error) bool {
	var answer *azcore.ResponseError
	return errors.As(err, &answer) && (answer.StatusCode == http.StatusTooManyRequests || queueerror.HasCode(err, queueerror.ServerBusy))
}

func noQueue(err error) bool { return queueerror.HasCode(err, queueerror.QueueNotFound) }
func exists(err error) bool  { return queueerror.HasCode(err, queueerror.QueueAlreadyExists) }
func gone(err error) bool {
	return queueerror.HasCode(err, queueerror.MessageNotFound, queueerror.PopReceiptMismatch)
}

// action is what was tried, with the permission it takes.
type action struct {
	verb string // "cannot be …"
	role string // the built-in role that permits it
	sas  string // the letters in a signature's sp
}

var (
	receiving = action{"give messages", "Storage Queue Data Message Processor", "p"}
	changing  = action{"keep a message", "Storage Queue Data Contributor", "u"}
	deleting  = action{"delete a message", "Storage Queue Data Message Processor", "p"}
	sending   = action{"take a message", "Storage Queue Data Message Sender", "a"}
	creating  = action{"be made", "Storage Queue Data Contributor", "c"}
	measuring = action{"tell its length", "Storage Queue Data Reader", "r"}
)

// fault puts an error into terms of this package, without the texts of the service
// and of net/http, which quote signatures. nil stays nil.
func (q *Queue) fault(ctx context.Context, a action, err error) error {
	var answer *azcore.ResponseError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && !errors.As(err, &answer):
		return ctx.Err()
	case noQueue(err):
		return ErrNoQueue
	case gone(err):
		return ErrLost
	case errors.Is(err, problem.Denied): // the credential's own word: there is no such identity
		return problem.Wrap(problem.Denied, q.cannot(a), cloudfault.Cause(err)).WithNext(problem.NextOf(err))
	case !errors.As(err, &answer):
		return problem.Wrap(problem.Unavailable, q.cannot(a), cloudfault.Cause(err)).WithNext("see whether the storage account can be reached from here")
	}
	return q.answered(a, answer, err)
}

func (q *Queue) cannot(a action) string { return "queue " + q.String() + " cannot " + a.verb }

// answered sorts the service's refusals.
func (q *Queue) answered(a action, answer *azcore.ResponseError, err error) error {
	refuse := func(kind problem.Kind, next string) error {
		var cause error
		if busy := (*Busy)(nil); errors.As(err, &busy) {
			cause = &Busy{After: busy.After, err: errors.New("it asks for a pause of " + busy.After.String())}
		}
		return problem.Wrap(kind, q.cannot(a)+": the storage account answers "+spell(answer), cause).WithNext(next)
	}
	switch {
	case answer.StatusCode == http.StatusUnauthorized, queueerror.HasCode(err, queueerror.AuthenticationFailed, queueerror.InvalidAuthenticationInfo):
		return refuse(problem.Denied, q.a.renewal())
	case answer.StatusCode == http.StatusForbidden:
		return refuse(problem.Denied, q.a.permission(a))
	case answer.StatusCode == http.StatusBadRequest, answer.StatusCode == http.StatusRequestEntityTooLarge:
		return refuse(problem.Invalid, "")
	}
	return refuse(problem.Unavailable, "see the state of the storage account")
}

func spell(answer *azcore.ResponseError) string {
	if answer.ErrorCode == "" {
		return strconv.Itoa(answer.StatusCode)
	}
	return fmt.Sprintf("%d (%s)", answer.StatusCode, answer.ErrorCode)
}

func (a *Account) signed() bool {
	return strings.Contains(a.cfg.Account.ConnectionString, "SharedAccessSignature=")
}

// renewal is what to do about a credential that is not accepted.
func (a *Account) renewal() string {
	switch {
	case a.signed():
		return "renew the signature in " + a.cfg.Account.Setting + ": it is wrong, not yet valid or expired"
	case a.cfg.Account.ConnectionString != "":
		return "correct the account key in " + a.cfg.Account.Setting + ", and see whether this machine's clock is right"
	}
	return "see whether the identity of " + a.cfg.Account.Setting + " is of the storage account's tenant"
}

// permission is what to do about a missing one.
func (a *Account) permission(what action) string {
	switch {
	case a.signed():
		return fmt.Sprintf("put a shared access signature with the permission %q (sp=) into %s, and see the account's network rules", what.sas, a.cfg.Account.Setting)
	case a.cfg.Account.ConnectionString != "":
		return "see the account's network rules, and whether it allows access by account key"
	}
	return "give the identity of " + a.cfg.Account.Setting + " the role " + what.role + ", and see the account's network rules"
}
