package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/problem"
)

func newKeysDelete(env *Env) *cobra.Command {
	var f keyFlags
	var yes bool
	c := &cobra.Command{
		Use:   "delete NAME [DIR]",
		Short: "Delete an access key",
		Long: "Deletes a key, which stops working within a tenth of a second, in a running app too. Asks first, or\n" +
			"needs --yes. The master key can only be renewed.",
		Example: "  latchkey keys delete partner --function hello --yes",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, dir := nameAndDir(args)
			return deleteKey(cmd.Context(), env, f, yes, name, dir)
		},
	}
	f.addTo(c, env)
	f.addMatch(c)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func deleteKey(ctx context.Context, env *Env, f keyFlags, yes bool, name, dir string) error {
	k, err := f.open(ctx, env, name, dir)
	if err != nil {
		return err
	}
	defer k.close()
	if k.sec.Kind == accesskey.Master {
		return problem.New(problem.Conflict, "the master key cannot be deleted").WithNext("latchkey keys renew _master replaces it")
	}
	key, err := k.get(ctx)
	if err != nil {
		return err
	}
	if err := confirm(ctx, env, yes, loss(k.sec, key), "delete it?"); err != nil {
		return err
	}
	if err := k.keys.Delete(ctx, k.sec, k.name); err != nil {
		return err
	}
	if f.out.is(formJSON) {
		return writeJSON(env.Stdout, viewKey(k.sec, key, f.show))
	}
	_, err = fmt.Fprintf(env.Stdout, "deleted %s\n", printable(key.Name))
	return err
}
