package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/problem"
)

func newRole(env *Env) *cobra.Command {
	c := newGroup("role", "Say who may do what", newRoleAssign(env), newRoleList(env), newRoleRemove(env), newRoleDefinitions(env))
	c.Long = "A role holds at a scope and in all that lies in it. Scopes are / for everything,\n" +
		"subscription, group/NAME, app/NAME, vault/NAME, or a resource id. Principals are named by name,\n" +
		"client id or object id, groups of them by name or object id."
	return c
}

// grant is what role assign and role remove are about.
type grant struct {
	*session
	principal, scope string
}

func (g *grant) addTo(c *cobra.Command) {
	g.session.addTo(c)
	c.Flags().StringVar(&g.principal, "principal", "", "who: name, client id or object id; also a group")
	c.Flags().StringVar(&g.scope, "scope", "", "where: /, subscription, group/NAME, app/NAME, vault/NAME or a resource id")
}

func (g *grant) check() error {
	if g.principal == "" || g.scope == "" {
		return usageError{problem.New(problem.Invalid, "--principal and --scope say who has the role and where; one of them is missing").
			WithNext("for example --principal ci --scope group/" + defaultGroup)}
	}
	return nil
}

// find resolves who, what and where.
func (g *grant) find(ctx context.Context, in *manage.Installation, role string) (string, manage.Role, manage.Principal, error) {
	scope, err := scopeOf(ctx, in, g.scope)
	if err != nil {
		return "", manage.Role{}, manage.Principal{}, err
	}
	r, err := in.Role(ctx, scope, role)
	if err != nil {
		return "", r, manage.Principal{}, err
	}
	p, err := in.Holder(ctx, g.principal)
	return scope, r, p, err
}

func newRoleAssign(env *Env) *cobra.Command {
	g := &grant{session: newSession(env)}
	c := &cobra.Command{
		Use:     "assign ROLE",
		Short:   "Give a principal a role",
		Example: "  latchkey role assign \"Website Contributor\" --principal ci --scope group/apps\n  latchkey role assign Reader --principal ci --scope app/orders",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return g.assign(cmd.Context(), args[0]) },
	}
	g.addTo(c)
	return c
}

func (g *grant) assign(ctx context.Context, role string) error {
	if err := g.check(); err != nil {
		return err
	}
	in, err := g.open(ctx)
	if err != nil {
		return err
	}
	scope, r, p, err := g.find(ctx, in, role)
	if err != nil {
		return err
	}
	a, created, err := in.Assign(ctx, scope, r, p)
	if err != nil {
		return err
	}
	if g.out.is(formJSON) {
		return writeJSON(g.env.Stdout, a)
	}
	what := "has role"
	if !created {
		what = "had role"
	}
	_, err = fmt.Fprintf(g.env.Stdout, "%s %s %s at %s\n", printable(p.Name), what, printable(a.Role), printable(a.Scope))
	return err
}

func newRoleList(env *Env) *cobra.Command {
	g := &grant{session: newSession(env)}
	c := &cobra.Command{
		Use:     "list",
		Short:   "List who has which role where",
		Long:    "Lists the roles assigned at a scope, above it and in it; without --scope all there are.",
		Example: "  latchkey role list\n  latchkey role list --principal ci --output json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return g.list(cmd.Context()) },
	}
	g.addTo(c)
	return c
}

func (g *grant) list(ctx context.Context) error {
	in, err := g.open(ctx)
	if err != nil {
		return err
	}
	scope, err := scopeOf(ctx, in, first(g.scope, "subscription"))
	if err != nil {
		return err
	}
	objectID := ""
	if g.principal != "" {
		p, err := in.Holder(ctx, g.principal)
		if err != nil {
			return err
		}
		objectID = p.ObjectID
	}
	list, err := in.Assignments(ctx, scope, objectID)
	if err != nil {
		return err
	}
	nameThem(ctx, in, list)
	return g.printAssignments(list)
}

// nameThem puts names to object ids, as far as the caller may know them.
func nameThem(ctx context.Context, in *manage.Installation, list []manage.Assignment) {
	all, err := in.Principals(ctx)
	if err != nil {
		return // the ids are enough
	}
	groups, _ := in.Groups(ctx, "")
	names := map[string]string{}
	for _, p := range all {
		names[strings.ToLower(p.ObjectID)] = p.Name
	}
	for _, g := range groups {
		names[strings.ToLower(g.ObjectID)] = g.Name
	}
	for n := range list {
		list[n].PrincipalName = names[strings.ToLower(list[n].Principal)]
	}
}

