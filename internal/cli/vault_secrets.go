package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/problem"
)

func newVaultSecret(env *Env) *cobra.Command {
	c := newGroup("secret", "Set, read and delete the secrets of a vault",
		newSecretSet(env), newSecretGet(env), newSecretList(env), newSecretShow(env), newSecretVersions(env),
		newSecretDelete(env), newSecretRecover(env), newSecretPurge(env))
	c.Long = "Values are read from standard input, from a file, or typed unseen; they are printed only\n" +
		"where --show asks for it."
	return c
}

// openSecrets signs in, finds a vault and opens it.
func (s *session) openSecrets(ctx context.Context, name string) (*manage.VaultSecrets, manage.Vault, error) {
	in, v, err := s.openVault(ctx, name)
	if err != nil {
		return nil, v, err
	}
	secrets, err := in.Secrets(v)
	return secrets, v, err
}

// secretSetFlags are the flags of vault secret set.
type secretSetFlags struct {
	file, contentType  string
	notBefore, expires string
	disabled           bool
	tags               map[string]string
}

func newSecretSet(env *Env) *cobra.Command {
	s, f := newSession(env), secretSetFlags{}
	c := &cobra.Command{
		Use:   "set VAULT NAME",
		Short: "Give a secret a value: the first, or a new version",
		Long: "The value is what comes from standard input without the line end, is typed unseen on a\n" +
			"terminal, or is the content of --file to the last byte; never an argument, which other\n" +
			"users of the machine could see. Earlier versions stay.",
		Example: "  printf %s \"$TOKEN\" | latchkey vault secret set shop token\n  latchkey vault secret set shop tls --file tls.pem --expires 2027-01-31T00:00:00Z",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return setVaultSecret(cmd.Context(), s, f, args[0], args[1])
		},
	}
	s.addTo(c)
	c.Flags().StringVar(&f.file, "file", "", "file with the value")
	c.Flags().StringVar(&f.contentType, "content-type", "", "what the value is, for those who read it")
	c.Flags().StringVar(&f.notBefore, "not-before", "", "from when on it is meant to be used, such as 2026-12-01T00:00:00Z; for information")
	c.Flags().StringVar(&f.expires, "expires", "", "until when it is meant to be used; for information")
	c.Flags().BoolVar(&f.disabled, "disabled", false, "let nobody read it until it is enabled")
	c.Flags().StringToStringVar(&f.tags, "tag", nil, "a tag, K=V; may be repeated")
	return c
}

// read gives what is to be set.
func (f secretSetFlags) read(ctx context.Context, env *Env, name string) (n manage.NewVaultSecret, err error) {
	n = manage.NewVaultSecret{ContentType: f.contentType, Disabled: f.disabled, Tags: f.tags}
	if n.NotBefore, err = readMoment(f.notBefore, "--not-before"); err != nil {
		return n, err
	}
	if n.Expires, err = readMoment(f.expires, "--expires"); err != nil {
		return n, err
	}
	if n.Value, err = f.value(ctx, env, name); err != nil {
		return n, err
	}
	if n.Value == "" {
		return n, usageError{problem.New(problem.Invalid, "no value was given").WithNext("give it on standard input or with --file")}
	}
	return n, nil
}

func (f secretSetFlags) value(ctx context.Context, env *Env, name string) (string, error) {
	if f.file == "" {
		return readSecret(ctx, env, "value of secret "+printable(name)+": ")
	}
	file, err := os.Open(f.file)
	if err != nil {
		return "", problem.Wrap(problem.Invalid, "the value cannot be read", err)
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, mostInput))
	if err != nil {
		return "", problem.Wrap(problem.Unavailable, f.file+" cannot be read", err)
	}
	return string(raw), nil
}

func readMoment(text, flag string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usageError{errors.New(flag + " must be a time such as 2026-12-31T23:59:59Z")}
	}
	return t, nil
}

