package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/account"
	"github.com/latchkey/latchkey/internal/cli/manage"
)

func newPrincipal(env *Env) *cobra.Command {
	c := newGroup("principal", "Manage who can sign in",
		newPrincipalCreate(env), newPrincipalList(env), newPrincipalShow(env), newPrincipalReset(env),
		newPrincipalDelete(env), newPrincipalDisable(env), newPrincipalEnable(env))
	c.Long = "A principal is a program or a person with a client id and a secret. What it may do is\n" +
		"what its roles say: latchkey role. It is named by name, client id or object id."
	return c
}

// secretView is a principal with a secret that was just made. Its JSON form is a
// contract.
type secretView struct {
	Name          string    `json:"name"`
	ObjectID      string    `json:"objectId"`
	ClientID      string    `json:"clientId"`
	TenantID      string    `json:"tenantId"`
	Endpoint      string    `json:"endpoint"`
	CAFingerprint string    `json:"caFingerprint,omitempty"`
	ClientSecret  string    `json:"clientSecret"`
	Expires       time.Time `json:"expires"`
	Login         string    `json:"login"` // a command that reads the secret from standard input
}

// secretFlags are the flags of commands that make a secret.
type secretFlags struct {
	*session
	days int
}

func (f *secretFlags) addTo(c *cobra.Command) {
	f.session.addTo(c)
	c.Flags().IntVar(&f.days, "days", 0, "how long the secret is good (default: as long as the installation likes)")
}

func (f *secretFlags) check() error {
	if f.days < 0 {
		return usageError{errors.New("--days must not be negative")}
	}
	return nil
}

// show prints a secret once. It is on standard output alone.
func (f *secretFlags) show(found account.Found, p manage.Principal, secret manage.NewSecret) error {
	v := secretView{
		Name: p.Name, ObjectID: p.ObjectID, ClientID: p.AppID, TenantID: secret.TenantID, Endpoint: found.Endpoint,
		ClientSecret: secret.Value, Expires: secret.Expires, Login: loginLine(found.Credential, secret.TenantID, p.AppID),
	}
	if found.CAFile != "" {
		v.CAFingerprint, _ = account.FingerprintOf(found.CAFile) // the line does without it too
	}
	if f.out.is(formJSON) {
		return writeJSON(f.env.Stdout, v)
	}
	err := writeFacts(f.env.Stdout, [][2]string{
		{"name", v.Name}, {"client id", v.ClientID}, {"object id", v.ObjectID}, {"tenant", v.TenantID},
		{"secret", v.ClientSecret}, {"expires", v.Expires.UTC().Format(time.RFC3339)},
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f.env.Stdout, "\nThe secret is shown this once. Sign in with it, which asks for it:\n  %s\n", printable(v.Login))
	return err
}

func newPrincipalCreate(env *Env) *cobra.Command {
	f := &secretFlags{session: newSession(env)}
	var role, scope string
	var as manage.OIDC
	c := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a principal with a secret",
		Long: "Makes a service principal and a client secret, which is shown this once. --role and\n" +
			"--scope give it a role right away. With --oidc-subject, --oidc-issuer and --oidc-client it\n" +
			"is a user without a secret, who signs in to the portal by that issuer.",
		Example: "  latchkey principal create ci --role \"Website Contributor\" --scope group/apps\n  latchkey principal create ci --days 90 --output json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return createPrincipal(cmd.Context(), f, newPrincipalOf{args[0], role, scope, as})
		},
	}
	f.addTo(c)
	c.Flags().StringVar(&role, "role", "", "give it this role at --scope")
	c.Flags().StringVar(&scope, "scope", "", "where it has the role: /, subscription, group/NAME, app/NAME, vault/NAME or a resource id")
	c.Flags().StringVar(&as.Subject, "oidc-subject", "", "a user: the subject that the issuer knows them by")
	c.Flags().StringVar(&as.Issuer, "oidc-issuer", "", "a user: the issuer, as portal.oidc.issuer")
	c.Flags().StringVar(&as.Client, "oidc-client", "", "a user: the portal's client id at the issuer, as portal.oidc.clientId")
	return c
}

