package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/server"
)

func newKeystore(env *Env) *cobra.Command {
	c := newGroup("keystore", "Check where an app keeps its keys, and move them", newKeystoreCheck(env), newKeystoreMigrate(env),
		newKeystoreDiscard(env), newKeystoreRestore(env))
	c.Long = "An app's keys are where its setting AzureWebJobsSecretStorageType says: files, blob,\n" +
		"keyvault, kubernetes or containerapps."
	return c
}

func newKeystoreCheck(env *Env) *cobra.Command {
	var dataDir, app string
	out := tableOrJSON()
	c := &cobra.Command{
		Use:   "check [DIR]",
		Short: "Check whether an app's key store can be reached and read",
		Long: "Asks the key store that the app's settings name: whether it can be reached, what is in\n" +
			"it, whether every document opens, and whether there are keys of other apps or of\n" +
			"functions that are gone. Nothing is created or changed, and no value is shown.\n" +
			"Exit code 1 if something fails. With --app the installation looks, as the app's own identity.",
		Example: "  latchkey keystore check ./shop\n  AzureWebJobsSecretStorageType=blob latchkey keystore check --output json\n" +
			"  latchkey keystore check --app orders",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if app != "" {
				return checkInstalled(cmd.Context(), &session{env: env, dataDir: dataDir}, app, args, out)
			}
			a, err := openApp(env, dirArg(args), dataDir)
			if err != nil {
				return err
			}
			return endWith(env, server.ExamineKeys(cmd.Context(), a.cfg), out)
		},
	}
	out.addTo(c)
	addDataDir(c, &dataDir)
	addInstalled(c, &app)
	return c
}

// checkInstalled has an installation look at the keys of an app.
func checkInstalled(ctx context.Context, s *session, app string, args []string, out *choice) error {
	if len(args) > 0 {
		return errNoFolder
	}
	in, a, err := s.openApp(ctx, app)
	if err != nil {
		return err
	}
	list, err := in.CheckKeys(ctx, a)
	if err != nil {
		return err
	}
	checks := make([]server.Check, len(list))
	for i, c := range list {
		checks[i] = server.Check{Name: c.Check, Status: server.CheckStatus(c.Status), Message: c.Message, Next: c.Next}
	}
	return endWith(s.env, checks, out)
}
