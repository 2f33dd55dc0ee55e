package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/keyowners"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/scan"
	"github.com/latchkey/latchkey/internal/server"
)

// stdinPath stands for standard input among the paths.
const stdinPath = "-"

// scanFlags are the flags of scan.
type scanFlags struct {
	app, dataDir string
	git, binary  bool
	out          *choice
}

func newScan(env *Env) *cobra.Command {
	f := scanFlags{out: &choice{formTable, []string{formTable, formJSON, formSARIF}}}
	c := &cobra.Command{
		Use:   "scan PATH...",
		Short: "Find leaked access keys in files",
		Long: "Searches files and folders, or standard input for the path -, for access keys in\n" +
			"the identifiable format. With --app or --data-dir it says what a found key opens.\n" +
			"Exit code 1 if there is a key, 0 if there is none. Keys are shown masked.",
		Example: "  latchkey scan .\n  git log -p | latchkey scan --app ./shop -\n  latchkey scan --output sarif src > keys.sarif",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runScan(cmd.Context(), env, f, args)
		},
	}
	f.out.addTo(c)
	f.out.addAs(c, "format", "same as --output")
	fl := c.Flags()
	fl.StringVar(&f.app, "app", "", "app folder whose keys to recognise")
	fl.StringVar(&f.dataDir, "data-dir", "", "data folder of the app whose keys to recognise")
	fl.BoolVar(&f.git, "git", false, "look into .git folders too")
	fl.BoolVar(&f.binary, "binary", false, "look into files that are not text too")
	return c
}

// runScan scans all paths into one report.
func runScan(ctx context.Context, env *Env, f scanFlags, paths []string) error {
	opts := scan.Options{Git: f.git, Binary: f.binary, Problem: func(path string, err error) {
		fmt.Fprintf(env.Stderr, "latchkey: %s: %s\n", printable(path), sentences(err.Error()))
	}}
	if f.app != "" || f.dataDir != "" {
		owners, err := f.owners(ctx, env)
		if err != nil {
			return err
		}
		opts.Identify = owners.Identify
	}
	report, found := f.report(env.Stdout), 0
	emit := func(hit scan.Finding) error { found++; return report.Add(hit) }
	if err := scanAll(ctx, newStdin(ctx, env), opts, paths, emit); err != nil {
		return errors.Join(err, report.Close())
	}
	return f.finish(env, report, found)
}

func (f scanFlags) finish(env *Env, report scan.Report, found int) error {
	if f.out.is(formTable) && found == 0 {
		_, err := fmt.Fprintln(env.Stdout, "no keys found")
		return err
	}
	if err := report.Close(); err != nil {
		return err
	}
	if found > 0 {
		return quietError{exitFailed}
	}
	return nil
}

func (f scanFlags) report(w io.Writer) scan.Report {
	switch f.out.value {
	case formJSON:
		return scan.NewJSON(w)
	case formSARIF:
		return scan.NewSARIF(w, version)
	}
	return scan.NewTable(w)
}

// scanAll scans standard input where it is asked for, then the files.
func scanAll(ctx context.Context, stdin io.Reader, opts scan.Options, paths []string, emit func(scan.Finding) error) error {
	opts.Paths = slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return p == stdinPath })
	if len(opts.Paths) < len(paths) {
		if _, err := scan.Reader(ctx, "stdin", stdin, opts, emit); err != nil {
			return err
		}
	}
	if len(opts.Paths) == 0 {
		return nil
	}
	_, err := scan.Scan(ctx, opts, emit)
	return err
}

// owners reads the keys of the app to recognise. What cannot be read is said:
// keys in it are reported as unknown.
func (f scanFlags) owners(ctx context.Context, env *Env) (*keyowners.Owners, error) {
	dir, err := f.appDir()
	if err != nil {
		return nil, err
	}
	owners, err := server.OpenOwners(ctx, server.Config{Dir: dir, DataDir: f.dataDir, Environ: env.Environ, Port: -1})
	if err != nil {
		return nil, err
	}
	for _, unread := range owners.Unread {
		fmt.Fprintf(env.Stderr, "latchkey: keys of the app that cannot be read are not recognised: %s\n", sentences(unread.Error()))
		if next := problem.NextOf(unread); next != "" {
			fmt.Fprintf(env.Stderr, "  next: %s\n", sentences(next))
		}
	}
	return owners, nil
}

// appDir gives the app's folder: the one named, or the one a data folder in its
// usual place belongs to, or else the data folder itself.
func (f scanFlags) appDir() (string, error) {
	dir := f.app
	if dir == "" {
		abs, err := filepath.Abs(f.dataDir)
		if err != nil {
			return "", problem.Wrap(problem.Invalid, "the data folder cannot be found", err)
		}
		if dir = abs; filepath.Base(abs) == server.DataDirName {
			dir = filepath.Dir(abs)
		}
	}
	for _, d := range []string{dir, f.dataDir} {
		if info, err := os.Stat(d); d != "" && (err != nil || !info.IsDir()) {
			return "", problem.New(problem.NotFound, "there is no folder "+azfkey.Redact(printable(d)))
		}
	}
	return dir, nil
}
