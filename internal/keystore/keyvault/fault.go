package keyvault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/cloudfault"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	maxTries   = 5
	tryTimeout = 10 * time.Second // of one try
	maxWait    = 20 * time.Second // that the vault may ask for; more is a refusal
)

// What the vault says of a secret that is not simply there.
var (
	errGone     = errors.New("there is no such secret")
	errOff      = errors.New("the secret is disabled")
	errDeleted  = errors.New("the secret is deleted and can be recovered")
	errDeleting = errors.New("the secret is being deleted or recovered")
)

// try makes a request, again after faults that pass.
func (c *connection) try(ctx context.Context, do func(context.Context) error) error {
	return c.again(ctx, func() error { return c.once(ctx, do) })
}

// again does something again after faults that pass: no answer, a broken one, too
// many requests, a vault in trouble.
func (c *connection) again(ctx context.Context, do func() error) error {
	for n := 0; ; n++ {
		err := do()
		if !passing(err) || ctx.Err() != nil {
			return err
		}
		wait := c.cfg.Retry<<n/2 + rand.N(c.cfg.Retry<<n)
		if asked := cloudfault.RetryAfter(err, c.cfg.Clock.Now()); asked > 0 {
			wait = asked
		}
		if n+1 == maxTries || wait > maxWait || clock.Sleep(ctx, c.cfg.Clock, wait) != nil {
			return err
		}
	}
}

// once makes a request when fewer than inFlight are under way.
func (c *connection) once(ctx context.Context, do func(context.Context) error) error {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	return do(ctx)
}

// passing reports whether trying again may help.
func passing(err error) bool {
	return !errors.Is(err, errEndless) && !errors.Is(err, problem.Denied) && cloudfault.Passing(err)
}

// action is what was tried, with the permission it takes.
type action struct {
	verb  string // "be read"
	right string // of access policies, and the end of the data action
	write bool
}

var (
	reading    = action{"be read", "Get", false}
	listing    = action{"be listed", "List", false}
	writing    = action{"be written", "Set", true}
	deleting   = action{"be deleted", "Delete", true}
	recovering = action{"be recovered", "Recover", true}
)

// fault puts an error into the store's terms, without the vault's texts. nil stays
// nil.
func (c *connection) fault(ctx context.Context, a action, name string, err error) error {
	if err == nil {
		return nil
	}
	if dead := keystore.Alive(ctx); dead != nil {
		return dead
	}
	what := "the secrets of " + c.cfg.URI
	if name != "" {
		what = "secret " + c.prefix + name + " of " + c.cfg.URI
	}
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return answered(a, what, answer)
	}
	if errors.Is(err, problem.Denied) { // the credential's own word: there is no such identity
		return problem.Wrap(problem.Denied, what+" cannot "+a.verb, cloudfault.Cause(err)).WithNext(problem.NextOf(err))
	}
	return problem.Wrap(keystore.ErrUnavailable, what+" cannot "+a.verb, cloudfault.Cause(err)).
		WithNext("see whether the vault can be reached from here, and whether its name is right; keys that were read before stay in force")
}

// answered sorts the vault's refusals.
func answered(a action, what string, answer *azcore.ResponseError) error {
	code := innermost(answer)
	refuse := func(kind problem.Kind, next string) error {
		text := fmt.Sprintf("%s cannot %s: the vault answers %d", what, a.verb, answer.StatusCode)
		if code != "" {
			text += " (" + code + ")"
		}
		return problem.New(kind, text).WithNext(next)
	}
	switch code {
	case "SecretDisabled":
		return errOff
	case "ObjectIsDeletedButRecoverable":
		return errDeleted
	case "ObjectIsBeingDeleted", "ObjectIsBeingRecovered", "ObjectIsBeingCreated":
		return errDeleting
	}
	switch status := answer.StatusCode; {
	case status == http.StatusNotFound && code == "SecretNotFound":
		return errGone
	case status == http.StatusUnauthorized:
		return refuse(problem.Denied, "see whether the identity is of the vault's tenant")
	case status == http.StatusForbidden:
		kind := problem.Denied
		if a.write {
			kind = keystore.ErrReadOnly
		}
		return refuse(kind, permission(a, code))
	case status == http.StatusBadRequest && a.write:
		return refuse(keystore.ErrInvalid, "see the limits of secrets, and the policies that the vault is under")
	default:
		return refuse(keystore.ErrUnavailable, "keys that were read before stay in force")
	}
}

// permission is what to do about a missing one.
func permission(a action, code string) string {
	if code == "ForbiddenByFirewall" || code == "ForbiddenByConnection" {
		return "let this machine's address through the vault's firewall"
	}
	next := "give the identity the role Key Vault Secrets Officer at the vault, or in its access policy the secret permission " + a.right
	switch a {
	case listing:
		next += "; or set " + AccessSetting + "=get to read the keys that are known by name only"
	case reading:
		next += "; to read only, the role Key Vault Secrets User is enough"
	case recovering:
		next += "; or recover or purge the deleted secret"
	}
	return next
}

// innermost gives the most precise code of an answer.
func innermost(answer *azcore.ResponseError) string {
	type fault struct {
		Code  string `json:"code"`
		Inner *fault `json:"innererror"`
	}
	var body struct {
		Error fault `json:"error"`
	}
	if answer.RawResponse != nil {
		if text, err := runtime.Payload(answer.RawResponse); err == nil {
			_ = json.Unmarshal(text, &body) // what is no JSON explains nothing
		}
	}
	code := answer.ErrorCode
	for f := &body.Error; f != nil; f = f.Inner {
		if f.Code != "" {
			code = f.Code
		}
	}
	return code[:min(len(code), 100)]
}
