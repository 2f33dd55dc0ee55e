package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/keystore/migrate"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server"
)

// migration is what the flags of the command say.
type migration struct {
	dataDir, app, from, to string
	yes, replace           bool
	out                    *choice
}

func newKeystoreMigrate(env *Env) *cobra.Command {
	m := migration{out: tableOrJSON()}
	c := &cobra.Command{
		Use:   "migrate [DIR]",
		Short: "Copy an app's keys to another store, values unchanged",
		Long: "Shows what copying all keys of the app from one store to another would do; with --yes it\n" +
			"copies them, reads them back and compares. Stores are named as in\n" +
			"AzureWebJobsSecretStorageType, with the app's other settings; files:FOLDER is another folder.\n" +
			"With --app it is done by the installation, as the app's identity, and no value leaves it; its\n" +
			"own store is called controlplane. Nothing in the source is changed, nothing in the destination\n" +
			"is replaced unless --replace is given for an old copy there, and what was interrupted can be\n" +
			"run again. Then set AzureWebJobsSecretStorageType; an app in a folder has to be restarted.",
		Example: "  latchkey keystore migrate --from files --to blob ./shop\n" +
			"  latchkey keystore migrate --from blob --to files:/srv/shop-keys --yes\n" +
			"  latchkey keystore migrate --app orders --from controlplane --to keyvault --yes",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return m.run(cmd.Context(), env, args) },
	}
	m.out.addTo(c)
	addDataDir(c, &m.dataDir)
	c.Flags().Lookup("data-dir").Usage = "folder for keys (default: DIR/.latchkey); with --app the data folder of latchkey up"
	c.Flags().StringVar(&m.app, "app", "", "an app of an installation, by name or id, instead of one in a folder")
	c.Flags().StringVar(&m.from, "from", "", "store that has the keys")
	c.Flags().StringVar(&m.to, "to", "", "store to copy them to")
	c.Flags().BoolVarP(&m.yes, "yes", "y", false, "do it")
	c.Flags().BoolVar(&m.replace, "replace", false, "let other keys in the destination, an old copy that nobody uses, be replaced")
	return c
}

func (m *migration) run(ctx context.Context, env *Env, args []string) error {
	if m.from == "" || m.to == "" {
		return usageError{problem.New(problem.Invalid, "migrate needs --from and --to").
			WithNext("name the stores: files, files:FOLDER, blob, keyvault, kubernetes, containerapps; with --app also controlplane")}
	}
	if m.app == "" {
		a, err := openApp(env, dirArg(args), m.dataDir)
		if err != nil {
			return err
		}
		return m.inFolder(ctx, env, a.cfg)
	}
	if len(args) > 0 {
		return usageError{errors.New("with --app there is no folder to name")}
	}
	return m.installed(ctx, env)
}

// inFolder shows the plan, or what was done.
func (m *migration) inFolder(ctx context.Context, env *Env, cfg server.Config) error {
	plan, err := server.PlanMigration(ctx, cfg, m.from, m.to, migrate.Options{Replace: m.replace})
	if err != nil {
		return err
	}
	failed := migrate.Blockers(plan.Steps)
	if m.yes && failed == nil {
		failed = plan.Apply(ctx)
	}
	if err := m.print(env, viewOf(plan, m.yes && failed == nil)); err != nil {
		return err
	}
	return failed
}

func viewOf(plan *server.Migration, done bool) manage.KeyMigrated {
	view := manage.KeyMigrated{From: plan.From, To: plan.To, Done: done, Documents: []manage.KeyDocument{}}
	for _, s := range plan.Steps {
		d := manage.KeyDocument{Document: string(s.Doc), Keys: s.Keys, State: string(s.State), Replaced: s.Replaced, Next: problem.NextOf(s.Err)}
		if s.Err != nil {
			d.Reason = s.Err.Error()
		}
		view.Documents = append(view.Documents, d)
	}
	return view
}

// installed asks the installation to do it.
func (m *migration) installed(ctx context.Context, env *Env) error {
	s := &session{env: env, dataDir: m.dataDir}
	in, a, err := s.openApp(ctx, m.app)
	if err != nil {
		return err
	}
	done, err := in.MigrateKeys(ctx, a, manage.KeyMigration{From: m.from, To: m.to, Apply: m.yes, Replace: m.replace})
	if err != nil {
		return err
	}
	if err := m.print(env, done); err != nil {
		return err
	}
	return refusedOf(done)
}

// refusedOf gives what keeps a migration from being done.
func refusedOf(done manage.KeyMigrated) error {
	var errs []error
	for _, d := range done.Documents {
		if d.State == string(migrate.Blocked) {
			errs = append(errs, problem.New(problem.Conflict, printable(d.Reason)).WithNext(printable(d.Next)))
		}
	}
	return errors.Join(errs...)
}

func (m *migration) print(env *Env, view manage.KeyMigrated) error {
	if m.out.is(formJSON) {
		return writeJSON(env.Stdout, view)
	}
	rows, pending, blocked := [][]string{}, false, false
	for _, d := range view.Documents {
		rows = append(rows, []string{d.Document, strconv.Itoa(d.Keys), d.State})
		pending = pending || slices.Contains([]string{string(migrate.Missing), string(migrate.Differs)}, d.State)
		blocked = blocked || d.State == string(migrate.Blocked)
	}
	fmt.Fprintf(env.Stdout, "from %s\nto   %s\n", printable(view.From), printable(view.To))
	if err := writeTable(env.Stdout, "DOCUMENT KEYS STATE", rows); err != nil {
		return err
	}
	for _, d := range view.Documents {
		if len(d.Replaced) > 0 {
			fmt.Fprintf(env.Stderr, "replaced in %s: %s\n", printable(d.Document), printable(strings.Join(d.Replaced, ", ")))
		}
	}
	if !m.yes && pending && !blocked {
		fmt.Fprintln(env.Stderr, "what is missing or differs is copied with --yes; nothing was changed")
	}
	return nil
}
