package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/problem"
)

// rotationView is a key that was rotated. Its JSON form is a contract.
type rotationView struct {
	keyView
	Retired string    `json:"retired"` // name of the former value
	Until   time.Time `json:"until"`   // when that ends
}

func newKeysRotate(env *Env) *cobra.Command {
	var f keyFlags
	var overlap string
	c := &cobra.Command{
		Use:   "rotate NAME [DIR]",
		Short: "Give an access key a new generated value and let the old one work for a while",
		Long: "Replaces a key's value by a generated one. The old value goes on working for the overlap, with\n" +
			"the same restrictions, and ends by itself; until then it is listed under a name of its own,\n" +
			"and the app's log says when it is used. To end it early, delete or expire that name.",
		Example: "  latchkey keys rotate partner --function hello --show\n  latchkey keys rotate _master --overlap 7d",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, dir := nameAndDir(args)
			return rotateKey(cmd.Context(), env, &f, overlap, name, dir)
		},
	}
	f.addTo(c, env)
	c.Flags().StringVar(&overlap, "overlap", "24h", "how long the old value works, 1s to 90d")
	return c
}

func rotateKey(ctx context.Context, env *Env, f *keyFlags, overlap, name, dir string) error {
	d, err := parseDays(overlap)
	if err != nil {
		return usageError{problem.Wrap(problem.Invalid, "--overlap", err).
			WithNext("latchkey keys renew replaces a value at once")}
	}
	k, err := f.openManaged(ctx, env, name, dir)
	if err != nil {
		return err
	}
	defer k.close()
	done, err := k.keys.Rotate(ctx, k.sec, k.name, d)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stderr, "rotated; the old value works until %s\n", done.Until.UTC().Format(time.RFC3339))
	v := viewKey(k.sec, done.Key, f.show)
	if f.out.is(formJSON) {
		return writeJSON(env.Stdout, rotationView{v, done.Retired, done.Until.UTC()})
	}
	return printKey(env, f.out, v)
}
