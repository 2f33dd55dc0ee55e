package cli

import (
	"context"
	"fmt"
	"path"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/problem"
)

func newKeysFind(env *Env) *cobra.Command {
	s := newSession(env)
	var app string
	c := &cobra.Command{
		Use:   "find",
		Short: "Find out whose key a value is",
		Long: "Reads a value from standard input, or typed unseen on a terminal, and tells which keys of\n" +
			"the installation have it: of all apps, or of one with --app. An address with ?code= will do.\n" +
			"Former values that still work are found, and keys of which only a hash is kept.\n" +
			"Exit code 3 if it is nobody's, 1 if some keys could not be looked at. For files and for an app in a folder see latchkey scan.",
		Example: "  latchkey keys find < leaked.txt\n  latchkey keys find --app orders",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return findKey(cmd.Context(), s, app) },
	}
	s.addTo(c)
	c.Flags().StringVar(&app, "app", "", "look at the keys of this app only, by name or id")
	return c
}

func findKey(ctx context.Context, s *session, app string) error {
	value, err := readSecret(ctx, s.env, "value to look for: ")
	if err != nil {
		return err
	}
	if value == "" {
		return usageError{problem.New(problem.Invalid, "no value was given").WithNext("give it on standard input")}
	}
	in, err := s.open(ctx)
	if err != nil {
		return err
	}
	found, err := in.FindKey(ctx, value, app)
	if err != nil {
		return err
	}
	for _, u := range found.Unread {
		fmt.Fprintf(s.env.Stderr, "latchkey: keys of %s were not looked at: %s\n", printable(path.Base(u.App)), sentences(u.Message))
	}
	if len(found.Keys) == 0 && len(found.Unread) > 0 { // nobody must take that for an answer
		return problem.New(problem.Unavailable, "the value is no key that could be looked at; whether it is one of the others is not known").
			WithNext("mend what keeps their keys from being read (latchkey keystore check --app NAME) and ask again")
	}
	if len(found.Keys) == 0 {
		return problem.New(problem.NotFound, fmt.Sprintf("the value is no key of %s", appsLookedAt(found))).
			WithNext("a key that was replaced or deleted is not known any more; another installation may have it")
	}
	return s.showFound(found)
}

func appsLookedAt(f manage.FoundKeys) string {
	if f.Apps == 1 {
		return "the one app that was looked at"
	}
	return fmt.Sprintf("the %d apps that were looked at", f.Apps)
}

func (s *session) showFound(found manage.FoundKeys) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, found.Keys)
	}
	rows := make([][]string, len(found.Keys))
	for i, k := range found.Keys {
		rows[i] = []string{path.Base(k.App), k.Kind, first(k.Function, "-"), k.Name}
	}
	return writeTable(s.env.Stdout, "APP KIND FUNCTION NAME", rows)
}
