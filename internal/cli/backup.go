package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state/archive"
)

// backupFlags are the flags of backup.
type backupFlags struct {
	file           string // configuration
	offline, force bool
}

// backupView is a backup as it is shown. Its JSON form is a contract.
type backupView struct {
	File      string    `json:"file"`
	ID        string    `json:"id"`
	Created   time.Time `json:"created"`
	Program   string    `json:"program"`
	Documents int       `json:"documents"`
	SHA256    string    `json:"sha256"`
}

func newBackup(env *Env) *cobra.Command {
	s, f := newSession(env), backupFlags{}
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Save everything an installation has in one file",
		Long: "Saves apps, packages, settings, keys, principals, roles and the audit record, of one\n" +
			"moment, while latchkey up runs; with --offline from the state itself, while it does\n" +
			"not. The file is encrypted. It is of no use without the key-encryption key, which is the\n" +
			"file kek in the data folder or LATCHKEY_KEK: keep that too, elsewhere.",
		Example: "  latchkey backup /srv/backup/latchkey-$(date +%F).bak\n  latchkey backup --offline --data-dir /var/lib/latchkey state.bak",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return backup(cmd.Context(), s, f, args[0]) },
	}
	s.addTo(c)
	c.Flags().BoolVar(&f.offline, "offline", false, "open the state itself; latchkey up must not be running on it")
	c.Flags().StringVarP(&f.file, "file", "f", "", "with --offline: configuration file (default: latchkey.yaml, if there is one)")
	c.Flags().BoolVar(&f.force, "force", false, "replace FILE if it is there")
	return c
}

func backup(ctx context.Context, s *session, f backupFlags, path string) error {
	if f.file != "" && !f.offline {
		return usageError{errors.New("--file goes with --offline: a running installation is found by its credential")}
	}
	var made archive.Summary
	err := writeNew(path, f.force, func(out *os.File) error {
		if err := f.fill(ctx, s, out); err != nil {
			return err
		}
		// What was written is read again: a stream that broke off is no backup.
		if _, err := out.Seek(0, 0); err != nil {
			return err
		}
		var err error
		made, err = archive.Inspect(out, nil)
		return err
	})
	if err != nil {
		return err
	}
	return showBackup(s, "saved", path, made)
}

func (f backupFlags) fill(ctx context.Context, s *session, out *os.File) error {
	if !f.offline {
		in, err := s.open(ctx)
		if err != nil {
			return err
		}
		return in.Backup(ctx, out)
	}
	cfg, err := upFlags{file: f.file, dataDir: s.dataDir}.config(s.env, true)
	if err != nil {
		return err
	}
	_, err = platform.BackupOffline(ctx, cfg, out)
	return explainStart(err)
}

func showBackup(s *session, done, path string, made archive.Summary) error {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	v := backupView{path, made.Header.ID, made.Header.Created, made.Header.Program, made.Documents, made.SHA256}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, v)
	}
	_, err := fmt.Fprintf(s.env.Stdout, "%s %s of %s\n", done, countOf(v.Documents, "document"), v.Created.UTC().Format(time.RFC3339))
	if err == nil {
		err = writeFacts(s.env.Stdout, [][2]string{{"  file", v.File}, {"  sha256", v.SHA256}, {"  version", v.Program}})
	}
	return err
}

func newRestore(env *Env) *cobra.Command {
	s := newSession(env)
	var file string
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup into a new, empty installation",
		Long: "Checks a backup and puts all of it into the state that latchkey up is to use next, which\n" +
			"must be empty and not in use. The key-encryption key of the time of the backup must be\n" +
			"there: as the file kek in the data folder, or as LATCHKEY_KEK. A restore that was interrupted\n" +
			"is completed by running it again.",
		Example: "  latchkey restore --data-dir /var/lib/latchkey-new /srv/backup/latchkey.bak",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return restore(cmd.Context(), s, file, args[0]) },
	}
	s.out.addTo(c)
	c.Flags().StringVar(&s.dataDir, "data-dir", "", "data folder to restore into (default: $XDG_DATA_HOME/latchkey)")
	_ = c.MarkFlagDirname("data-dir") // fails for a flag that is not there only
	c.Flags().StringVarP(&file, "file", "f", "", "configuration file (default: latchkey.yaml, if there is one)")
	return c
}

func restore(ctx context.Context, s *session, file, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return problem.Wrap(problem.NotFound, "the backup cannot be read", err).WithNext("name the file that latchkey backup made")
	}
	defer in.Close()
	cfg, err := upFlags{file: file, dataDir: s.dataDir}.config(s.env, true)
	if err != nil {
		return err
	}
	made, err := platform.Restore(ctx, cfg, in)
	if ctx.Err() != nil {
		fmt.Fprintln(s.env.Stderr, "the restore is not complete; run it again with the same file")
		return ctx.Err()
	}
	if err != nil {
		return explainStart(err)
	}
	if err := showBackup(s, "restored", path, made); err != nil || s.out.is(formJSON) {
		return err
	}
	_, err = fmt.Fprintln(s.env.Stdout, "\nNext: latchkey up with the same data folder or configuration; with --new-owner-credential if owner.json is lost")
	return err
}
