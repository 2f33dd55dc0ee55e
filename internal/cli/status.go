package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/manage"
)

func newStatus(env *Env) *cobra.Command {
	s := newSession(env)
	var kinds []string
	c := &cobra.Command{
		Use: "status [APP]", Short: "Show what about apps is worth a look",
		Long: "Shows what somebody should look at, of one app or of all: apps and revisions that fail, keys\n" +
			"that cannot be read, references that do not resolve, keys that end within 14 days or have ended\n" +
			"although they were in use, and former values that are still in use. It is the list of the portal's\n" +
			"first page. Exits with 1 if something does not work already.",
		Example: "  latchkey status\n  latchkey status orders\n  latchkey status --kind keyEnds,keyEnded --output json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.status(cmd.Context(), strings.Join(args, ""), kinds)
		},
	}
	c.Flags().StringSliceVar(&kinds, "kind", nil, "only these kinds, separated by commas: "+
		"appFails, revisionFails, keysUnreadable, referenceFails, keyEnded, formerValueInUse, keyEnds, referenceStale")
	s.addTo(c)
	return c
}

func (s *session) status(ctx context.Context, app string, kinds []string) error {
	in, err := s.open(ctx)
	if err != nil {
		return err
	}
	all, err := in.Status(ctx, app, kinds)
	if err != nil {
		return err
	}
	if s.out.is(formJSON) {
		err = writeJSON(s.env.Stdout, all)
	} else {
		err = s.showStatus(all)
	}
	if err == nil && slices.ContainsFunc(all.Concerns, manage.Concern.Fails) {
		return quietError{exitFailed}
	}
	return err
}

// showStatus prints what is worth a look for people.
func (s *session) showStatus(all manage.Status) error {
	if !all.Complete {
		fmt.Fprintln(s.env.Stderr, "note: the node was started a moment ago and has not looked at all apps yet")
	}
	if len(all.Concerns) == 0 {
		fmt.Fprintln(s.env.Stderr, "nothing is worth a look")
		return nil
	}
	rows := make([][]string, len(all.Concerns))
	for n, c := range all.Concerns {
		rows[n] = []string{c.App, c.Kind, nameOf(c), whenOf(c.At), whenOf(c.LastUsed), c.Why}
	}
	err := writeTable(s.env.Stdout, "APP KIND NAME WHEN LAST-USED WHY", rows)
	if more := all.Total - len(all.Concerns); more > 0 && err == nil {
		fmt.Fprintf(s.env.Stderr, "note: there are %d more; of one app at most 20 are listed\n", more)
	}
	return err
}

func nameOf(c manage.Concern) string {
	switch {
	case c.Function != "":
		return c.Function + "/" + c.Name
	case c.KeyKind != "":
		return c.KeyKind + "/" + c.Name
	case c.Name == "":
		return c.Node
	}
	return c.Name
}

func whenOf(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateTime)
}