func setVaultSecret(ctx context.Context, s *session, f secretSetFlags, vault, name string) error {
	secrets, v, err := s.openSecrets(ctx, vault)
	if err != nil {
		return err
	}
	n, err := f.read(ctx, s.env, name)
	if err != nil {
		return err
	}
	made, err := secrets.Set(ctx, name, n)
	if err != nil {
		return err
	}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, made)
	}
	_, err = fmt.Fprintf(s.env.Stdout, "set %s of vault %s\n  version  %s\n", printable(made.Name), printable(v.Name), printable(made.Version))
	return err
}

func newSecretGet(env *Env) *cobra.Command {
	s := newSession(env)
	var show bool
	var version string
	c := &cobra.Command{
		Use:   "get VAULT NAME",
		Short: "Read a secret; the value is printed with --show only",
		Long: "Without --show it tells that the secret can be read, and how many bytes it has. With it\n" +
			"the table form prints the value alone, for use in scripts.",
		Example: "  latchkey vault secret get shop token\n  latchkey vault secret get shop token --show > token.txt",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			secrets, _, err := s.openSecrets(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			v, err := secrets.Get(cmd.Context(), args[1], version)
			if err != nil {
				return err
			}
			return s.printValue(v, show)
		},
	}
	s.addTo(c)
	c.Flags().StringVar(&version, "version", "", "an earlier version (default: the latest)")
	c.Flags().BoolVar(&show, "show", false, "print the value")
	return c
}

func (s *session) printValue(v manage.VaultSecret, show bool) error {
	if !show || v.Value == nil {
		v.Value = nil
		return s.printVaultSecret(v)
	}
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, v)
	}
	if !s.env.Terminal {
		_, err := io.WriteString(s.env.Stdout, *v.Value)
		return err
	}
	for line := range strings.SplitSeq(*v.Value, "\n") { // it could command the terminal
		if _, err := fmt.Fprintln(s.env.Stdout, visible(line)); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) printVaultSecret(v manage.VaultSecret) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, v)
	}
	facts := [][2]string{
		{"name", v.Name}, {"version", v.Version}, {"id", v.ID}, {"state", enabledWord(v)}, {"content type", v.ContentType},
		{"not before", moment(v.NotBefore)}, {"expires", moment(v.Expires)}, {"created", moment(v.Created)}, {"updated", moment(v.Updated)},
		{"deleted", moment(v.Deleted)}, {"purged at", moment(v.Purge)},
	}
	for _, name := range slices.Sorted(maps.Keys(v.Tags)) {
		facts = append(facts, [2]string{"tag " + printable(name), v.Tags[name]})
	}
	if v.Size != nil {
		facts = append(facts, [2]string{"value", "hidden, " + countOf(*v.Size, "byte")})
	}
	return writeFacts(s.env.Stdout, facts)
}

func enabledWord(v manage.VaultSecret) string {
	if v.Enabled {
		return "enabled"
	}
	return "disabled"
}

func newSecretList(env *Env) *cobra.Command {
	s := newSession(env)
	var deleted bool
	c := &cobra.Command{
		Use:     "list VAULT",
		Short:   "List the secrets of a vault, or those that were deleted; never values",
		Example: "  latchkey vault secret list shop\n  latchkey vault secret list shop --deleted",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			secrets, _, err := s.openSecrets(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			read := secrets.List
			if deleted {
				read = secrets.Deleted
			}
			list, err := read(cmd.Context())
			if err != nil {
				return err
			}
			return s.printVaultSecrets(list, deleted)
		},
	}
	s.addTo(c)
	c.Flags().BoolVar(&deleted, "deleted", false, "those that were deleted and can be recovered")
	return c
}

func (s *session) printVaultSecrets(list []manage.VaultSecret, deleted bool) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, list)
	}
	rows := make([][]string, len(list))
	for n, v := range list {
		rows[n] = []string{v.Name, enabledWord(v), dash(moment(v.Updated)), dash(moment(v.Expires)), dash(v.ContentType)}
		if deleted {
			rows[n] = []string{v.Name, moment(v.Deleted), moment(v.Purge)}
		}
	}
	if deleted {
		return writeTable(s.env.Stdout, "NAME DELETED PURGED-AT", rows)
	}
	return writeTable(s.env.Stdout, "NAME STATE UPDATED EXPIRES CONTENT-TYPE", rows)
}

