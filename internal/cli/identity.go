package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/manage"
)

func newIdentity(env *Env) *cobra.Command {
	c := newGroup("identity", "Manage what apps identify themselves with",
		newIdentityCreate(env), newIdentityList(env), newIdentityShow(env), newIdentityAssign(env), newIdentityRemove(env), newIdentityDelete(env))
	c.Long = "An app gets tokens for the identities that are assigned to it, without any secret of its\n" +
		"own: one that belongs to it and goes with it, and others that are made here and may be\n" +
		"assigned to many apps. What an identity may do is what its roles say: latchkey role."
	return c
}

func newIdentityCreate(env *Env) *cobra.Command {
	s := newSession(env)
	var group, location string
	c := &cobra.Command{
		Use: "create NAME", Short: "Make an identity that can be assigned to apps",
		Long:    "Makes a user-assigned identity. Assign it with latchkey identity assign APP --identity NAME.",
		Example: "  latchkey identity create readers\n  latchkey identity create readers --resource-group shared",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			one, err := in.CreateIdentity(cmd.Context(), args[0], group, location)
			if err != nil {
				return err
			}
			return s.showIdentities([]manage.Identity{one})
		},
	}
	s.addTo(c)
	c.Flags().StringVarP(&group, "resource-group", "g", defaultGroup, "resource group, made if it is missing")
	c.Flags().StringVar(&location, "location", "local", "location of the identity")
	return c
}

func newIdentityList(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use: "list", Short: "List the identities that can be assigned",
		Long:    "Lists the user-assigned identities. Those that belong to an app are shown by latchkey identity show.",
		Example: "  latchkey identity list\n  latchkey identity list --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			list, err := in.Identities(cmd.Context())
			if err != nil {
				return err
			}
			return s.showIdentities(list)
		},
	}
	s.addTo(c)
	return c
}

func newIdentityShow(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use: "show APP", Short: "Show the identities of an app",
		Long: "Shows which identities an app has. One that was deleted and is still assigned has no\n" +
			"principal; take it away with latchkey identity remove.",
		Example: "  latchkey identity show orders",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, a, err := s.openApp(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			list, err := in.IdentitiesOf(cmd.Context(), a)
			if err != nil {
				return err
			}
			return s.showIdentities(list)
		},
	}
	s.addTo(c)
	return c
}

func newIdentityAssign(env *Env) *cobra.Command {
	s := newSession(env)
	var users, vaults []string
	var reads bool
	c := &cobra.Command{
		Use: "assign APP", Short: "Give an app an identity",
		Long: "Gives an app an identity of its own, or with --identity one that was made with latchkey\n" +
			"identity create. What it has already stays. The app restarts and finds them in its environment.",
		Example: "  latchkey identity assign orders --vault shop\n  latchkey identity assign orders --identity readers --for-references",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.assignIdentities(cmd.Context(), args[0], users, vaults, reads)
		},
	}
	s.addTo(c)
	c.Flags().StringArrayVar(&users, "identity", nil, "name or id of an identity; may be repeated (default: one of the app's own)")
	c.Flags().StringArrayVar(&vaults, "vault", nil, "a vault whose secrets the identity may read; may be repeated")
	c.Flags().BoolVar(&reads, "for-references", false, "the identity reads the vault references of the app's settings")
	return c
}

func (s *session) assignIdentities(ctx context.Context, app string, names, vaultNames []string, reads bool) error {
	if len(names) > 1 && (reads || len(vaultNames) > 0) {
		return usageError{errors.New("--for-references and --vault need one identity")}
	}
	in, a, err := s.openApp(ctx, app)
	if err != nil {
		return err
	}
	users := make([]manage.Identity, len(names))
	for n, name := range names {
		if users[n], err = in.Identity(ctx, name); err != nil {
			return err
		}
	}
	vaults, err := findVaults(ctx, in, vaultNames)
	if err != nil {
		return err
	}
	reader := ""
	if reads {
		if reader = "SystemAssigned"; len(users) == 1 {
			reader = users[0].ID
		}
	}
	list, err := in.AssignIdentity(ctx, a, len(names) == 0, users, reader)
	if err != nil {
		return err
	}
	var who manage.Identity
	if len(users) == 1 {
		who = users[0]
	}
	if err := s.letRead(ctx, in, a, who, vaults); err != nil {
		return err
	}
	return s.showIdentities(list)
}

func newIdentityRemove(env *Env) *cobra.Command {
	s := newSession(env)
	var users []string
	var yes bool
	c := &cobra.Command{
		Use: "remove APP", Short: "Take an identity away from an app",
		Long: "Takes an app's own identity away, which ends it with its roles for good, or with --identity\n" +
			"others, which stay as they are. The app restarts without them.",
		Example: "  latchkey identity remove orders --identity readers\n  latchkey identity remove orders --yes",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if len(users) == 0 {
				if err := confirm(ctx, env, yes, "the app's own identity and its roles cannot be had back", "remove it?"); err != nil {
					return err
				}
			}
			in, a, err := s.openApp(ctx, args[0])
			if err != nil {
				return err
			}
			list, err := in.RemoveIdentity(ctx, a, len(users) == 0, users)
			if err != nil {
				return err
			}
			return s.showIdentities(list)
		},
	}
	s.addTo(c)
	c.Flags().StringArrayVar(&users, "identity", nil, "name or id of an identity; may be repeated (default: the app's own)")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func newIdentityDelete(env *Env) *cobra.Command {
	s := newSession(env)
	var yes bool
	c := &cobra.Command{
		Use: "delete NAME", Short: "Delete an identity that was made with create",
		Long:    "Deletes a user-assigned identity with its roles. Apps that have it get no more tokens for it.",
		Example: "  latchkey identity delete readers --yes",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			in, err := s.open(ctx)
			if err != nil {
				return err
			}
			one, err := in.Identity(ctx, args[0])
			if err != nil {
				return err
			}
			if err := confirm(ctx, env, yes, "apps that use "+printable(one.Name)+" get no more tokens for it", "delete it?"); err != nil {
				return err
			}
			if err := in.DeleteIdentity(ctx, one); err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Stdout, "%s deleted\n", printable(one.Name))
			return err
		},
	}
	s.addDataDir(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func (s *session) showIdentities(list []manage.Identity) error {
	if list == nil {
		list = []manage.Identity{}
	}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, list)
	}
	rows := make([][]string, len(list))
	for n, one := range list {
		kind, principal := "user-assigned", one.PrincipalID
		if one.System {
			kind = "the app's own"
		}
		if principal == "" {
			principal = "(deleted)"
		}
		rows[n] = []string{one.Name, kind, principal, one.ClientID}
	}
	return writeTable(s.env.Stdout, "NAME KIND PRINCIPAL CLIENT-ID", rows)
}
