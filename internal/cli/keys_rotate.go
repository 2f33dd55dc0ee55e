package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/clock"
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
			"and the app's log says when it is used. To end it early there is latchkey keys end-overlap.",
		Example: "  latchkey keys rotate partner --function hello --show\n  latchkey keys rotate _master --overlap 7d",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, dir := nameAndDir(args)
			return rotateKey(cmd.Context(), env, &f, overlap, name, dir)
		},
	}
	f.addTo(c, env)
	f.addMatch(c)
	c.Flags().StringVar(&overlap, "overlap", "24h", "how long the old value works, 1s to 90d")
	return c
}

func rotateKey(ctx context.Context, env *Env, f *keyFlags, overlap, name, dir string) error {
	d, err := clock.ParseSpan(overlap)
	if err != nil {
		return usageError{problem.Wrap(problem.Invalid, "--overlap", err).
			WithNext("latchkey keys renew replaces a value at once")}
	}
	k, _, err := f.openManaged(ctx, env, name, dir)
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

func newKeysEndOverlap(env *Env) *cobra.Command {
	var f keyFlags
	var yes bool
	c := &cobra.Command{
		Use:   "end-overlap NAME [DIR]",
		Short: "End the former values of an access key at once",
		Long: "Ends all values that a key had before it was rotated, which otherwise end by themselves. The\n" +
			"present value stays. Asks first, or needs --yes. latchkey keys list shows which of them are still used.",
		Example: "  latchkey keys end-overlap partner --function hello\n  latchkey keys end-overlap _master --yes",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, dir := nameAndDir(args)
			return endOverlap(cmd.Context(), env, &f, yes, name, dir)
		},
	}
	f.addTo(c, env)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func endOverlap(ctx context.Context, env *Env, f *keyFlags, yes bool, name, dir string) error {
	k, _, err := f.openManaged(ctx, env, name, dir)
	if err != nil {
		return err
	}
	defer k.close()
	was, err := k.view(ctx, f.show)
	if err != nil {
		return err
	}
	if len(was.Retiring) > 0 {
		question := fmt.Sprintf("%d former values of %s stop working at once, and whoever still presents one gets 401", len(was.Retiring), printable(was.Name))
		if err := confirm(ctx, env, yes, question, "end them?"); err != nil {
			return err
		}
	}
	if err := k.keys.EndOverlap(ctx, k.sec, k.name); err != nil {
		return err
	}
	fmt.Fprintf(env.Stderr, "ended %d former values\n", len(was.Retiring))
	v, err := k.view(ctx, f.show)
	if err != nil {
		return err
	}
	return printKey(env, f.out, v)
}
