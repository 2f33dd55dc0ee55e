package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/containerapps"
	"github.com/latchkey/latchkey/internal/containerapp"
)

func newContainerIdentity(env *Env) *cobra.Command {
	return newGroup("identity", "Say which identities a container app has, and which containers may use them",
		newContainerIdentityAssign(env), newContainerIdentityShow(env), newContainerIdentityRemove(env))
}

// identityID makes what a person says of an identity what the API wants: "system"
// or an id.
func (f *containerFlags) identityID(ctx context.Context, text string) (string, error) {
	if strings.EqualFold(text, "system") {
		return "system", nil
	}
	if text == "" || strings.HasPrefix(text, "/") {
		return text, nil
	}
	i, err := f.in.Identity(ctx, text)
	return i.ID, err
}

func (f *containerFlags) identityIDs(ctx context.Context, texts []string) ([]string, error) {
	var ids []string
	for _, text := range texts {
		id, err := f.identityID(ctx, text)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// assignedIdentity is an identity of an app, for tables.
type assignedIdentity struct{ name, principal, client, lifecycle string }

// identitiesOf gives an app's identities, its own first.
func identitiesOf(a containerapps.App) []assignedIdentity {
	if a.Identity == nil {
		return nil
	}
	var list []assignedIdentity
	if strings.Contains(a.Identity.Type, "SystemAssigned") {
		list = append(list, assignedIdentity{"system", a.Identity.PrincipalID, "", lifecycleText(a, "system")})
	}
	var users []assignedIdentity
	for id, u := range a.Identity.Users {
		users = append(users, assignedIdentity{lastOf(id), u.PrincipalID, u.ClientID, lifecycleText(a, id)})
	}
	slices.SortFunc(users, func(x, y assignedIdentity) int { return strings.Compare(x.name, y.name) })
	return append(list, users...)
}

// lifecycleText says which containers may use an identity.
func lifecycleText(a containerapps.App, id string) string {
	for _, s := range a.Properties.Configuration.IdentitySettings {
		if !strings.EqualFold(s.Identity, id) {
			continue
		}
		switch strings.ToLower(s.Lifecycle) {
		case "init":
			return "init containers"
		case "main":
			return "main containers"
		case "none":
			return "no container: for pulls, secrets and scale rules only"
		}
	}
	return "all containers"
}

func newContainerIdentityAssign(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var which chosenIdentities
	var lifecycle string
	c := &cobra.Command{
		Use:   "assign",
		Short: "Give a container app an identity of its own, or user-assigned ones; nothing restarts",
		Example: "  latchkey containerapp identity assign orders --system-assigned\n" +
			"  latchkey containerapp identity assign orders --user-assigned migrator --lifecycle Init",
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.changeIdentities(cmd.Context(), args, which, func(a *containerapps.App, ids []string) error {
				a.Assign(which.system, ids)
				if lifecycle != "" {
					setLifecycle(a, which.settings(ids), lifecycle)
				}
				return nil
			})
		},
	}
	f.addTo(c)
	which.addTo(c, "an identity of the app's own, which dies with it")
	c.Flags().StringVar(&lifecycle, "lifecycle", "", "which containers may use it: Init, Main, All or None (default: as it is, All for a new one)")
	return c
}

// chosenIdentities are those that flags name.
type chosenIdentities struct {
	system bool
	users  []string
}

func (w *chosenIdentities) addTo(c *cobra.Command, ofSystem string) {
	c.Flags().BoolVar(&w.system, "system-assigned", false, ofSystem)
	c.Flags().StringArrayVar(&w.users, "user-assigned", nil, "an identity, by name or id; may be repeated")
}

// settings gives what identity settings call the identities; ids are those of users.
func (w *chosenIdentities) settings(ids []string) []string {
	if w.system {
		ids = append(slices.Clone(ids), "system")
	}
	return ids
}

// changeIdentities changes an app as to the identities that are chosen, of which
// change gets the ids of the user-assigned ones, and shows what it has then.
func (f *containerFlags) changeIdentities(ctx context.Context, args []string, which chosenIdentities, change func(a *containerapps.App, ids []string) error) error {
	if !which.system && len(which.users) == 0 {
		return usageError{errors.New("say --system-assigned, --user-assigned IDENTITY, or both")}
	}
	client, a, err := f.find(ctx, args)
	if err != nil {
		return err
	}
	ids, err := f.identityIDs(ctx, which.users)
	if err != nil {
		return err
	}
	a, err = client.Change(ctx, a.ID, func(a *containerapps.App) error { return change(a, ids) })
	if err != nil {
		return err
	}
	return f.printIdentities(a)
}

// setLifecycle says for identities, as settings call them, which containers may use
// them.
func setLifecycle(a *containerapps.App, settings []string, lifecycle string) {
	for _, id := range settings {
		dropLifecycle(a, id)
		c := a.Properties.Configuration
		c.IdentitySettings = append(c.IdentitySettings, containerapp.IdentitySetting{Identity: id, Lifecycle: lifecycle})
	}
}

func (f *containerFlags) printIdentities(a containerapps.App) error {
	return f.print(a.Identity, func() error {
		var rows [][]string
		for _, i := range identitiesOf(a) {
			rows = append(rows, []string{i.name, dash(i.principal), dash(i.client), i.lifecycle})
		}
		if len(rows) == 0 {
			return f.said(nil, "%s has no identities", a.Name)
		}
		return writeTable(f.env.Stdout, "NAME PRINCIPAL CLIENT USABLE-BY", rows)
	})
}

func newContainerIdentityShow(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show the identities of a container app and which containers may use them",
		Example: "  latchkey containerapp identity show orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, a, err := f.find(cmd.Context(), args)
			if err != nil {
				return err
			}
			return f.printIdentities(a)
		},
	}
	f.addTo(c)
	return c
}

func newContainerIdentityRemove(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var which chosenIdentities
	c := &cobra.Command{
		Use:   "remove",
		Short: "Take identities from a container app; it gets no more tokens of them",
		Example: "  latchkey containerapp identity remove orders --user-assigned migrator\n" +
			"  latchkey containerapp identity remove orders --system-assigned",
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.changeIdentities(cmd.Context(), args, which, func(a *containerapps.App, ids []string) error {
				for _, id := range which.settings(ids) {
					dropLifecycle(a, id)
				}
				return a.Unassign(which.system, ids, false)
			})
		},
	}
	f.addTo(c)
	which.addTo(c, "the app's own identity, which is deleted")
	return c
}

func dropLifecycle(a *containerapps.App, id string) {
	c := a.Properties.Configuration
	c.IdentitySettings = slices.DeleteFunc(c.IdentitySettings, func(s containerapp.IdentitySetting) bool { return strings.EqualFold(s.Identity, id) })
}
