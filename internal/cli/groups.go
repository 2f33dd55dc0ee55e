package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/manage"
)

func newGroups(env *Env) *cobra.Command {
	c := newGroup("group", "Manage groups of principals",
		newGroupCreate(env), newGroupList(env), newGroupShow(env), newGroupDelete(env), newGroupAdd(env), newGroupRemove(env))
	c.Long = "The members of a group have its roles, which role assign gives it like any principal,\n" +
		"as long as they are in it: a change counts from the next call on. Groups can be in groups.\n" +
		"A group is named by name or object id, a member by name, client id or object id."
	return c
}

// groupCommand makes a command about an installation.
func groupCommand(env *Env, use, short, example string, args cobra.PositionalArgs, run func(context.Context, *session, *manage.Installation, []string) error) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use: use, Short: short, Example: example, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := s.open(cmd.Context())
			if err != nil {
				return err
			}
			return run(cmd.Context(), s, in, args)
		},
	}
	s.addTo(c)
	return c
}

func newGroupCreate(env *Env) *cobra.Command {
	var description string
	c := groupCommand(env, "create NAME", "Make a group", "  latchkey group create deployers\n  latchkey group create readers --description \"who may look\" --output json",
		cobra.ExactArgs(1), func(ctx context.Context, s *session, in *manage.Installation, args []string) error {
			g, err := in.CreateGroup(ctx, args[0], description)
			if err != nil {
				return err
			}
			return s.printGroup(g)
		})
	c.Flags().StringVar(&description, "description", "", "what it is for")
	return c
}

func newGroupList(env *Env) *cobra.Command {
	var member string
	c := groupCommand(env, "list", "List the groups", "  latchkey group list\n  latchkey group list --member ci --output json",
		cobra.NoArgs, func(ctx context.Context, s *session, in *manage.Installation, _ []string) error {
			who := manage.Principal{}
			if member != "" {
				var err error
				if who, err = in.Holder(ctx, member); err != nil {
					return err
				}
			}
			list, err := in.Groups(ctx, who.ObjectID)
			if err != nil {
				return err
			}
			return s.printGroups(list)
		})
	c.Flags().StringVar(&member, "member", "", "only those that this principal or group is in, through others too")
	return c
}

func (s *session) printGroups(list []manage.Group) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, list)
	}
	rows := make([][]string, len(list))
	for n, g := range list {
		rows[n] = []string{g.Name, g.ObjectID, strconv.Itoa(g.MemberCount), dash(g.Description)}
	}
	return writeTable(s.env.Stdout, "NAME OBJECT-ID MEMBERS DESCRIPTION", rows)
}

func newGroupShow(env *Env) *cobra.Command {
	return groupCommand(env, "show GROUP", "Show a group and who is in it", "  latchkey group show deployers",
		cobra.ExactArgs(1), func(ctx context.Context, s *session, in *manage.Installation, args []string) error {
			g, err := groupWithMembers(ctx, in, args[0])
			if err != nil {
				return err
			}
			return s.printGroup(g)
		})
}

func groupWithMembers(ctx context.Context, in *manage.Installation, which string) (manage.Group, error) {
	g, err := in.Group(ctx, which)
	if err == nil {
		g.Members, err = in.Members(ctx, g)
	}
	return g, err
}

func (s *session) printGroup(g manage.Group) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, g)
	}
	facts := [][2]string{{"name", g.Name}, {"object id", g.ObjectID}, {"description", g.Description}}
	for _, m := range g.Members {
		facts = append(facts, [2]string{"member", cmp.Or(m.Name, "(gone)") + ", " + m.Kind + ", " + m.ObjectID})
	}
	return writeFacts(s.env.Stdout, facts)
}

func newGroupDelete(env *Env) *cobra.Command {
	var yes bool
	c := groupCommand(env, "delete GROUP", "Delete a group with its roles", "  latchkey group delete deployers --yes",
		cobra.ExactArgs(1), func(ctx context.Context, s *session, in *manage.Installation, args []string) error {
			g, err := in.Group(ctx, args[0])
			if err != nil {
				return err
			}
			loss := fmt.Sprintf("the %d members of %s lose the roles they have through it", g.MemberCount, printable(g.Name))
			if err := confirm(ctx, env, yes, loss, "delete it?"); err != nil {
				return err
			}
			if err := in.DeleteGroup(ctx, g); err != nil {
				return err
			}
			if s.out.is(formJSON) {
				return writeJSON(env.Stdout, g)
			}
			_, err = fmt.Fprintf(env.Stdout, "deleted %s\n", printable(g.Name))
			return err
		})
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func newGroupAdd(env *Env) *cobra.Command {
	return groupCommand(env, "add GROUP MEMBER...", "Put principals or groups into a group", "  latchkey group add deployers ci\n  latchkey group add readers deployers ann",
		cobra.MinimumNArgs(2), func(ctx context.Context, s *session, in *manage.Installation, args []string) error {
			g, err := in.Group(ctx, args[0])
			if err != nil {
				return err
			}
			members := make([]manage.Principal, len(args)-1)
			for n, who := range args[1:] { // what is misspelt is found before anybody is added
				if members[n], err = in.Holder(ctx, who); err != nil {
					return err
				}
			}
			for _, p := range members {
				if err := s.addMember(ctx, in, g, p); err != nil {
					return err
				}
			}
			return s.printChanged(ctx, in, g)
		})
}

func (s *session) addMember(ctx context.Context, in *manage.Installation, g manage.Group, p manage.Principal) error {
	added, err := in.AddMember(ctx, g, p)
	if err != nil || s.out.is(formJSON) {
		return err
	}
	what := "is now in"
	if !added {
		what = "was in"
	}
	_, err = fmt.Fprintf(s.env.Stdout, "%s %s %s\n", printable(p.Name), what, printable(g.Name))
	return err
}

// printChanged prints a group after a change, where the output is JSON.
func (s *session) printChanged(ctx context.Context, in *manage.Installation, g manage.Group) error {
	if !s.out.is(formJSON) {
		return nil
	}
	g, err := groupWithMembers(ctx, in, g.ObjectID)
	if err != nil {
		return err
	}
	return writeJSON(s.env.Stdout, g)
}

func newGroupRemove(env *Env) *cobra.Command {
	var yes bool
	c := groupCommand(env, "remove GROUP MEMBER...", "Take principals or groups out of a group", "  latchkey group remove deployers ci --yes",
		cobra.MinimumNArgs(2), func(ctx context.Context, s *session, in *manage.Installation, args []string) error {
			g, err := groupWithMembers(ctx, in, args[0])
			if err != nil {
				return err
			}
			members := make([]manage.Member, len(args)-1)
			for n, who := range args[1:] {
				if members[n], err = g.MemberOf(who); err != nil {
					return err
				}
			}
			loss := fmt.Sprintf("%d of the members lose at once the roles they have through %s", len(members), printable(g.Name))
			if err := confirm(ctx, env, yes, loss, "take them out?"); err != nil {
				return err
			}
			for _, m := range members {
				if err := s.removeMember(ctx, in, g, m); err != nil {
					return err
				}
			}
			return s.printChanged(ctx, in, g)
		})
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func (s *session) removeMember(ctx context.Context, in *manage.Installation, g manage.Group, m manage.Member) error {
	err := in.RemoveMember(ctx, g, m)
	if err != nil || s.out.is(formJSON) {
		return err
	}
	_, err = fmt.Fprintf(s.env.Stdout, "%s is no longer in %s\n", printable(cmp.Or(m.Name, m.ObjectID)), printable(g.Name))
	return err
}
