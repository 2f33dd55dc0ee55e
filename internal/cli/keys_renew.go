package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/problem"
)

func newKeysRenew(env *Env) *cobra.Command {
	var f keyFlags
	var yes bool
	c := &cobra.Command{
		Use:   "renew NAME [DIR]",
		Short: "Give an access key a new generated value",
		Long: "Replaces a key's value by a generated one. The old value stops working within a tenth of a second,\n" +
			"in a running app too. Asks first, or needs --yes.",
		Example: "  latchkey keys renew default --function hello --yes --show\n  latchkey keys renew _master",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, dir := nameAndDir(args)
			return renewKey(cmd.Context(), env, f, yes, name, dir)
		},
	}
	f.addTo(c, env)
	f.addMatch(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func renewKey(ctx context.Context, env *Env, f keyFlags, yes bool, name, dir string) error {
	k, err := f.open(ctx, env, name, dir)
	if err != nil {
		return err
	}
	defer k.close()
	old, err := k.get(ctx)
	missing := k.sec.Kind == accesskey.Master && errors.Is(err, problem.NotFound) // a store without one can be given one
	if err != nil && !missing {
		return err
	}
	if !missing {
		if err := confirm(ctx, env, yes, loss(k.sec, old), "renew it?"); err != nil {
			return err
		}
	}
	key, _, err := k.keys.Renew(ctx, k.sec, k.name)
	if err != nil {
		return err
	}
	fmt.Fprintln(env.Stderr, "renewed; the new value works from now on")
	return printKey(env, f.out, viewKey(k.sec, key, f.show))
}
