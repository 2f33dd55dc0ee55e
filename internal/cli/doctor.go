package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/server"
)

func newDoctor(env *Env) *cobra.Command {
	cfg := server.Config{Environ: env.Environ, Port: -1}
	out := tableOrJSON()
	var app string
	c := &cobra.Command{
		Use:   "doctor [DIR]",
		Short: "Check an app and its keys, and say what to do about what is wrong",
		Long: "Looks at the app's files, its handler, its data folder, its sealing key, each of\n" +
			"its key documents, its port and what git knows. Nothing is created or changed.\n" +
			"Exit code 1 if something fails. With --app it looks at the keys of an app of an installation.",
		Example: "  latchkey doctor ./shop\n  latchkey doctor --output json\n  latchkey doctor --app orders",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if app != "" {
				return checkInstalled(cmd.Context(), &session{env: env, dataDir: cfg.DataDir}, app, args, out)
			}
			cfg.Dir = dirArg(args)
			return runDoctor(cmd.Context(), env, cfg, out)
		},
	}
	out.addTo(c)
	addDataDir(c, &cfg.DataDir)
	addInstalled(c, &app)
	c.Flags().StringVar(&cfg.Host, "host", "", "address that start would listen on (default 127.0.0.1)")
	c.Flags().IntVarP(&cfg.Port, "port", "p", -1, "port that start would listen on (default 7071)")
	return c
}

func runDoctor(ctx context.Context, env *Env, cfg server.Config, out *choice) error {
	return endWith(env, server.Examine(ctx, cfg), out)
}

// endWith prints checks; the command fails if one of them did.
func endWith(env *Env, checks []server.Check, out *choice) error {
	if err := printChecks(env, checks, out); err != nil {
		return err
	}
	if slices.ContainsFunc(checks, func(c server.Check) bool { return c.Status == server.CheckFailed }) {
		return quietError{exitFailed}
	}
	return nil
}

func printChecks(env *Env, checks []server.Check, out *choice) error {
	if out.is(formJSON) {
		return writeJSON(env.Stdout, checks)
	}
	for _, c := range checks {
		fmt.Fprintf(env.Stdout, "%-4s  %-10s  %s\n", c.Status, c.Name, visible(c.Message))
		if c.Next != "" {
			fmt.Fprintf(env.Stdout, "%-4s  %-10s  next: %s\n", "", "", visible(c.Next))
		}
	}
	return nil
}
