package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/account"
	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/problem"
)

// selfView is who a command is signed in as. Its JSON form is a contract.
type selfView struct {
	Endpoint       string     `json:"endpoint"`
	From           string     `json:"from"` // the file, or "the environment"
	TenantID       string     `json:"tenantId"`
	SubscriptionID string     `json:"subscriptionId"`
	ClientID       string     `json:"clientId"`
	ObjectID       string     `json:"objectId"`
	Name           string     `json:"name,omitempty"`
	CAFingerprint  string     `json:"caFingerprint,omitempty"`
	Roles          []roleView `json:"roles"` // null if this principal may not list them
}

// roleView is a role at a scope.
type roleView struct {
	Role  string `json:"role"`
	Scope string `json:"scope"`
}

func newWhoami(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use:     "whoami",
		Short:   "Show who commands sign in as, and the roles that has",
		Example: "  latchkey whoami\n  latchkey whoami --data-dir /var/lib/latchkey --output json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return whoami(cmd.Context(), s) },
	}
	s.addTo(c)
	return c
}

func whoami(ctx context.Context, s *session) error {
	in, found, err := s.openFound(ctx)
	if err != nil {
		return err
	}
	v, err := self(ctx, in, found)
	if err != nil {
		return err
	}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, v)
	}
	rows := [][2]string{
		{"name", v.Name}, {"client id", v.ClientID}, {"object id", v.ObjectID}, {"tenant", v.TenantID}, {"subscription", v.SubscriptionID},
		{"endpoint", v.Endpoint}, {"credential", v.From}, {"authority", v.CAFingerprint},
	}
	for _, r := range v.Roles {
		rows = append(rows, [2]string{"role", r.Role + " at " + r.Scope})
	}
	if v.Roles == nil {
		rows = append(rows, [2]string{"roles", "this principal may not list them"})
	} else if len(v.Roles) == 0 {
		rows = append(rows, [2]string{"roles", "none"})
	}
	return writeFacts(s.env.Stdout, rows)
}

func self(ctx context.Context, in *manage.Installation, found account.Found) (selfView, error) {
	id, err := in.Client().Identity(ctx)
	if err != nil {
		return selfView{}, err
	}
	sub, err := in.Subscription(ctx)
	if err != nil {
		return selfView{}, err
	}
	v := selfView{
		Endpoint: found.Endpoint, From: found.From, TenantID: found.TenantID, SubscriptionID: sub,
		ClientID: found.ClientID, ObjectID: id.ObjectID,
	}
	if p, err := in.Principal(ctx, id.ObjectID); err == nil { // who may not read principals does without
		v.Name = p.Name
	}
	if found.CAFile != "" {
		if v.CAFingerprint, err = account.FingerprintOf(found.CAFile); err != nil {
			return v, err
		}
	}
	v.Roles, err = ownRoles(ctx, in, id.ObjectID, "/subscriptions/"+sub)
	return v, err
}

// ownRoles gives the roles of the principal itself; nil if it may not list them.
func ownRoles(ctx context.Context, in *manage.Installation, objectID, scope string) ([]roleView, error) {
	list, err := in.Assignments(ctx, scope, objectID)
	if errors.Is(err, problem.Denied) {
		return nil, nil
	}
	roles := make([]roleView, len(list))
	for n, a := range list {
		roles[n] = roleView{a.Role, a.Scope}
	}
	return roles, err
}

// countOf says how many there are of something.
func countOf(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