func newSecretVersions(env *Env) *cobra.Command {
	s := newSession(env)
	c := &cobra.Command{
		Use:     "versions VAULT NAME",
		Short:   "List the versions of a secret, the newest first",
		Example: "  latchkey vault secret versions shop token",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			secrets, _, err := s.openSecrets(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			list, err := secrets.Versions(cmd.Context(), args[1])
			if err != nil {
				return err
			}
			return s.printVersions(list)
		},
	}
	s.addTo(c)
	return c
}

func (s *session) printVersions(list []manage.VaultSecret) error {
	if s.out.is(formJSON) {
		return writeJSON(s.env.Stdout, list)
	}
	rows := make([][]string, len(list))
	for n, v := range list {
		rows[n] = []string{v.Version, enabledWord(v), moment(v.Created), dash(moment(v.Expires))}
	}
	return writeTable(s.env.Stdout, "VERSION STATE CREATED EXPIRES", rows)
}

func newSecretShow(env *Env) *cobra.Command {
	s := newSession(env)
	var version string
	c := &cobra.Command{
		Use:     "show VAULT NAME",
		Short:   "Show what is known of a secret without reading it",
		Example: "  latchkey vault secret show shop token",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			secrets, _, err := s.openSecrets(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			v, err := secrets.Show(cmd.Context(), args[1], version)
			if err != nil {
				return err
			}
			return s.printVaultSecret(v)
		},
	}
	s.addTo(c)
	c.Flags().StringVar(&version, "version", "", "an earlier version (default: the latest)")
	return c
}

func newSecretDelete(env *Env) *cobra.Command {
	return newSecretChange(env, "delete", "Delete a secret with all its versions so that it can be recovered", "deleted",
		"nobody can read it any more until it is recovered",
		func(ctx context.Context, secrets *manage.VaultSecrets, name string) (manage.VaultSecret, error) {
			return secrets.Delete(ctx, name)
		})
}

func newSecretRecover(env *Env) *cobra.Command {
	return newSecretChange(env, "recover", "Bring a deleted secret back", "recovered", "",
		func(ctx context.Context, secrets *manage.VaultSecrets, name string) (manage.VaultSecret, error) {
			return secrets.Recover(ctx, name)
		})
}

func newSecretPurge(env *Env) *cobra.Command {
	return newSecretChange(env, "purge", "Remove a deleted secret for good", "purged", "it cannot be had again after this",
		func(ctx context.Context, secrets *manage.VaultSecrets, name string) (manage.VaultSecret, error) {
			return manage.VaultSecret{Name: name}, secrets.Purge(ctx, name)
		})
}

// newSecretChange makes a command that changes whether there is a secret; one
// without a consequence does not ask.
func newSecretChange(env *Env, verb, short, done, consequence string, change func(context.Context, *manage.VaultSecrets, string) (manage.VaultSecret, error)) *cobra.Command {
	s := newSession(env)
	var yes bool
	c := &cobra.Command{
		Use:     verb + " VAULT NAME",
		Short:   short,
		Example: "  latchkey vault secret " + verb + " shop token",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			secrets, v, err := s.openSecrets(cmd.Context(), args[0])
			if err == nil && consequence != "" {
				err = confirm(cmd.Context(), env, yes, "secret "+printable(args[1])+" of vault "+printable(v.Name)+": "+consequence, verb+" it?")
			}
			if err != nil {
				return err
			}
			changed, err := change(cmd.Context(), secrets, args[1])
			if err != nil {
				return err
			}
			if s.out.is(formJSON) {
				return writeJSON(env.Stdout, changed)
			}
			_, err = fmt.Fprintf(env.Stdout, "%s %s\n", done, printable(args[1]))
			return err
		},
	}
	s.addTo(c)
	if consequence != "" {
		c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	}
	return c
}
