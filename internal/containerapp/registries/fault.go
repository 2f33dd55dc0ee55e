package registries

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// who names the identity for people.
func (p pull) who() string {
	if p.identity == system {
		return "system of app " + p.app.Name
	}
	return p.identity
}

func (p pull) denied(kind problem.Kind, what string, cause error) error {
	bad := problem.Wrap(kind, "registry "+p.server+" "+what, cause)
	return engine.Fail(engine.ReasonImageAuth, bad.WithNext(problem.NextOf(cause)))
}

// noToken says why there is no token of the identity.
func (p pull) noToken(err error) error {
	what := "registry " + p.server + ": there is no token of identity " + p.who()
	if errors.Is(err, problem.NotFound) {
		return engine.Fail(engine.ReasonImageAuth, problem.Wrap(problem.NotFound, what, err).WithNext(p.assign(err)))
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return engine.Fail(engine.ReasonIdentity, problem.New(problem.Timeout, what+" in time"))
	}
	reason := engine.ReasonIdentity
	switch problem.KindOf(err) {
	case problem.Denied, problem.Unauthenticated, problem.Invalid:
		reason = engine.ReasonImageAuth
	}
	return engine.Fail(reason, problem.Wrap(problem.KindOf(err), what, err).WithNext(problem.NextOf(err)))
}

func (p pull) assign(err error) string {
	if next := problem.NextOf(err); next != "" {
		return next
	}
	which := "--user-assigned " + p.identity
	if p.identity == system {
		which = "--system-assigned"
	}
	return "latchkey containerapp identity assign --name " + p.app.Name + " --resource-group " + p.app.ID.Group() + " " + which
}

// fault says why a registry gave no credential.
func (p pull) fault(ctx context.Context, err error) error {
	var no refused
	switch {
	case errors.As(err, &no):
		what := fmt.Sprintf("registry %s does not let identity %s pull %s (it answers %d)", p.server, p.who(), p.repository, no.status)
		return engine.Fail(engine.ReasonImageAuth, problem.New(problem.Denied, what).
			WithNext("assign the role AcrPull on the registry to the identity; the registry must trust the tenant that the identity is of"))
	case errors.Is(err, errNoExchange):
		what := "registry " + p.server + " cannot be used with identity " + p.who()
		return engine.Fail(engine.ReasonImageAuth, problem.Wrap(problem.Unsupported, what, err).
			WithNext("use a registry of Azure, or a username with passwordSecretRef"))
	case ctx.Err() == context.DeadlineExceeded:
		return engine.Fail(engine.ReasonImageNetwork, problem.New(problem.Timeout, "registry "+p.server+" does not answer in time").
			WithNext("check that it can be reached from this machine"))
	}
	return engine.Fail(engine.ReasonImageNetwork, problem.Wrap(problem.Unavailable, "registry "+p.server+" cannot be asked for a token", err).
		WithNext("check its name, and that it can be reached from this machine"))
}