func (g *grant) printAssignments(list []manage.Assignment) error {
	if g.out.is(formJSON) {
		return writeJSON(g.env.Stdout, list)
	}
	rows := make([][]string, len(list))
	for n, a := range list {
		rows[n] = []string{dash(a.PrincipalName), a.Principal, a.Role, a.Scope}
	}
	return writeTable(g.env.Stdout, "PRINCIPAL OBJECT-ID ROLE SCOPE", rows)
}

func newRoleRemove(env *Env) *cobra.Command {
	g := &grant{session: newSession(env)}
	var yes bool
	c := &cobra.Command{
		Use:     "remove ROLE",
		Short:   "Take a role away from a principal",
		Example: "  latchkey role remove \"Website Contributor\" --principal ci --scope group/apps --yes",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return g.remove(cmd.Context(), args[0], yes) },
	}
	g.addTo(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func (g *grant) remove(ctx context.Context, role string, yes bool) error {
	if err := g.check(); err != nil {
		return err
	}
	in, err := g.open(ctx)
	if err != nil {
		return err
	}
	scope, r, p, err := g.find(ctx, in, role)
	if err != nil {
		return err
	}
	a, err := assigned(ctx, in, scope, r, p)
	if err != nil {
		return err
	}
	loss := printable(p.Name) + " loses role " + printable(r.Name) + " at " + printable(scope) + " at once"
	if err := confirm(ctx, g.env, yes, loss, "remove it?"); err != nil {
		return err
	}
	if err := in.Unassign(ctx, a); err != nil {
		return err
	}
	if g.out.is(formJSON) {
		return writeJSON(g.env.Stdout, a)
	}
	_, err = fmt.Fprintf(g.env.Stdout, "%s has no longer role %s at %s\n", printable(p.Name), printable(r.Name), printable(scope))
	return err
}

// assigned finds the assignment of a role at exactly a scope.
func assigned(ctx context.Context, in *manage.Installation, scope string, r manage.Role, p manage.Principal) (manage.Assignment, error) {
	list, err := in.Assignments(ctx, scope, p.ObjectID)
	if err != nil {
		return manage.Assignment{}, err
	}
	var has []string
	for _, a := range list {
		if strings.EqualFold(a.RoleID, r.ID) && strings.EqualFold(a.Scope, scope) {
			a.PrincipalName = p.Name
			return a, nil
		}
		has = append(has, a.Role+" at "+a.Scope)
	}
	missing := problem.New(problem.NotFound, p.Name+" does not have role "+r.Name+" at "+scope)
	if len(has) == 0 {
		return manage.Assignment{}, missing.WithNext("it has no role there at all")
	}
	return manage.Assignment{}, missing.WithNext("it has " + strings.Join(has, ", "))
}

func newRoleDefinitions(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use:     "definitions [ROLE]",
		Short:   "List the roles there are, or show what one allows",
		Example: "  latchkey role definitions\n  latchkey role definitions \"Website Contributor\" --output json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return listRoles(cmd.Context(), s, strings.Join(args, ""))
		},
	}
	s.addTo(c)
	return c
}

func listRoles(ctx context.Context, s *session, name string) error {
	in, err := s.open(ctx)
	if err != nil {
		return err
	}
	scope, err := in.Scope(ctx, "subscription")
	if err != nil {
		return err
	}
	if name != "" {
		r, err := in.Role(ctx, scope, name)
		if err != nil {
			return err
		}
		return s.printRole(r)
	}
	list, err := in.Roles(ctx, scope)
	if err != nil {
		return err
	}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, list)
	}
	rows := make([][]string, len(list))
	for n, r := range list {
		rows[n] = []string{r.Name, r.Type, r.Description}
	}
	return writeTable(s.env.Stdout, "ROLE TYPE DESCRIPTION", rows)
}

func (s *session) printRole(r manage.Role) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, r)
	}
	facts := [][2]string{{"role", r.Name}, {"id", r.ID}, {"type", r.Type}, {"description", r.Description}}
	for _, a := range r.Actions {
		facts = append(facts, [2]string{"allows", a})
	}
	for _, a := range r.NotActions {
		facts = append(facts, [2]string{"but not", a})
	}
	for _, a := range r.DataActions {
		facts = append(facts, [2]string{"on data", a})
	}
	return writeFacts(s.env.Stdout, facts)
}
