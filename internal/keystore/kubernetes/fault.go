package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/kubeapi"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	maxTries = 4
	maxWait  = 10 * time.Second // that the server may ask for; more is a refusal
)

// try makes a call, again after faults that pass. unsure says that a try without
// a clear answer went before the last one or was it.
func (o *object) try(ctx context.Context, r request) (got apiObject, unsure bool, err error) {
	for n := 0; ; n++ {
		got, err = o.client.object(ctx, r)
		if !kubeapi.Passing(err) || ctx.Err() != nil {
			return got, unsure || ctx.Err() != nil, err
		}
		wait := o.cfg.Retry<<n/2 + rand.N(o.cfg.Retry<<n)
		var answer *kubeapi.Status
		if !errors.As(err, &answer) || answer.HTTP != http.StatusTooManyRequests {
			unsure = true
		}
		if answer != nil && answer.Wait > 0 {
			wait = answer.Wait
		}
		if n+1 == maxTries || wait > maxWait || clock.Sleep(ctx, o.cfg.Clock, wait) != nil {
			return got, unsure, err
		}
	}
}

// errRaced says that somebody else wrote first.
var errRaced = errors.New("the object changed")

// fault puts an error into the store's terms, without the texts of the server and
// of net/http. verb is the permission that the call takes. nil stays nil.
func (o *object) fault(ctx context.Context, verb string, err error) error {
	if err == nil {
		return nil
	}
	if dead := keystore.Alive(ctx); dead != nil {
		return dead
	}
	var answer *kubeapi.Status
	if errors.As(err, &answer) {
		return o.answered(verb, answer)
	}
	if problem.KindOf(err) != problem.Internal {
		return err
	}
	var withURL *url.Error
	for errors.As(err, &withURL) {
		err = withURL.Err
	}
	return problem.Wrap(keystore.ErrUnavailable, fmt.Sprintf("%s cannot be asked", o), err).
		WithNext("see whether the API server can be reached from here; keys that were read before stay in force")
}

func (o *object) answered(verb string, s *kubeapi.Status) error {
	write := verb == "create" || verb == "patch"
	refuse := func(kind problem.Kind, next string) error {
		return problem.New(kind, fmt.Sprintf("%s: the API server answers %s", o, s)).WithNext(next)
	}
	grant := fmt.Sprintf("give the service account a Role with verb %q on resource %q", verb, o.cfg.Kind)
	if verb != "create" {
		grant += fmt.Sprintf(", resourceNames %q", o.cfg.Name)
	}
	switch {
	case s.HTTP == http.StatusConflict, write && s.Missing(o.cfg.Name):
		return errRaced
	case s.HTTP == http.StatusUnauthorized:
		return refuse(problem.Denied, "see whether the token of the service account is valid for this cluster")
	case s.HTTP == http.StatusForbidden && write:
		return refuse(keystore.ErrReadOnly, grant+"; if it has that, see the quota of the namespace and its admission rules")
	case s.HTTP == http.StatusForbidden:
		return refuse(problem.Denied, grant)
	case s.HTTP == http.StatusUnprocessableEntity && s.Touches("data"):
		return refuse(keystore.ErrReadOnly, "the object is immutable: make a new one with the keys and name it in "+NameSetting)
	case s.HTTP == http.StatusBadRequest, s.HTTP == http.StatusUnprocessableEntity, s.HTTP == http.StatusRequestEntityTooLarge:
		return refuse(keystore.ErrInvalid, "the API server does not take this content; see its audit log for the reason")
	case s.HTTP == http.StatusNotFound && s.Reason == "NotFound" && s.Details.Kind == "namespaces":
		return refuse(keystore.ErrUnavailable, "make the namespace")
	default:
		return refuse(keystore.ErrUnavailable, "keys that were read before stay in force")
	}
}
