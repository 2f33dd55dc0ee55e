package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/keyring"
)

func newKeysList(env *Env) *cobra.Command {
	var f keyFlags
	var all bool
	c := &cobra.Command{
		Use:   "list [DIR]",
		Short: "List access keys: all of the app's, or those chosen by flags",
		Long: "Lists the app's access keys, values masked unless --show is given. As in a\n" +
			"running app, keys are made for a function that has none yet.",
		Example: "  latchkey keys list\n  latchkey keys list --function hello --output json ./shop\n  latchkey keys list --all\n  latchkey keys list --app orders",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return listKeys(cmd.Context(), env, f, all, dirArg(args))
		},
	}
	f.addTo(c, env)
	c.Flags().BoolVar(&all, "all", false, "also keys that are kept for functions that are gone")
	return c
}

// listKeys shows what can be read, and then says what could not.
func listKeys(ctx context.Context, env *Env, f keyFlags, all bool, dir string) error {
	keys, sections, err := f.openSections(ctx, env, dir)
	if err != nil {
		return err
	}
	defer keys.Close()
	list, unread := readKeys(ctx, keys, sections, f.show)
	if all {
		held, err := heldKeys(ctx, keys, f.show)
		list, unread = append(list, held...), errors.Join(unread, err)
	}
	if slices.ContainsFunc(list, func(v keyView) bool { return v.hidden }) {
		fmt.Fprintln(env.Stderr, "the values are hidden: reading them takes another permission than reading the app")
	}
	return errors.Join(printKeys(env, f.out, list), unread)
}

// openSections opens the keys of the app that is meant, and tells which the flags
// choose.
func (f *keyFlags) openSections(ctx context.Context, env *Env, dir string) (keyBook, []keyring.Section, error) {
	if err := f.check(); err != nil {
		return nil, nil, err
	}
	o, err := f.owner(ctx, env, dir)
	if err != nil {
		return nil, nil, err
	}
	sections, err := f.sections(ctx, o)
	if err != nil {
		return nil, nil, err
	}
	keys, err := o.openKeys(ctx)
	return keys, sections, err
}

// sections gives the keys the flags choose: without any, all there are.
func (f *keyFlags) sections(ctx context.Context, o keyOwner) ([]keyring.Section, error) {
	if f.filtered() {
		sec, err := f.section(ctx, o)
		return []keyring.Section{sec}, err
	}
	names, err := o.functionNames(ctx)
	if err != nil {
		return nil, err
	}
	all := []keyring.Section{keyring.MasterKey(), keyring.HostKeys(), keyring.SystemKeys()}
	for _, name := range names {
		all = append(all, keyring.FunctionKeys(name))
	}
	return all, nil
}

func readKeys(ctx context.Context, keys keyBook, sections []keyring.Section, show bool) ([]keyView, error) {
	list := []keyView{}
	var unread unreadKeys
	for _, sec := range sections {
		found, err := viewSection(ctx, keys, sec, show)
		unread.add(err)
		list = append(list, found...)
	}
	return list, unread.err()
}

// unreadKeys collects errors, each once: the three host sections live in one
// document.
type unreadKeys struct {
	errs []error
	seen map[string]bool
}

func (u *unreadKeys) add(err error) {
	if err == nil || u.seen[err.Error()] {
		return
	}
	if u.seen == nil {
		u.seen = map[string]bool{}
	}
	u.seen[err.Error()] = true
	u.errs = append(u.errs, err)
}

func (u *unreadKeys) err() error {
	if len(u.errs) == 1 {
		return u.errs[0]
	}
	return errors.Join(u.errs...)
}
