package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
)

// setFlags are the flags of keys set.
type setFlags struct {
	keyFlags
	valueFile string
	generate  bool
	meta      metaFlags
}

func newKeysSet(env *Env) *cobra.Command {
	var f setFlags
	c := &cobra.Command{
		Use:   "set NAME [DIR]",
		Short: "Set an access key to a value of yours, or make a new key",
		Long: "Creates a key or gives it another value, which is read from standard input,\n" +
			"typed unseen on a terminal, or read from --value-file; never from an argument,\n" +
			"which other users of the machine could see. --generate makes a new key instead.\n" +
			"With a note or a restriction alone the value stays; none takes one away.",
		Example: "  latchkey keys set partner --generate --show\n" +
			"  latchkey keys set partner --function hello < key.txt\n" +
			"  latchkey keys set partner --owner billing --expires 90d --cidr 10.0.0.0/8 --rate 10/1m",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, dir := nameAndDir(args)
			return setKey(cmd.Context(), env, f, name, dir)
		},
	}
	f.addTo(c, env)
	c.Flags().StringVar(&f.valueFile, "value-file", "", "file with the value")
	c.Flags().BoolVar(&f.generate, "generate", false, "make a new key with a generated value")
	f.meta.addTo(c)
	return c
}

func (f setFlags) check(name, dir string) error {
	if f.generate && f.valueFile != "" {
		return usageError{errors.New("--generate and --value-file exclude each other")}
	}
	if info, err := os.Stat(dir); f.app == "" && (err != nil || !info.IsDir()) {
		// The text is left out: it could be a value that somebody put there.
		return usageError{problem.New(problem.Invalid, "the argument after the key's name is the app's folder, and there is no such folder").
			WithNext("give the value on standard input or with --value-file")}
	}
	if accesskey.IsMasterName(name) || f.kind.is("master") {
		return nil
	}
	if err := accesskey.ValidateName(name); err != nil {
		return usageError{err}
	}
	return nil
}

func setKey(ctx context.Context, env *Env, f setFlags, name, dir string) error {
	if err := f.check(name, dir); err != nil {
		return err
	}
	k, err := f.open(ctx, env, name, dir)
	if err != nil {
		return err
	}
	defer k.close()
	change := f.assign
	if f.meta.any() && !f.generate && f.valueFile == "" {
		change = f.restrictKey
	}
	key, err := change(ctx, env, k)
	if err != nil {
		return err
	}
	v := viewKey(k.sec, key, f.show)
	if !f.generate && !f.show {
		v.Value = "" // it is theirs, kept or not
	}
	return printKey(env, f.out, v)
}

// assign gives the key its value, and what the flags say of it with the same write,
// and says what that means.
func (f setFlags) assign(ctx context.Context, env *Env, k *oneKey) (accesskey.Key, error) {
	want := keyring.Declared{Name: k.name, Record: true, Told: true, New: f.generate}
	if err := f.restrictions(k, &want); err != nil {
		return accesskey.Key{}, err
	}
	if err := f.choose(ctx, env, k, &want); err != nil {
		return accesskey.Key{}, err
	}
	key, created, err := k.keys.Put(ctx, k.sec, want)
	switch {
	case err != nil:
	case created:
		fmt.Fprintln(env.Stderr, "created; it works from now on")
	default:
		fmt.Fprintln(env.Stderr, "replaced; whoever presents the old value gets 401")
	}
	return key, err
}

// choose gives the value that the key is to have; one that is generated is for a key
// that is not there.
func (f setFlags) choose(ctx context.Context, env *Env, k *oneKey, want *keyring.Declared) (err error) {
	if f.generate {
		return missingKey(ctx, k)
	}
	want.Value, err = f.value(ctx, env, k)
	return err
}

// restrictions checks the notes and restrictions that the flags give, as far as that
// can be done without the key.
func (f setFlags) restrictions(k *oneKey, want *keyring.Declared) error {
	if !f.meta.any() {
		return nil
	}
	var m accesskey.Meta
	if err := f.meta.apply(&m); err != nil {
		return err
	}
	want.Meta = func(m *accesskey.Meta) { _ = f.meta.apply(m) } // which was checked
	return m.Validate(k.sec.Kind, accesskey.Meta{}, time.Now())
}

// missingKey makes sure that a key is not there: replacing one is renewing, which
// asks first.
func missingKey(ctx context.Context, k *oneKey) error {
	_, err := k.keys.Get(ctx, k.sec, k.name)
	switch {
	case err == nil:
		return problem.New(problem.Exists, "there is a key of that name already").
			WithNext("latchkey keys renew replaces its value")
	case problem.KindOf(err) != problem.NotFound:
		return err
	}
	return nil
}

func (f setFlags) value(ctx context.Context, env *Env, k *oneKey) (string, error) {
	value, err := f.readValue(ctx, env, k.name)
	if err == nil && value == "" {
		err = usageError{problem.New(problem.Invalid, "no value was given").
			WithNext("give it on standard input or with --value-file, or use --generate")}
	}
	return value, err
}

func (f setFlags) readValue(ctx context.Context, env *Env, name string) (string, error) {
	if f.valueFile == "" {
		return readSecret(ctx, env, "value for key "+printable(name)+": ")
	}
	file, err := os.Open(f.valueFile)
	if err != nil {
		return "", problem.Wrap(problem.Invalid, "the value cannot be read", err)
	}
	defer file.Close()
	return readValue(file, f.valueFile)
}
