// Package authorization serves Microsoft.Authorization: role definitions and role
// assignments at any scope, and the lists of what this installation does not have
// (deny assignments, classic administrators). It does not decide who may call; but
// it refuses definitions that would reach beyond the caller's own scopes.
package authorization

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/rbac"
	"github.com/latchkey/latchkey/internal/resource"
)

// Service serves the operations. It is safe for concurrent use.
type Service struct {
	// Groups gives the groups that a principal is in, for lists of what is assigned
	// to it through them; nil for none. Set it before use.
	Groups func(ctx context.Context, principal string) ([]string, error)

	roles *rbac.Roles
}

// New makes a Service.
func New(roles *rbac.Roles) *Service { return &Service{roles: roles} }

// maxPage is the most items in one page of a list.
const maxPage = 1000

// Operations gives what the service serves. The permissions of a caller and locks
// are served with the base of the API.
func (s *Service) Operations() []arm.Operation {
	const (
		base        = "{scope}/providers/Microsoft.Authorization/"
		definitions = base + "roleDefinitions"
		assignments = base + "roleAssignments"
	)
	// All of it is checked at {scope}: whoever has a role just at the id of one
	// assignment must not make that assignment reach the scope above it.
	return []arm.Operation{
		{Method: "GET", Pattern: definitions, Scope: 1, Handler: s.listDefinitions},
		{Method: "GET", Pattern: definitions + "/{role}", Scope: 1, Handler: s.getDefinition},
		{Method: "PUT", Pattern: definitions + "/{role}", Scope: 1, Handler: s.putDefinition},
		{Method: "DELETE", Pattern: definitions + "/{role}", Scope: 1, Handler: s.deleteDefinition},

		{Method: "GET", Pattern: assignments, Scope: 1, Handler: s.listAssignments},
		{Method: "GET", Pattern: assignments + "/{name}", Scope: 1, Handler: s.getAssignment},
		{Method: "PUT", Pattern: assignments + "/{name}", Scope: 1, Handler: s.putAssignment},
		{Method: "DELETE", Pattern: assignments + "/{name}", Scope: 1, Handler: s.deleteAssignment},

		{Method: "GET", Pattern: base + "denyAssignments", Scope: 1, Handler: none},
		{Method: "GET", Pattern: "/subscriptions/{subscription}/providers/Microsoft.Authorization/classicAdministrators", Handler: none},
	}
}

// Providers gives what the providers operations show of this package.
func Providers() []arm.Provider {
	versions := []string{"2022-05-01-preview", "2022-04-01", "2020-04-01-preview", "2018-01-01-preview", "2015-07-01"}
	types := []arm.ProviderType{}
	for _, name := range []string{"roleAssignments", "roleDefinitions", "denyAssignments", "classicAdministrators", "permissions", "locks"} {
		types = append(types, arm.ProviderType{Name: name, APIVersions: versions})
	}
	return []arm.Provider{{Namespace: rbac.Namespace, Types: types}}
}

func none(c *arm.Call) (arm.Reply, error) { return arm.List(c, []any{}, ""), nil }

// fault gives an error of the roles the code that the management API has for it.
func fault(err error) error {
	var code rbac.Code
	if !errors.As(err, &code) {
		return err
	}
	status := http.StatusBadRequest
	switch problem.KindOf(err) {
	case problem.NotFound:
		status = http.StatusNotFound
	case problem.Exists, problem.Conflict:
		status = http.StatusConflict
	}
	text := err.Error()
	var p *problem.Error
	if errors.As(err, &p) {
		text = p.Message
	}
	message := sentence(text)
	if next := problem.NextOf(err); next != "" {
		message += " " + sentence(next)
	}
	return arm.Fault{Status: status, Code: string(code), Message: message}
}

func sentence(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	if word, _, _ := strings.Cut(text, " "); size > 0 && strings.IndexFunc(word[size:], unicode.IsUpper) < 0 && !strings.Contains(word, ".") {
		text = string(unicode.ToUpper(first)) + text[size:]
	}
	return strings.TrimSuffix(text, ".") + "."
}

// allowed refuses what the caller may not do at further scopes than that of the
// call.
func (s *Service) allowed(ctx context.Context, caller arm.Caller, action string, scopes ...string) error {
	for _, text := range scopes {
		scope, err := resource.Parse(text)
		if err != nil {
			continue // the roles refuse it with a better message
		}
		d, err := s.roles.Allow(ctx, authz.Request{Principal: caller.ObjectID, Groups: caller.Groups, Action: action, Scope: scope})
		if err != nil {
			return err
		}
		if !d.Allowed {
			return arm.Faultf(http.StatusForbidden, "LinkedAuthorizationFailed",
				"The client '%s' with object id '%s' has permission to perform action '%s' at the scope of the request, but not over the assignable scope '%s'.",
				caller.AppID, caller.ObjectID, action, scope)
		}
	}
	return nil
}

// definitionID gives a role's id as it is shown at a scope: with the scope's
// subscription.
func definitionID(scope resource.ID, role string) string {
	above := resource.Root
	if sub := scope.Subscription(); sub != "" {
		above = resource.Subscription(sub)
	}
	return above.Child(rbac.Namespace, "roleDefinitions", role).String()
}

func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

// answer gives one page of a list in which the key of an item tells where the next
// page begins.
func answer[T any](c *arm.Call, items []T, key func(T) string, show func(T) map[string]any) (arm.Reply, error) {
	after, err := c.SkipToken()
	if err != nil {
		return arm.Reply{}, err
	}
	most, err := c.Top(maxPage)
	if err != nil {
		return arm.Reply{}, err
	}
	out, next := []map[string]any{}, ""
	for i, item := range items {
		if after != "" && key(item) <= after {
			continue
		}
		if out = append(out, show(item)); len(out) == most && i+1 < len(items) {
			next = key(item)
			break
		}
	}
	return arm.List(c, out, next), nil
}
