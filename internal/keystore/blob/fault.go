package blob

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/cloudfault"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	maxTries   = 4
	tryTimeout = 10 * time.Second // of one try
	maxWait    = 10 * time.Second // that the service may ask for; more is a refusal
)

// try makes a request, again after faults that pass: no answer, a broken one, too
// many requests, a service in trouble. unsure says that a try without a clear
// answer went before the last one or was it.
func (c *connection) try(ctx context.Context, do func(context.Context, *container.Client) error) (unsure bool, err error) {
	for n := 0; ; n++ {
		if err = c.once(ctx, do); !passing(err) || ctx.Err() != nil {
			return unsure || ctx.Err() != nil, err
		}
		unsure = unsure || !throttled(err)
		wait := c.cfg.Retry<<n/2 + rand.N(c.cfg.Retry<<n)
		if asked := cloudfault.RetryAfter(err, c.cfg.Clock.Now()); asked > 0 {
			wait = asked
		}
		if n+1 == maxTries || wait > maxWait {
			return unsure, err
		}
		if clock.Sleep(ctx, c.cfg.Clock, wait) != nil {
			return unsure, err
		}
	}
}

func (c *connection) once(ctx context.Context, do func(context.Context, *container.Client) error) error {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	return do(ctx, c.current())
}

// passing reports whether trying again may help.
func passing(err error) bool {
	for _, final := range []error{keystore.ErrUndecryptable, errNoService, problem.Denied} {
		if errors.Is(err, final) {
			return false
		}
	}
	return cloudfault.Passing(err)
}

// throttled reports whether the service said that it did nothing.
func throttled(err error) bool {
	var answer *azcore.ResponseError
	return errors.As(err, &answer) && (answer.StatusCode == http.StatusTooManyRequests || bloberror.HasCode(err, bloberror.ServerBusy))
}

// absent reports whether the service said that there is no such blob. With a
// shared access signature the container must exist.
func (c *connection) absent(err error) bool {
	return bloberror.HasCode(err, bloberror.BlobNotFound) || c.cfg.SAS == nil && bloberror.HasCode(err, bloberror.ContainerNotFound)
}

// action is what was tried, with the permission it takes.
type action struct {
	verb  string // "be read"
	right string // of the built-in roles
	sas   string // the letters in a signature's sp
	write bool
}

var (
	reading  = action{"be read", "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read", "r", false}
	listing  = action{"be listed", "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read", "l", false}
	writing  = action{"be written", "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write", "cw", true}
	deleting = action{"be deleted", "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete", "d", true}
	creating = action{"be made", "Microsoft.Storage/storageAccounts/blobServices/containers/write", "", true}
)

// errRaced says that somebody else wrote first.
var errRaced = errors.New("the blob changed")

// fault puts an error into the store's terms, without the texts of the service
// and of net/http, which quote signatures. nil stays nil.
func (c *connection) fault(ctx context.Context, a action, name string, err error) error {
	if err == nil {
		return nil
	}
	if dead := keystore.Alive(ctx); dead != nil {
		return dead
	}
	what := strings.TrimRight(c.where+"/"+name, "/")
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return c.answered(a, what, answer)
	}
	if errors.Is(err, keystore.ErrUndecryptable) {
		return fmt.Errorf("%s: %w", what, err)
	}
	if errors.Is(err, problem.Denied) { // the credential's own word: there is no such identity
		return problem.Wrap(problem.Denied, what+" cannot "+a.verb, cloudfault.Cause(err)).WithNext(problem.NextOf(err))
	}
	return problem.Wrap(keystore.ErrUnavailable, what+" cannot "+a.verb, cloudfault.Cause(err)).
		WithNext("see whether the storage account can be reached from here; keys that were read before stay in force")
}

// answered sorts the service's refusals.
func (c *connection) answered(a action, what string, answer *azcore.ResponseError) error {
	code := bloberror.Code(answer.ErrorCode)
	refuse := func(kind problem.Kind, next string) error {
		return problem.New(kind, fmt.Sprintf("%s cannot %s: the storage account answers %s", what, a.verb, spell(answer))).WithNext(next)
	}
	switch code {
	case bloberror.ConditionNotMet, bloberror.BlobAlreadyExists:
		return errRaced
	case bloberror.BlobNotFound:
		if a.write {
			return errRaced
		}
	case bloberror.ContainerNotFound:
		return refuse(keystore.ErrUnavailable, "make the container: a shared access signature is for one that exists")
	case bloberror.BlobArchived, bloberror.BlobBeingRehydrated:
		return refuse(keystore.ErrUnavailable, "AZFD0008: the blob is in the archive tier; set its access tier to Hot, exclude the container from "+
			"rules that archive, and wait until it is rehydrated; no keys are generated meanwhile")
	case bloberror.BlobImmutableDueToPolicy:
		return refuse(keystore.ErrReadOnly, "take the immutability policy off the container")
	case bloberror.LeaseIDMissing:
		return refuse(keystore.ErrUnavailable, "somebody holds a lease on the blob; end it")
	}
	switch {
	case answer.StatusCode == http.StatusUnauthorized, code == bloberror.AuthenticationFailed, code == bloberror.InvalidAuthenticationInfo,
		answer.StatusCode == http.StatusForbidden && c.expired():
		return refuse(problem.Denied, c.renewal())
	case answer.StatusCode == http.StatusForbidden && a.write:
		return refuse(keystore.ErrReadOnly, c.permission(a))
	case answer.StatusCode == http.StatusForbidden:
		return refuse(problem.Denied, c.permission(a))
	default:
		return refuse(keystore.ErrUnavailable, "keys that were read before stay in force")
	}
}

func spell(answer *azcore.ResponseError) string {
	if answer.ErrorCode == "" {
		return strconv.Itoa(answer.StatusCode)
	}
	return fmt.Sprintf("%d (%s)", answer.StatusCode, answer.ErrorCode)
}

// renewal is what to do about a credential that is not accepted.
func (c *connection) renewal() string {
	if c.cfg.SAS != nil {
		return "renew " + SASSetting + ": its signature is wrong, not yet valid or expired; the new value counts at once"
	}
	if c.cfg.ConnectionString != "" {
		return "correct the account key in " + StorageSetting + ", and see whether this machine's clock is right"
	}
	return "see whether the identity of " + StorageSetting + " is of the storage account's tenant"
}

// expired reports whether the signature in use has run out.
func (c *connection) expired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	u, err := url.Parse(c.sas)
	if err != nil {
		return false
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04Z07:00", time.DateOnly} {
		if end, err := time.Parse(form, u.Query().Get("se")); err == nil {
			return !c.cfg.Clock.Now().Before(end)
		}
	}
	return false
}

// permission is what to do about a missing one.
func (c *connection) permission(a action) string {
	if c.cfg.SAS != nil {
		if a.sas == "" {
			return "make the container yourself"
		}
		return fmt.Sprintf("put a shared access signature with the permissions %q (sp=) into %s, and see the account's network rules", a.sas, SASSetting)
	}
	if c.cfg.ConnectionString != "" {
		return "see the account's network rules, and whether it allows access by account key"
	}
	return "give the identity of " + StorageSetting + " the role Storage Blob Data Contributor (it lacks " + a.right + "), and see the account's network rules"
}
