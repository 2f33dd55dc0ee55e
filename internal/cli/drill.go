package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/manage"
)

func newDrill(env *Env) *cobra.Command {
	c := newGroup("drill", "Make parts of an installation fail on purpose", newDrillFaults(env))
	c.Long = "A drill shows what an installation and its apps do when something fails. Start it with\n" +
		"latchkey up --drill; latchkey clock moves its clock. docs/incidents.md has drills to replay."
	return c
}

func newDrillFaults(env *Env) *cobra.Command {
	s := newSession(env)
	var f manage.DrillFaults
	var fine bool
	c := &cobra.Command{
		Use: "faults", Short: "Switch faults on and off (drill mode only)",
		Long: "Switches faults of all nodes: vaults that answer 500 or refuse everybody, an identity\n" +
			"endpoint without tokens, both of them slow. What is not named works again.",
		Example: "  latchkey drill faults --vault error\n  latchkey drill faults --token-down --slow 2s\n  latchkey drill faults --clear",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if fine == (f != manage.DrillFaults{}) {
				return usageError{errors.New("name the faults to switch on, or --clear")}
			}
			return s.clock(cmd.Context(), func(in *manage.Installation, ctx context.Context) (manage.Clock, error) { return in.SetFaults(ctx, f) })
		},
	}
	s.addTo(c)
	c.Flags().StringVar(&f.Vault, "vault", "", "how vaults fail: error or deny")
	c.Flags().BoolVar(&f.Token, "token-down", false, "apps get no tokens")
	c.Flags().StringVar(&f.Slow, "slow", "", "vaults and tokens take so long, such as 2s")
	c.Flags().BoolVar(&fine, "clear", false, "everything works again")
	return c
}
