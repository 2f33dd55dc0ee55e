package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/keystore/migrate"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server"
)

func newKeystore(env *Env) *cobra.Command {
	c := newGroup("keystore", "Check where an app keeps its keys, and move them", newKeystoreCheck(env), newKeystoreMigrate(env))
	c.Long = "An app's keys are where its setting AzureWebJobsSecretStorageType says: files, blob,\n" +
		"keyvault, kubernetes or containerapps. These commands are for apps in a folder."
	return c
}

func newKeystoreCheck(env *Env) *cobra.Command {
	var dataDir string
	out := tableOrJSON()
	c := &cobra.Command{
		Use:   "check [DIR]",
		Short: "Check whether an app's key store can be reached and read",
		Long: "Asks the key store that the app's settings name: whether it can be reached, what is in\n" +
			"it, whether every document opens, and whether there are keys of other apps or of\n" +
			"functions that are gone. Nothing is created or changed, and no value is shown.\n" +
			"Exit code 1 if something fails.",
		Example: "  latchkey keystore check ./shop\n  AzureWebJobsSecretStorageType=blob latchkey keystore check --output json",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := openApp(env, dirArg(args), dataDir)
			if err != nil {
				return err
			}
			return endWith(env, server.ExamineKeys(cmd.Context(), a.cfg), out)
		},
	}
	out.addTo(c)
	addDataDir(c, &dataDir)
	return c
}

func newKeystoreMigrate(env *Env) *cobra.Command {
	var dataDir, from, to string
	var yes bool
	out := tableOrJSON()
	c := &cobra.Command{
		Use:   "migrate [DIR]",
		Short: "Copy an app's keys to another store, values unchanged",
		Long: "Shows what copying all keys of the app from one store to another would do; with --yes it\n" +
			"copies them, reads them back and compares. Stores are named as in\n" +
			"AzureWebJobsSecretStorageType, with the app's other settings; files:FOLDER is another folder.\n" +
			"Nothing in the source is changed, nothing in the destination is replaced, and what was\n" +
			"interrupted can be run again. Then set AzureWebJobsSecretStorageType and restart the app.",
		Example: "  latchkey keystore migrate --from files --to blob ./shop\n" +
			"  latchkey keystore migrate --from blob --to files:/srv/shop-keys --yes",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if from == "" || to == "" {
				return usageError{problem.New(problem.Invalid, "migrate needs --from and --to").
					WithNext("name the stores: files, files:FOLDER, blob, keyvault, kubernetes, containerapps")}
			}
			a, err := openApp(env, dirArg(args), dataDir)
			if err != nil {
				return err
			}
			return migrateKeys(cmd.Context(), env, a.cfg, from, to, yes, out)
		},
	}
	out.addTo(c)
	addDataDir(c, &dataDir)
	c.Flags().StringVar(&from, "from", "", "store that has the keys")
	c.Flags().StringVar(&to, "to", "", "store to copy them to")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do it")
	return c
}

// migrateKeys shows the plan, or what was done.
func migrateKeys(ctx context.Context, env *Env, cfg server.Config, from, to string, yes bool, out *choice) error {
	m, err := server.PlanMigration(ctx, cfg, from, to)
	if err != nil {
		return err
	}
	failed := migrate.Blockers(m.Steps)
	if yes && failed == nil {
		failed = m.Apply(ctx)
	}
	if err := printMigration(env, m, yes && failed == nil, out); err != nil {
		return err
	}
	return failed
}

// migrationView is a migration in JSON. Its form is a contract.
type migrationView struct {
	From      string         `json:"from"`
	To        string         `json:"to"`
	Done      bool           `json:"done"`
	Documents []documentView `json:"documents"`
}

type documentView struct {
	Document string        `json:"document"`
	Keys     int           `json:"keys"`
	State    migrate.State `json:"state"`
	Reason   string        `json:"reason,omitempty"`
	Next     string        `json:"next,omitempty"`
}

func printMigration(env *Env, m *server.Migration, done bool, out *choice) error {
	view := migrationView{From: m.From, To: m.To, Done: done, Documents: []documentView{}}
	rows := [][]string{}
	for _, s := range m.Steps {
		d := documentView{Document: string(s.Doc), Keys: s.Keys, State: s.State, Next: problem.NextOf(s.Err)}
		if s.Err != nil {
			d.Reason = s.Err.Error()
		}
		view.Documents = append(view.Documents, d)
		rows = append(rows, []string{d.Document, strconv.Itoa(d.Keys), string(d.State)})
	}
	if out.is(formJSON) {
		return writeJSON(env.Stdout, view)
	}
	fmt.Fprintf(env.Stdout, "from %s\nto   %s\n", printable(m.From), printable(m.To))
	if err := writeTable(env.Stdout, "DOCUMENT KEYS STATE", rows); err != nil || done {
		return err
	}
	missing := slices.ContainsFunc(m.Steps, func(s migrate.Step) bool { return s.State == migrate.Missing })
	if missing && migrate.Blockers(m.Steps) == nil {
		fmt.Fprintln(env.Stderr, "what is missing is copied with --yes; nothing was changed")
	}
	return nil
}
