package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server"
)

// managedBook is the keys of an app about which more is kept than their values.
type managedBook interface {
	keyBook
	Rotate(ctx context.Context, sec keyring.Section, name string, overlap time.Duration) (keyring.Rotation, error)
	Disable(ctx context.Context, sec keyring.Section, name string) (accesskey.Key, error)
	Enable(ctx context.Context, sec keyring.Section, name string) (accesskey.Key, error)
	Expire(ctx context.Context, sec keyring.Section, name string, at time.Time) (accesskey.Key, error)
	SetMeta(ctx context.Context, sec keyring.Section, name string, change func(*accesskey.Meta) error) (accesskey.Key, error)
	Usage(ctx context.Context, sec keyring.Section) ([]keyring.Use, error)
}

var _ managedBook = (*server.Keys)(nil) // the keys of an app in a folder

// needFolder refuses what the management API has no operations for.
func (f *keyFlags) needFolder() error {
	if f.app == "" {
		return nil
	}
	return problem.New(problem.Unsupported, "keys of an app of an installation cannot be rotated, disabled, restricted or counted yet").
		WithNext("with --app there are keys list, show, set, renew and delete; " +
			"keys set NAME --generate makes a second key, which can take over from the first")
}

// oneManaged is one key of an app in a folder, of which it is known that it is
// there.
type oneManaged struct {
	*oneKey
	keys managedBook
	key  accesskey.Key
}

func (f *keyFlags) openManaged(ctx context.Context, env *Env, name, dir string) (*oneManaged, error) {
	if err := f.needFolder(); err != nil {
		return nil, err
	}
	k, err := f.open(ctx, env, name, dir)
	if err != nil {
		return nil, err
	}
	m := &oneManaged{oneKey: k}
	if m.key, err = k.get(ctx); err != nil {
		k.close()
		return nil, err
	}
	m.keys = k.keys.(managedBook) // an app in a folder has them, see above
	return m, nil
}

// newManaged makes a command that changes one key and shows it.
func newManaged(env *Env, c *cobra.Command, change func(ctx context.Context, f *keyFlags, k *oneManaged) (accesskey.Key, error)) *cobra.Command {
	var f keyFlags
	c.Args = cobra.RangeArgs(1, 2)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		name, dir := nameAndDir(args)
		k, err := f.openManaged(cmd.Context(), env, name, dir)
		if err != nil {
			return err
		}
		defer k.close()
		key, err := change(cmd.Context(), &f, k)
		if err != nil {
			return err
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
	return newManaged(env, c, func(ctx context.Context, _ *keyFlags, k *oneManaged) (accesskey.Key, error) {
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
	return newManaged(env, c, func(ctx context.Context, _ *keyFlags, k *oneManaged) (accesskey.Key, error) {
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
	return newManaged(env, c, func(ctx context.Context, _ *keyFlags, k *oneManaged) (accesskey.Key, error) {
		end, err := endTime(at, in, time.Now())
		if err == nil && end.IsZero() {
			err = confirm(ctx, env, yes, loss(k.sec, k.key), "end it?")
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
		d, err := parseDays(in)
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
