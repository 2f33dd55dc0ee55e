package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/problem"
)

func newVault(env *Env) *cobra.Command {
	c := newGroup("vault", "Keep secrets in vaults",
		newVaultCreate(env), newVaultList(env), newVaultShow(env), newVaultDelete(env), newVaultRecover(env), newVaultPurge(env),
		newVaultPolicy(env), newVaultSecret(env))
	c.Long = "A vault keeps secrets with all their versions. What is deleted can be recovered until its\n" +
		"retention ends, and keeps its name as long. Who may read and write secrets is said by\n" +
		"roles (latchkey role) or, in vaults made so, by access policies. A vault is named by its\n" +
		"name, or by its whole id."
	return c
}

// secretsOfficer is the role that the maker of a vault gets.
const secretsOfficer = "Key Vault Secrets Officer"

// vaultCreateFlags are the flags of vault create.
type vaultCreateFlags struct {
	group, location string
	access          *choice
	retention       int
	protect, bare   bool
}

func newVaultCreate(env *Env) *cobra.Command {
	s := newSession(env)
	f := vaultCreateFlags{access: &choice{manage.AccessByRoles, []string{manage.AccessByRoles, manage.AccessByPolicies}}}
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a vault",
		Long: "Creates a vault and lets you use its secrets: with the role " + secretsOfficer + ",\n" +
			"or with an access policy where policies decide; --no-grant leaves that out.",
		Example: "  latchkey vault create shop\n  latchkey vault create shop --purge-protection --retention-days 30",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return createVault(cmd.Context(), s, f, args[0]) },
	}
	s.addTo(c)
	c.Flags().StringVarP(&f.group, "resource-group", "g", defaultGroup, "resource group, made if it is missing")
	c.Flags().StringVar(&f.location, "location", "local", "location of the vault")
	f.access.addAs(c, "access", "what decides who may use secrets")
	c.Flags().IntVar(&f.retention, "retention-days", 0, "how long deleted things can be recovered, 7 to 90 (default: 90); it cannot be changed")
	c.Flags().BoolVar(&f.protect, "purge-protection", false, "let nobody purge before the retention ends; it cannot be taken back")
	c.Flags().BoolVar(&f.bare, "no-grant", false, "do not let yourself use the secrets")
	return c
}

func createVault(ctx context.Context, s *session, f vaultCreateFlags, name string) error {
	in, err := s.open(ctx)
	if err != nil {
		return err
	}
	v, err := in.CreateVault(ctx, manage.NewVault{
		Name: name, Group: f.group, Location: f.location, Access: f.access.value, RetentionDays: f.retention, PurgeProtection: f.protect,
	})
	if err != nil {
		return err
	}
	if !f.bare {
		s.tellGrant(in.UseVault(ctx, &v, secretsOfficer))
	}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, v)
	}
	_, err = fmt.Fprintf(s.env.Stdout, "created %s\n  url  %s\n\nNext: latchkey vault secret set %s NAME\n", printable(v.Name), printable(v.URL), printable(v.Name))
	return err
}

// tellGrant says whether the maker of a vault may use its secrets. The vault is
// there either way.
func (s *session) tellGrant(given string, err error) {
	if err != nil {
		fmt.Fprintf(s.env.Stderr, "you cannot use its secrets yet: %s\n", sentences(err.Error()))
		return
	}
	fmt.Fprintf(s.env.Stderr, "you may use its secrets: %s\n", printable(given))
}

func newVaultList(env *Env) *cobra.Command {
	s := newSession(env)
	var group string
	var deleted bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the vaults, or those that were deleted",
		Example: "  latchkey vault list\n  latchkey vault list --deleted --output json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return listVaults(cmd.Context(), s, group, deleted) },
	}
	s.addTo(c)
	c.Flags().StringVarP(&group, "resource-group", "g", "", "only vaults of this resource group")
	c.Flags().BoolVar(&deleted, "deleted", false, "those that were deleted and can be recovered")
	return c
}

