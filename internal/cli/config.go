package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/server"
)

func newConfig(env *Env) *cobra.Command {
	return newGroup("config", "Check an app's files and settings", newConfigCheck(env))
}

// faultView is the JSON form of a fault, a contract.
type faultView struct {
	File     string `json:"file,omitempty"` // relative to the app's folder
	Line     int    `json:"line,omitempty"`
	Function string `json:"function,omitempty"`
	Message  string `json:"message"`
	Next     string `json:"next,omitempty"`
}

func newConfigCheck(env *Env) *cobra.Command {
	out := tableOrJSON()
	var file string
	c := &cobra.Command{
		Use:   "check [DIR]",
		Short: "Print all faults of an app, or of the platform's settings, at once",
		Long: "Reads the app as a start would and prints every fault of its files and settings; with\n" +
			"--file the configuration of latchkey up, with the environment above it. Exit code 1 if\n" +
			"there is a fault. Nothing is changed and nothing is run.",
		Example: "  latchkey config check ./shop\n  latchkey config check --output json\n  latchkey config check --file /etc/latchkey.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("file") {
				return checkFile(env, file, args)
			}
			return checkConfig(cmd.Context(), env, dirArg(args), out)
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "check this configuration file of latchkey up instead")
	out.addTo(c)
	return c
}

// checkFile checks what latchkey up would be configured with.
func checkFile(env *Env, file string, args []string) error {
	if len(args) > 0 || file == "" {
		return usageError{errors.New("--file names a file, and stands alone")}
	}
	if _, err := (upFlags{file: file}).config(env, false); err != nil {
		return err
	}
	_, err := fmt.Fprintln(env.Stdout, "no faults")
	return err
}

func checkConfig(ctx context.Context, env *Env, dir string, out *choice) error {
	cfg := server.Config{Dir: dir, Environ: env.Environ, Port: -1}
	model, err := server.LoadFiles(cfg)
	if err != nil {
		return explainFolder(err)
	}
	for _, w := range server.Warnings(model) {
		fmt.Fprintln(env.Stderr, "warning: "+visible(w))
	}
	known, err := server.LoadModel(cfg)
	if err != nil {
		return explainFolder(err)
	}
	declared, warnings := server.CheckDeclared(ctx, cfg, known)
	for _, w := range warnings {
		fmt.Fprintln(env.Stderr, "warning: "+visible(w))
	}
	faults := append(model.Faults(), declared...)
	if err := printFaults(env, faults, len(known.Functions), out); err != nil {
		return err
	}
	if len(faults) > 0 {
		return quietError{exitFailed}
	}
	return nil
}

func printFaults(env *Env, faults []funcapp.Fault, functions int, out *choice) error {
	if out.is(formJSON) {
		list := make([]faultView, len(faults))
		for i, f := range faults {
			list[i] = faultView(f)
		}
		return writeJSON(env.Stdout, list)
	}
	for _, f := range faults {
		next := f.Next
		f.Next = ""
		fmt.Fprintln(env.Stdout, visible(f.String()))
		if next != "" {
			fmt.Fprintln(env.Stdout, "  next: "+visible(next))
		}
	}
	if len(faults) == 0 {
		fmt.Fprintf(env.Stdout, "no faults, functions: %d\n", functions)
	}
	return nil
}