// newPrincipalOf is what a principal is made of.
type newPrincipalOf struct {
	name, role, scope string
	as                manage.OIDC
}

func (n newPrincipalOf) check(f *secretFlags) error {
	if (n.role == "") != (n.scope == "") {
		return usageError{errors.New("--role and --scope go together")}
	}
	if some := n.as != (manage.OIDC{}); some && (n.as.Subject == "" || n.as.Issuer == "" || n.as.Client == "") {
		return usageError{errors.New("--oidc-subject, --oidc-issuer and --oidc-client go together")}
	} else if some && f.days != 0 {
		return usageError{errors.New("--days is for principals with a secret, which users have not")}
	}
	return f.check()
}

// make makes the principal. One that is half made is undone.
func (n newPrincipalOf) make(ctx context.Context, in *manage.Installation) (manage.Principal, error) {
	if n.as == (manage.OIDC{}) {
		return in.CreatePrincipal(ctx, n.name)
	}
	p, err := in.CreateUser(ctx, n.name, n.as)
	if err != nil && p.ObjectID != "" {
		err = errors.Join(err, undo(ctx, in, p))
	}
	return p, err
}

func createPrincipal(ctx context.Context, f *secretFlags, n newPrincipalOf) error {
	role, scope := n.role, n.scope
	if err := n.check(f); err != nil {
		return err
	}
	in, found, err := f.openFound(ctx)
	if err != nil {
		return err
	}
	var r manage.Role
	if role != "" { // what is misspelt is found before anything is made
		if scope, err = scopeOf(ctx, in, scope); err == nil {
			r, err = in.Role(ctx, scope, role)
		}
		if err != nil {
			return err
		}
	}
	p, err := n.make(ctx, in)
	if err != nil {
		return err
	}
	if role != "" {
		if _, _, err := in.Assign(ctx, scope, r, p); err != nil {
			return errors.Join(err, undo(ctx, in, p))
		}
		fmt.Fprintf(f.env.Stderr, "%s has role %s at %s\n", printable(p.Name), printable(r.Name), printable(scope))
	}
	if n.as != (manage.OIDC{}) {
		return f.printPrincipal(p)
	}
	secret, err := in.AddSecret(ctx, p, "secret", f.days)
	if err != nil {
		return errors.Join(err, undo(ctx, in, p))
	}
	return f.show(found, p, secret)
}

// undo deletes a principal that nobody could use.
func undo(ctx context.Context, in *manage.Installation, p manage.Principal) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if err := in.DeletePrincipal(ctx, p); err != nil {
		return fmt.Errorf("principal %s was made and could not be deleted again: %w", p.ObjectID, err)
	}
	return nil
}

const undoTimeout = 10 * time.Second

func newPrincipalList(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the principals",
		Example: "  latchkey principal list\n  latchkey principal list --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			list, err := in.Principals(cmd.Context())
			if err != nil {
				return err
			}
			return s.printPrincipals(list)
		},
	}
	s.addTo(c)
	return c
}

func (s *session) printPrincipals(list []manage.Principal) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, list)
	}
	rows := make([][]string, len(list))
	for n, p := range list {
		rows[n] = []string{p.Name, p.Kind, dash(p.AppID), p.ObjectID, enabledText(p)}
	}
	return writeTable(s.env.Stdout, "NAME KIND CLIENT-ID OBJECT-ID STATE", rows)
}

func enabledText(p manage.Principal) string {
	if p.Disabled {
		return "disabled"
	}
	return "enabled"
}

func newPrincipalShow(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use:     "show PRINCIPAL",
		Short:   "Show a principal and what is known of its secrets",
		Example: "  latchkey principal show ci",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			p, err := in.Principal(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return s.printPrincipal(p)
		},
	}
	s.addTo(c)
	return c
}

func (s *session) printPrincipal(p manage.Principal) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, p)
	}
	facts := [][2]string{
		{"name", p.Name}, {"kind", p.Kind}, {"client id", p.AppID}, {"object id", p.ObjectID}, {"of", p.Resource}, {"state", enabledText(p)},
	}
	for _, c := range p.Secrets {
		facts = append(facts, [2]string{"secret " + printable(c.Hint) + "…", printable(c.Name) + ", until " + c.Expires.UTC().Format(time.DateOnly) +
			", last used " + first(c.LastUsed, "never")})
	}
	return writeFacts(s.env.Stdout, facts)
}