func listVaults(ctx context.Context, s *session, group string, deleted bool) error {
	if deleted && group != "" {
		return usageError{errors.New("--deleted and --resource-group exclude each other")}
	}
	in, err := s.open(ctx)
	if err != nil {
		return err
	}
	if deleted {
		list, err := in.DeletedVaults(ctx)
		if err != nil {
			return err
		}
		return s.printDeletedVaults(list)
	}
	list, err := in.Vaults(ctx, group)
	if err != nil {
		return err
	}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, list)
	}
	rows := make([][]string, len(list))
	for n, v := range list {
		rows[n] = []string{v.Name, v.ResourceGroup, v.Access, v.URL}
	}
	return writeTable(s.env.Stdout, "NAME GROUP ACCESS URL", rows)
}

func (s *session) printDeletedVaults(list []manage.DeletedVault) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, list)
	}
	rows := make([][]string, len(list))
	for n, d := range list {
		rows[n] = []string{d.Name, d.Location, moment(d.Deleted), moment(d.Purge), yesNo(d.PurgeProtection)}
	}
	return writeTable(s.env.Stdout, "NAME LOCATION DELETED PURGED-AT PROTECTED", rows)
}

// moment writes a time, "" for none.
func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

// openVault signs in and finds a vault.
func (s *session) openVault(ctx context.Context, name string) (*manage.Installation, manage.Vault, error) {
	in, err := s.open(ctx)
	if err != nil {
		return nil, manage.Vault{}, err
	}
	v, err := in.Vault(ctx, name)
	return in, v, err
}

func newVaultShow(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use:     "show NAME",
		Short:   "Show a vault",
		Example: "  latchkey vault show shop",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, v, err := s.openVault(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return s.printVault(v)
		},
	}
	s.addTo(c)
	return c
}

func (s *session) printVault(v manage.Vault) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, v)
	}
	return writeFacts(s.env.Stdout, [][2]string{
		{"name", v.Name}, {"id", v.ID}, {"url", v.URL}, {"access by", v.Access}, {"retention", strconv.Itoa(v.RetentionDays) + " days"},
		{"purge protection", yesNo(v.PurgeProtection)}, {"policies", strconv.Itoa(len(v.Policies))},
	})
}

func newVaultDelete(env *Env) *cobra.Command {
	s := newSession(env)
	var yes bool
	c := &cobra.Command{
		Use:     "delete NAME",
		Short:   "Delete a vault so that it can be recovered",
		Example: "  latchkey vault delete shop --yes",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return deleteVault(cmd.Context(), s, yes, args[0]) },
	}
	s.addTo(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func deleteVault(ctx context.Context, s *session, yes bool, name string) error {
	in, v, err := s.openVault(ctx, name)
	if err != nil {
		return err
	}
	loss := "nobody can read the secrets of vault " + printable(v.Name) + " any more; for " + countOf(v.RetentionDays, "day") +
		" it can be recovered, without the roles that were given at it"
	if err := confirm(ctx, s.env, yes, loss, "delete it?"); err != nil {
		return err
	}
	if err := in.DeleteVault(ctx, v); err != nil {
		return err
	}
	d, err := in.DeletedVault(ctx, v.Name)
	if err != nil {
		return err
	}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, d)
	}
	_, err = fmt.Fprintf(s.env.Stdout, "deleted %s\n  recoverable until  %s\n", printable(d.Name), moment(d.Purge))
	return err
}

func newVaultRecover(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use:     "recover NAME",
		Short:   "Bring a deleted vault back with its secrets",
		Example: "  latchkey vault recover shop",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			d, err := in.DeletedVault(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			v, err := in.RecoverVault(cmd.Context(), d)
			if err != nil {
				return err
			}
			return s.doneVault("recovered", v)
		},
	}
	s.addTo(c)
	return c
}

// doneVault tells of a change of a vault.
func (s *session) doneVault(what string, v manage.Vault) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, v)
	}
	_, err := fmt.Fprintf(s.env.Stdout, "%s %s\n", what, printable(v.Name))
	return err
}

