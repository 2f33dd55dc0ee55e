package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

// openManaged is open for a key that must be there, which it gives too.
func (f *keyFlags) openManaged(ctx context.Context, env *Env, name, dir string) (*oneKey, accesskey.Key, error) {
	k, err := f.open(ctx, env, name, dir)
	if err != nil {
		return nil, accesskey.Key{}, err
	}
	key, err := k.get(ctx)
	if err != nil {
		k.close()
		return nil, key, err
	}
	return k, key, nil
}

// newManaged makes a command that changes one key and shows it.
func newManaged(env *Env, c *cobra.Command, change func(ctx context.Context, k *oneKey, was accesskey.Key) (accesskey.Key, error)) *cobra.Command {
	var f keyFlags
	c.Args = cobra.RangeArgs(1, 2)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		name, dir := nameAndDir(args)
		k, was, err := f.openManaged(cmd.Context(), env, name, dir)
		if err != nil {
			return err
		}
		defer k.close()
		key, err := change(cmd.Context(), k, was)
		if err != nil {
			return err
		}
		if key.Value == "" { // not told again
			key.Value = was.Value
		}
		return printKey(env, f.out, viewKey(k.sec, key, f.show))
	}
	f.addTo(c, env)
	return c
}

func newKeysDisable(env *Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "disable NAME [DIR]",
		Short: "Switch an access key off until it is enabled",
		Long: "Switches a key off, in a running app too, and keeps its value: whoever presents it gets\n" +
			"401 until latchkey keys enable. The master key cannot be switched off.",
		Example: "  latchkey keys disable partner --function hello",
	}
	return newManaged(env, c, func(ctx context.Context, k *oneKey, _ accesskey.Key) (accesskey.Key, error) {
		key, err := k.keys.Disable(ctx, k.sec, k.name)
		if err == nil {
			fmt.Fprintln(env.Stderr, "disabled; whoever presents it gets 401 until it is enabled")
		}
		return key, err
	})
}

func newKeysEnable(env *Env) *cobra.Command {
	c := &cobra.Command{
		Use:   "enable NAME [DIR]",
		Short: "Switch an access key on again",
		Long: "Undoes latchkey keys disable. All other restrictions stay: a key that has expired does not\n" +
			"work because it is enabled.",
		Example: "  latchkey keys enable partner --function hello",
	}
	return newManaged(env, c, func(ctx context.Context, k *oneKey, _ accesskey.Key) (accesskey.Key, error) {
		key, err := k.keys.Enable(ctx, k.sec, k.name)
		if err == nil {
			fmt.Fprintln(env.Stderr, "enabled")
		}
		return key, err
	})
}

func newKeysExpire(env *Env) *cobra.Command {
	var at, in string
	var yes bool
	c := &cobra.Command{
		Use:   "expire NAME [DIR]",
		Short: "Have an access key end, at once or at a time",
		Long: "Has a key end at a time, or at once without --at and --in; then it asks first, or needs\n" +
			"--yes. The key stays listed until it is deleted. The end of a key can be changed, that of a\n" +
			"former value only brought forward. The master key cannot expire.",
		Example: "  latchkey keys expire partner --in 30d\n  latchkey keys expire partner --at 2030-01-31T12:00:00Z\n" +
			"  latchkey keys expire partner --function hello --yes",
	}
	c.Flags().StringVar(&at, "at", "", "when it ends, in UTC unless the time has a zone")
	c.Flags().StringVar(&in, "in", "", "how long from now it ends, such as 12h or 30d")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return newManaged(env, c, func(ctx context.Context, k *oneKey, was accesskey.Key) (accesskey.Key, error) {
		end, err := endTime(at, in, time.Now())
		if err == nil && end.IsZero() {
			err = confirm(ctx, env, yes, loss(k.sec, was), "end it?")
		}
		if err != nil {
			return accesskey.Key{}, err
		}
		return k.keys.Expire(ctx, k.sec, k.name, end)
	})
}

// endTime reads when a key ends; the zero time is at once.
func endTime(at, in string, now time.Time) (time.Time, error) {
	switch {
	case at != "" && in != "":
		return time.Time{}, usageError{errors.New("--at and --in exclude each other")}
	case in != "":
		d, err := clock.ParseSpan(in)
		if err != nil {
			return time.Time{}, usageError{fmt.Errorf("--in: %w", err)}
		}
		return now.Add(d).UTC().Truncate(time.Second), nil
	case at == "":
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(layout, at); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, usageError{problem.New(problem.Invalid, "--at is no time").
		WithNext("use 2030-01-31T12:00:00Z, or 2030-01-31 for the beginning of that day in UTC")}
}
