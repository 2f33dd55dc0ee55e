package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server"
)

func newKeystoreDiscard(env *Env) *cobra.Command {
	var dataDir, app string
	var yes bool
	c := &cobra.Command{
		Use:   "discard DOCUMENT [DIR]",
		Short: "Give up a key document that cannot be decrypted, keeping a copy",
		Long: "For a document of the store, host or the name of a function, that cannot be decrypted or\n" +
			"understood, when neither the right key nor a backup is left. A copy is kept beside it and the\n" +
			"document goes; with the next start new keys are made, and every caller needs them. A document\n" +
			"that opens is not discarded. With --app the installation does it and makes the new keys at once.",
		Example: "  latchkey keystore discard host ./shop --yes\n  latchkey keystore discard host --app orders --yes",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			doc, dir := nameAndDir(args)
			if app == "" {
				return discardKeys(cmd.Context(), env, keystore.FunctionDoc(doc), dir, dataDir, yes)
			}
			if len(args) > 1 {
				return errNoFolder
			}
			return discardInstalled(cmd.Context(), &session{env: env, dataDir: dataDir}, app, doc, yes)
		},
	}
	addDataDir(c, &dataDir)
	addInstalled(c, &app)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do it")
	return c
}

func discardKeys(ctx context.Context, env *Env, doc keystore.Doc, dir, dataDir string, yes bool) error {
	a, err := openApp(env, dir, dataDir)
	if err != nil {
		return err
	}
	if !yes {
		return errDiscard(string(doc))
	}
	name, err := server.DiscardKeys(ctx, a.cfg, doc)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "%s\n", printable(name))
	fmt.Fprintln(env.Stderr, "discarded; the copy has the name above. latchkey start --new-keys makes new keys; those of a function are made when they are needed")
	return nil
}

// errNoFolder refuses a folder beside --app.
var errNoFolder = usageError{errors.New("with --app there is no folder to name")}

func errDiscard(doc string) error {
	return usageError{problem.New(problem.Invalid, "discarding "+printable(doc)+" ends all its keys: whoever has one gets 401 until they have a new one").
		WithNext("see latchkey doctor for ways to keep them; add --yes to go on")}
}

func errRestore(doc string) error {
	return usageError{problem.New(problem.Invalid, "restoring "+printable(doc)+" ends the keys it has now").
		WithNext("add --yes to go on")}
}

// addInstalled adds the flag that names an app of an installation.
func addInstalled(c *cobra.Command, app *string) {
	c.Flags().Lookup("data-dir").Usage = "folder for keys (default: DIR/.latchkey); with --app the data folder of latchkey up"
	c.Flags().StringVar(app, "app", "", "an app of an installation, by name or id, instead of one in a folder")
}

func discardInstalled(ctx context.Context, s *session, app, doc string, yes bool) error {
	if !yes {
		return errDiscard(doc)
	}
	in, a, err := s.openApp(ctx, app)
	if err != nil {
		return err
	}
	done, err := in.DiscardKeys(ctx, a, doc)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.env.Stdout, "%s\n", printable(done.Copy))
	if done.NotMade != "" {
		return problem.New(problem.Conflict, "discarded; no new keys were made: "+printable(done.NotMade)).WithNext(printable(done.Next))
	}
	fmt.Fprintln(s.env.Stderr, "discarded, and new keys were made; the copy has the name above")
	return nil
}

func newKeystoreRestore(env *Env) *cobra.Command {
	var dataDir, app string
	var yes bool
	c := &cobra.Command{
		Use:   "restore DOCUMENT COPY [DIR]",
		Short: "Put the copy of a key document in its place",
		Long: "Makes a copy that was kept of a document, host or the name of a function, the document again,\n" +
			"once it can be opened: with the encryption key it was sealed with, or mended by hand. What is\n" +
			"in its place now is kept as a copy. A copy that does not open changes nothing.",
		Example: "  latchkey keystore restore host host.snapshot.0123456789abcdef.json ./shop --yes\n" +
			"  latchkey keystore restore host host.snapshot.0123456789abcdef.json --app orders --yes",
		Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			if app == "" {
				return restoreKeys(cmd.Context(), env, keystore.FunctionDoc(args[0]), args[1], dirArg(args[2:]), dataDir, yes)
			}
			if len(args) > 2 {
				return errNoFolder
			}
			return restoreInstalled(cmd.Context(), &session{env: env, dataDir: dataDir}, app, args[0], args[1], yes)
		},
	}
	addDataDir(c, &dataDir)
	addInstalled(c, &app)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do it")
	return c
}

func restoreKeys(ctx context.Context, env *Env, doc keystore.Doc, from, dir, dataDir string, yes bool) error {
	a, err := openApp(env, dir, dataDir)
	if err != nil {
		return err
	}
	if !yes {
		return errRestore(string(doc))
	}
	kept, err := server.RestoreKeys(ctx, a.cfg, doc, from)
	if err != nil {
		return err
	}
	tellRestored(env, kept)
	return nil
}

func restoreInstalled(ctx context.Context, s *session, app, doc, from string, yes bool) error {
	if !yes {
		return errRestore(doc)
	}
	in, a, err := s.openApp(ctx, app)
	if err != nil {
		return err
	}
	kept, err := in.RestoreKeys(ctx, a, doc, from)
	if err != nil {
		return err
	}
	tellRestored(s.env, kept)
	return nil
}

func tellRestored(env *Env, kept string) {
	fmt.Fprintln(env.Stderr, "restored")
	if kept != "" {
		fmt.Fprintf(env.Stderr, "what was there is kept as %s\n", printable(kept))
	}
}