func newVaultPurge(env *Env) *cobra.Command {
	s := newSession(env)
	var yes bool
	c := &cobra.Command{
		Use:     "purge NAME",
		Short:   "Remove a deleted vault with its secrets for good",
		Example: "  latchkey vault purge shop --yes",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			d, err := in.DeletedVault(cmd.Context(), args[0])
			if err == nil {
				err = confirm(cmd.Context(), env, yes, "vault "+printable(d.Name)+" and all its secrets cannot be had again after this", "purge it?")
			}
			if err == nil {
				err = in.PurgeVault(cmd.Context(), d)
			}
			if err != nil {
				return err
			}
			if s.out.is(formJSON) {
				return writeJSON(env.Stdout, d)
			}
			_, err = fmt.Fprintf(env.Stdout, "purged %s\n", printable(d.Name))
			return err
		},
	}
	s.addTo(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func newVaultPolicy(env *Env) *cobra.Command {
	c := newGroup("policy", "Say by access policies who may use the secrets of a vault", newPolicyList(env), newPolicySet(env), newPolicyRemove(env))
	c.Long = "Access policies count in vaults that were made with --access policies. Permissions are get,\n" +
		"list, set, delete, recover, backup, restore and purge, or all, which is all but purge."
	return c
}

func newPolicyList(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use:     "list VAULT",
		Short:   "List the access policies of a vault",
		Example: "  latchkey vault policy list shop",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, v, err := s.openVault(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return s.printPolicies(v)
		},
	}
	s.addTo(c)
	return c
}

func (s *session) printPolicies(v manage.Vault) error {
	if v.Access == manage.AccessByRoles && len(v.Policies) > 0 {
		fmt.Fprintf(s.env.Stderr, "roles decide about vault %s: its policies do not count\n", printable(v.Name))
	}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, v.Policies)
	}
	rows := make([][]string, len(v.Policies))
	for n, p := range v.Policies {
		rows[n] = []string{p.Principal, dash(strings.Join(p.Secrets, ","))}
	}
	return writeTable(s.env.Stdout, "PRINCIPAL SECRETS", rows)
}

// policyFlags are the flags of commands that change a policy.
type policyFlags struct {
	*session
	principal string
}

func (f *policyFlags) addTo(c *cobra.Command) {
	f.session.addTo(c)
	c.Flags().StringVar(&f.principal, "principal", "", "whose policy: name, client id or object id; also a group")
}

// change gives a principal exactly some permissions.
func (f *policyFlags) change(ctx context.Context, name string, permissions []string) error {
	if f.principal == "" {
		return usageError{errors.New("--principal is needed")}
	}
	in, v, err := f.openVault(ctx, name)
	if err != nil {
		return err
	}
	if v.Access == manage.AccessByRoles {
		return problem.New(problem.Conflict, "roles decide about vault "+printable(v.Name)+": a policy would not count").
			WithNext("give or take a role: latchkey role assign, latchkey role remove")
	}
	p, err := in.Holder(ctx, f.principal)
	if err != nil {
		return err
	}
	if v, err = in.SetVaultPolicy(ctx, v, p.ObjectID, permissions); err != nil {
		return err
	}
	return f.printPolicies(v)
}

func newPolicySet(env *Env) *cobra.Command {
	f := &policyFlags{session: newSession(env)}
	var permissions []string
	c := &cobra.Command{
		Use:     "set VAULT",
		Short:   "Give a principal exactly these permissions",
		Example: "  latchkey vault policy set shop --principal ci --secrets get,list",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(permissions) == 0 {
				return usageError{problem.New(problem.Invalid, "--secrets is needed").WithNext("latchkey vault policy remove takes all permissions away")}
			}
			return f.change(cmd.Context(), args[0], permissions)
		},
	}
	f.addTo(c)
	c.Flags().StringSliceVar(&permissions, "secrets", nil, "permissions for secrets, such as get,list")
	return c
}

func newPolicyRemove(env *Env) *cobra.Command {
	f := &policyFlags{session: newSession(env)}
	var yes bool
	c := &cobra.Command{
		Use:     "remove VAULT",
		Short:   "Take all permissions of a principal away",
		Example: "  latchkey vault policy remove shop --principal ci --yes",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			loss := printable(f.principal) + " cannot use the secrets of vault " + printable(args[0]) + " any more"
			if err := confirm(cmd.Context(), env, yes, loss, "remove its policy?"); err != nil {
				return err
			}
			return f.change(cmd.Context(), args[0], nil)
		},
	}
	f.addTo(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}
