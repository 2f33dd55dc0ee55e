// Package cli owns the command line: commands, flags, output forms, exit codes
// and how errors are put to a person. Commands get everything from an injected
// Env and reach the rest of the program through package server. It holds no
// rules about apps or keys of its own.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trust"
)

// Exit codes, the same for all commands.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitNotFound = 3
	exitDenied   = 4
)

// version is stamped by the linker.
var version = "dev"

// Env is everything a command may touch of the world around it.
type Env struct {
	Args    []string // without the program's name
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Environ []string
	// Terminal reports whether standard output is a terminal.
	Terminal bool
	// Prompt reports whether a person can be asked on standard input.
	Prompt bool
	// Context ends when the program is asked to end.
	Context context.Context
	// Machine is what trust works on; nil is this one.
	Machine *trust.Machine
}

// System gives the process's own environment. The context ends with SIGINT or
// SIGTERM; a second signal ends the process.
func System() Env {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(),
		Terminal: term.IsTerminal(int(os.Stdout.Fd())), Prompt: term.IsTerminal(int(os.Stdin.Fd())), Context: ctx,
	}
}

// Main runs one command and gives the exit code.
func Main(env Env) int {
	root := newRoot(&env)
	root.SetArgs(spread(env.Args))
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	err := root.ExecuteContext(env.Context)
	if err == nil {
		return exitOK
	}
	return report(env.Stderr, err)
}

// usageError marks errors of the command line itself.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// quietError ends a command with a code and nothing more to say.
type quietError struct{ code int }

func (e quietError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// report prints an error with what to do next and gives its exit code. Keys
// that somebody put where they do not belong are masked.
func report(w io.Writer, err error) int {
	var quiet quietError
	if errors.As(err, &quiet) {
		return quiet.code
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(w, "latchkey: interrupted")
		return exitFailed
	}
	fmt.Fprintf(w, "latchkey: %s\n", sentences(azfkey.Redact(err.Error())))
	var usage usageError
	isUsage := errors.As(err, &usage)
	if next := nextOf(err, isUsage); next != "" {
		fmt.Fprintf(w, "  next: %s\n", sentences(azfkey.Redact(next)))
	}
	if isUsage {
		return exitUsage
	}
	switch problem.KindOf(err) {
	case problem.NotFound:
		return exitNotFound
	case problem.Denied, problem.Unauthenticated:
		return exitDenied
	}
	return exitFailed
}

func nextOf(err error, isUsage bool) string {
	if next := problem.NextOf(err); next != "" {
		return next
	}
	switch {
	case isUsage:
		return "run latchkey --help, or the command with --help"
	case errors.Is(err, fs.ErrPermission):
		return "run this as a user who may"
	}
	return ""
}

func newRoot(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "latchkey",
		Short: "Run function apps behind access keys, the way Azure Functions does",
		Long: "Latchkey runs function apps on any machine with the security model of Azure\n" +
			"Functions: access keys are enforced, kept sealed, and never change by themselves.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noSuchCommand,
		RunE:          showHelp,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newStart(env), newUp(env), newSidecar(env), newNew(env), newKeys(env), newKeystore(env), newFunctions(env), newScan(env),
		newDoctor(env), newConfig(env), newAppCommands(env), newVault(env), newRole(env), newPrincipal(env), newGroups(env), newAudit(env),
		newBackup(env), newRestore(env), newSeal(env), newClock(env), newDrill(env), newIdentity(env), newToken(env), newReferences(env), newContainerApp(env), newLogin(env), newLogout(env), newWhoami(env), newPortal(env), newStatus(env), newTrust(env), newCompletion(env), newVersion(env))
	markUsage(root)
	return root
}

// markUsage makes wrong arguments of every command a usage error.
func markUsage(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{err}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		markUsage(sub)
	}
}

// newGroup makes a command that only holds others.
func newGroup(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: noSuchCommand, RunE: showHelp}
	c.AddCommand(subs...)
	return c
}

func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// noSuchCommand refuses arguments of a command that only holds others.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		text += "; did you mean " + strings.Join(like, " or ") + "?"
	}
	return errors.New(text)
}
