package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server"
)

func newKeystoreDiscard(env *Env) *cobra.Command {
	var dataDir string
	var yes bool
	c := &cobra.Command{
		Use:   "discard DOCUMENT [DIR]",
		Short: "Give up a key document that cannot be decrypted, keeping a copy",
		Long: "For a document of the store, host or the name of a function, that cannot be decrypted or\n" +
			"understood, when neither the right key nor a backup is left. A copy is kept beside it and the\n" +
			"document goes; with the next start new keys are made, and every caller needs them. A document\n" +
			"that opens is not discarded.",
		Example: "  latchkey keystore discard host ./shop --yes",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			doc, dir := nameAndDir(args)
			return discardKeys(cmd.Context(), env, keystore.FunctionDoc(doc), dir, dataDir, yes)
		},
	}
	addDataDir(c, &dataDir)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do it")
	return c
}

func discardKeys(ctx context.Context, env *Env, doc keystore.Doc, dir, dataDir string, yes bool) error {
	a, err := openApp(env, dir, dataDir)
	if err != nil {
		return err
	}
	if !yes {
		return usageError{problem.New(problem.Invalid, "discarding "+printable(string(doc))+" ends all its keys: whoever has one gets 401 until they have a new one").
			WithNext("see latchkey doctor for ways to keep them; add --yes to go on")}
	}
	name, err := server.DiscardKeys(ctx, a.cfg, doc)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "%s\n", printable(name))
	fmt.Fprintln(env.Stderr, "discarded; the copy has the name above. New keys are made with the next start; those of a function also by latchkey keys list")
	return nil
}

func newKeystoreRestore(env *Env) *cobra.Command {
	var dataDir string
	var yes bool
	c := &cobra.Command{
		Use:   "restore DOCUMENT COPY [DIR]",
		Short: "Put the copy of a key document in its place",
		Long: "Makes a copy that was kept of a document, host or the name of a function, the document again,\n" +
			"once it can be opened: with the encryption key it was sealed with, or mended by hand. What is\n" +
			"in its place now is kept as a copy. A copy that does not open changes nothing.",
		Example: "  latchkey keystore restore host host.snapshot.0123456789abcdef.json ./shop --yes",
		Args:    cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return restoreKeys(cmd.Context(), env, keystore.FunctionDoc(args[0]), args[1], dirArg(args[2:]), dataDir, yes)
		},
	}
	addDataDir(c, &dataDir)
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do it")
	return c
}

func restoreKeys(ctx context.Context, env *Env, doc keystore.Doc, from, dir, dataDir string, yes bool) error {
	a, err := openApp(env, dir, dataDir)
	if err != nil {
		return err
	}
	if !yes {
		return usageError{problem.New(problem.Invalid, "restoring "+printable(string(doc))+" ends the keys it has now").
			WithNext("add --yes to go on")}
	}
	kept, err := server.RestoreKeys(ctx, a.cfg, doc, from)
	if err != nil {
		return err
	}
	fmt.Fprintln(env.Stderr, "restored")
	if kept != "" {
		fmt.Fprintf(env.Stderr, "what was there is kept as %s\n", printable(kept))
	}
	return nil
}