func newPrincipalReset(env *Env) *cobra.Command {
	f := &secretFlags{session: newSession(env)}
	var keep, yes bool
	c := &cobra.Command{
		Use:   "reset PRINCIPAL",
		Short: "Give a principal a new secret",
		Long: "Makes a new client secret, which is shown this once, and takes the others away; with\n" +
			"--keep they go on working, until a later reset.",
		Example: "  latchkey principal reset ci --keep\n  latchkey principal reset ci --yes --output json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return resetPrincipal(cmd.Context(), f, args[0], keep, yes)
		},
	}
	f.addTo(c)
	c.Flags().BoolVar(&keep, "keep", false, "keep the secrets it has")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func resetPrincipal(ctx context.Context, f *secretFlags, who string, keep, yes bool) error {
	if err := f.check(); err != nil {
		return err
	}
	in, found, err := f.openFound(ctx)
	if err != nil {
		return err
	}
	p, err := in.Principal(ctx, who)
	if err != nil {
		return err
	}
	if !keep && len(p.Secrets) > 0 {
		loss := "the secrets that " + printable(p.Name) + " has stop working at once"
		if strings.EqualFold(p.AppID, found.ClientID) {
			loss += ", also the one this command signs in with, from " + printable(found.From)
		}
		if err := confirm(ctx, f.env, yes, loss, "reset it?"); err != nil {
			return err
		}
	}
	secret, err := in.AddSecret(ctx, p, "secret", f.days)
	if err != nil {
		return err
	}
	if err := f.show(found, p, secret); err != nil || keep {
		return err
	}
	for _, old := range p.Secrets {
		if err := in.RemoveSecret(ctx, p, old.ID); err != nil {
			return fmt.Errorf("the new secret works, but one of the others could not be taken away: %w", err)
		}
	}
	return nil
}

func newPrincipalDelete(env *Env) *cobra.Command {
	return newPrincipalChange(env, "delete", "Delete a principal with its roles", "deleted",
		"loses its roles and cannot sign in any more; its tokens are refused",
		func(ctx context.Context, in *manage.Installation, p manage.Principal) (manage.Principal, error) {
			return p, in.DeletePrincipal(ctx, p)
		})
}

func newPrincipalDisable(env *Env) *cobra.Command {
	return newPrincipalChange(env, "disable", "Keep a principal from signing in", "disabled",
		"cannot sign in, and its tokens are refused, until it is enabled again",
		func(ctx context.Context, in *manage.Installation, p manage.Principal) (manage.Principal, error) {
			return in.SetDisabled(ctx, p, true)
		})
}

func newPrincipalEnable(env *Env) *cobra.Command {
	return newPrincipalChange(env, "enable", "Let a principal sign in again", "enabled", "",
		func(ctx context.Context, in *manage.Installation, p manage.Principal) (manage.Principal, error) {
			return in.SetDisabled(ctx, p, false)
		})
}

// newPrincipalChange makes a command that changes one principal; one without a
// consequence does not ask.
func newPrincipalChange(env *Env, verb, short, done, consequence string, change func(context.Context, *manage.Installation, manage.Principal) (manage.Principal, error)) *cobra.Command {
	s := newSession(env)
	var yes bool
	c := &cobra.Command{
		Use:     verb + " PRINCIPAL",
		Short:   short,
		Example: "  latchkey principal " + verb + " ci",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			p, err := in.Principal(cmd.Context(), args[0])
			if err == nil && consequence != "" {
				err = confirm(cmd.Context(), env, yes, printable(p.Name)+" "+consequence, verb+" it?")
			}
			if err == nil {
				p, err = change(cmd.Context(), in, p)
			}
			if err != nil {
				return err
			}
			if s.out.is(formJSON) {
				return writeJSON(env.Stdout, p)
			}
			_, err = fmt.Fprintf(env.Stdout, "%s %s\n", done, printable(p.Name))
			return err
		},
	}
	s.addTo(c)
	if consequence != "" {
		c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	}
	return c
}
