package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

func newKeysShow(env *Env) *cobra.Command {
	var f keyFlags
	c := &cobra.Command{
		Use:   "show NAME [DIR]",
		Short: "Show one access key",
		Long: "Shows one key. Its value shows with --show, or on a terminal if you say so when\n" +
			"you are asked.",
		Example: "  latchkey keys show default --show\n  latchkey keys show _master\n" +
			"  latchkey keys show default --function hello --show --output json",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, dir := nameAndDir(args)
			return showKey(cmd.Context(), env, f, name, dir)
		},
	}
	f.addTo(c, env)
	return c
}

func showKey(ctx context.Context, env *Env, f keyFlags, name, dir string) error {
	k, err := f.open(ctx, env, name, dir)
	if err != nil {
		return err
	}
	defer k.close()
	if _, err := k.get(ctx); err != nil {
		return err
	}
	show := f.show
	if !show && env.Prompt && env.Terminal {
		if show, err = askYes(ctx, env, "show the value?"); err != nil {
			return err
		}
	}
	v, err := k.view(ctx, show)
	if err != nil {
		return err
	}
	if err := printKey(env, f.out, v); err != nil || f.out.is(formJSON) {
		return err
	}
	for _, former := range v.Retiring {
		used := ""
		if former.Last != nil {
			used = ", last used " + former.Last.Format(time.RFC3339)
		}
		fmt.Fprintf(env.Stderr, "a former value works until %s%s; latchkey keys end-overlap %s ends it\n",
			former.Until.UTC().Format(time.RFC3339), used, printable(v.Name))
	}
	return nil
}
