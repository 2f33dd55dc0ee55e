package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/clock"
)

func newClock(env *Env) *cobra.Command {
	c := newGroup("clock", "Show an installation's clock, and move it in a drill",
		newClockShow(env), newClockAdvance(env), newClockReset(env))
	c.Long = "Tokens, references, deleted secrets and keys all live by one clock. In drill mode\n" +
		"(latchkey up --drill) its owner can move it, to see in a moment what takes days."
	return c
}

func newClockShow(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use: "show", Short: "Show the time of an installation",
		Long:    "Shows the time all parts of an installation live by, and what a drill changed.",
		Example: "  latchkey clock show\n  latchkey clock show --output json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.clock(cmd.Context(), (*manage.Installation).Clock)
		},
	}
	s.addTo(c)
	return c
}

func newClockAdvance(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use: "advance DURATION", Short: "Move the clock ahead (drill mode only)",
		Long: "Moves the clock of all nodes ahead by a duration such as 5d, 36h or 90m. What comes due\n" +
			"on the way happens at once. Only for installations that run with --drill.",
		Example: "  latchkey clock advance 5d\n  latchkey clock advance 1h30m",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			by, err := clock.ParseSpan(args[0])
			if err != nil {
				return usageError{err}
			}
			return s.clock(cmd.Context(), func(in *manage.Installation, ctx context.Context) (manage.Clock, error) {
				return in.AdvanceClock(ctx, by)
			})
		},
	}
	s.addTo(c)
	return c
}

func newClockReset(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use: "reset", Short: "Set the clock to the system's again (drill mode only)",
		Long: "Sets the clock of all nodes to the system's time. What was written meanwhile keeps its\n" +
			"times, which lie in the future then.",
		Example: "  latchkey clock reset",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.clock(cmd.Context(), (*manage.Installation).ResetClock)
		},
	}
	s.addTo(c)
	return c
}

// clock does something with the clock and shows what it is then.
func (s *session) clock(ctx context.Context, do func(*manage.Installation, context.Context) (manage.Clock, error)) error {
	in, err := s.open(ctx)
	if err != nil {
		return err
	}
	c, err := do(in, ctx)
	if err != nil {
		return err
	}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, c)
	}
	facts := [][2]string{{"now", c.Now.UTC().Format(time.RFC3339)}}
	if !c.Drill {
		return writeFacts(s.env.Stdout, append(facts, [2]string{"drill", "off"}))
	}
	return writeFacts(s.env.Stdout, append(facts, [][2]string{
		{"system", c.System.UTC().Format(time.RFC3339)}, {"ahead", c.Ahead}, {"faults", faultsLine(c.Faults)},
	}...))
}

func faultsLine(f manage.DrillFaults) string {
	var list []string
	if f.Vault != "" {
		list = append(list, "vaults: "+f.Vault)
	}
	if f.Token {
		list = append(list, "no tokens")
	}
	if f.Slow != "" {
		list = append(list, "slow by "+f.Slow)
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
