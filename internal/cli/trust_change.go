package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trust"
)

// changeTrust are the flags of commands that change the machine.
type changeTrust struct {
	trustFlags
	yes, dryRun, noHosts, all, sync bool
}

func (f *changeTrust) addTo(c *cobra.Command) {
	f.trustFlags.addTo(c)
	c.Flags().BoolVarP(&f.yes, "yes", "y", false, "do not ask")
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "show the changes and make none")
}

func newTrustInstall(env *Env) *cobra.Command {
	var f changeTrust
	c := &cobra.Command{
		Use:   "install",
		Short: "Put the authority into the system's store, and the apps into /etc/hosts",
		Long: "Puts the installation's certificate authority into the system's store, and host\n" +
			"entries of its apps into a marked block of /etc/hosts. Shows each change and asks\n" +
			"first. Needs root. latchkey trust uninstall undoes exactly that.",
		Example: "  latchkey trust install --dry-run\n  sudo latchkey trust install --data-dir ~/.local/share/latchkey",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.install(cmd.Context(), env) },
	}
	f.addTo(c)
	f.addAddressTo(c)
	c.Flags().BoolVar(&f.noHosts, "no-hosts", false, "leave /etc/hosts alone")
	return c
}

func (f *changeTrust) install(ctx context.Context, env *Env) error {
	i, err := f.find(env)
	if err != nil {
		return err
	}
	m := env.machine()
	entries, err := f.entries(ctx, env, m, i)
	if err != nil {
		return err
	}
	plan, err := m.Install(i.authority, entries)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stderr, "The authority is limited to %s, names below, and loopback addresses.\n", printable(i.domain))
	return apply(ctx, env, plan, i.asRoot("install"), f.yes, f.dryRun)
}

// entries gives those to have afterwards. If the apps cannot be asked for, those
// of before stay: the authority can be installed while the platform is down.
func (f *changeTrust) entries(ctx context.Context, env *Env, m trust.Machine, i installation) ([]trust.Entry, error) {
	if !f.noHosts {
		wanted, err := f.wanted(ctx, i)
		if err == nil || errors.Is(err, problem.Invalid) || ctx.Err() != nil {
			return wanted, err
		}
		fmt.Fprintln(env.Stderr, "note: host entries stay as they are: "+printable(err.Error())+"; later: latchkey trust hosts --sync")
	}
	s, err := m.Status(i.authority, nil)
	return s.Block, err
}

func newTrustUninstall(env *Env) *cobra.Command {
	var f changeTrust
	c := &cobra.Command{
		Use:   "uninstall",
		Short: "Undo what trust install did",
		Long: "Takes the installation's authority out of the system's store and its marked block\n" +
			"out of /etc/hosts, and touches nothing else. Needs root.",
		Example: "  sudo latchkey trust uninstall --data-dir ~/.local/share/latchkey\n  sudo latchkey trust uninstall --all",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.uninstall(cmd.Context(), env) },
	}
	f.addTo(c)
	c.Flags().BoolVar(&f.all, "all", false, "of every installation, also those whose data folder is gone")
	c.MarkFlagsMutuallyExclusive("all", "data-dir")
	return c
}

func (f *changeTrust) uninstall(ctx context.Context, env *Env) error {
	m := env.machine()
	if f.all {
		plan, err := m.UninstallAll()
		if err != nil {
			return err
		}
		return apply(ctx, env, plan, "sudo latchkey trust uninstall --all", f.yes, f.dryRun)
	}
	i, err := f.find(env)
	if errors.Is(err, problem.NotFound) {
		return problem.Wrap(problem.NotFound, "the installation is gone", err).
			WithNext("name its data folder with --data-dir, or undo the installs of all with latchkey trust uninstall --all")
	}
	if err != nil {
		return err
	}
	plan, err := m.Uninstall(i.authority)
	if err != nil {
		return err
	}
	return apply(ctx, env, plan, i.asRoot("uninstall"), f.yes, f.dryRun)
}

func newTrustHosts(env *Env) *cobra.Command {
	var f changeTrust
	c := &cobra.Command{
		Use:   "hosts",
		Short: "Show the host entries of the apps, or renew them in /etc/hosts",
		Long: "Prints the host entries that the apps need now. With --sync they replace the marked\n" +
			"block of /etc/hosts; run that after apps were created or deleted. It needs root.",
		Example: "  latchkey trust hosts\n  sudo latchkey trust hosts --sync --data-dir ~/.local/share/latchkey",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.hosts(cmd.Context(), env) },
	}
	f.addTo(c)
	f.addAddressTo(c)
	c.Flags().BoolVar(&f.sync, "sync", false, "write them")
	return c
}

func (f *changeTrust) hosts(ctx context.Context, env *Env) error {
	i, err := f.find(env)
	if err != nil {
		return err
	}
	wanted, err := f.wanted(ctx, i)
	if err != nil {
		return err
	}
	if !f.sync && !f.dryRun {
		for _, e := range wanted {
			fmt.Fprintln(env.Stdout, e)
		}
		return nil
	}
	plan, err := env.machine().SetHosts(i.authority, wanted)
	if err != nil {
		return err
	}
	return apply(ctx, env, plan, i.asRoot("hosts --sync"), f.yes, f.dryRun)
}
