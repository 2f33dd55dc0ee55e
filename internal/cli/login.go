package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/cli/account"
	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/problem"
)

// loginFlags are the flags of login.
type loginFlags struct {
	endpoint, tenant, clientID, secretFile string
	caFile, caFingerprint                  string
}

func newLogin(env *Env) *cobra.Command {
	var f loginFlags
	c := &cobra.Command{
		Use:   "login",
		Short: "Sign in to an installation and remember it",
		Long: "Signs in as a principal and writes the credential to $XDG_CONFIG_HOME/latchkey/login.json,\n" +
			"for the other commands. The secret is read from standard input, typed unseen on a\n" +
			"terminal, or read from --secret-file; never from an argument. An authority that this\n" +
			"machine does not trust is shown by its fingerprint, to be confirmed once.\n" +
			"Programs use LATCHKEY_CLIENT_ID, _SECRET, _TENANT_ID, _ENDPOINT and _CA_FILE instead.",
		Example: "  latchkey login --client-id 6f0f2a2e-6a54-4d55-9d0c-3a52a0d8d6a1\n" +
			"  latchkey login --endpoint https://lab.example:7443 --client-id ID --ca-file ca.pem < secret.txt",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return login(cmd.Context(), env, f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.endpoint, "endpoint", account.DefaultEndpoint, "address of the management API")
	fl.StringVar(&f.tenant, "tenant", "", "tenant id (default: the one the endpoint names)")
	fl.StringVar(&f.clientID, "client-id", "", "client id of the principal")
	fl.StringVar(&f.secretFile, "secret-file", "", "file with the client secret")
	fl.StringVar(&f.caFile, "ca-file", "", "certificate of the installation's authority, ca.pem of its data folder")
	fl.StringVar(&f.caFingerprint, "ca-fingerprint", "", "SHA-256 of that certificate, to take it from the endpoint without being asked")
	return c
}

func login(ctx context.Context, env *Env, f loginFlags) error {
	if f.clientID == "" {
		return usageError{problem.New(problem.Invalid, "--client-id is missing").WithNext("latchkey principal list shows client ids")}
	}
	places := placesOf(env, "")
	ca, err := f.authority(ctx, env)
	if err != nil {
		return err
	}
	defer ca.discard()
	cred := armclient.Credential{Endpoint: f.endpoint, CAFile: ca.file, TenantID: f.tenant, ClientID: f.clientID}
	if cred.TenantID == "" {
		if cred.TenantID, err = account.FindTenant(ctx, f.endpoint, ca.file); err != nil {
			return err
		}
	}
	if cred.ClientSecret, err = f.secret(ctx, env); err != nil {
		return err
	}
	in, err := manage.Open(ctx, cred)
	if err != nil {
		return err
	}
	if cred.SubscriptionID, err = in.Subscription(ctx); err != nil {
		return err
	}
	if ca.pem != nil {
		if cred.CAFile, err = places.KeepAuthority(ca.pem); err != nil {
			return err
		}
	}
	path, err := places.Save(cred)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Stdout, "signed in to %s as %s\nwritten to %s\n", printable(f.endpoint), printable(f.clientID), printable(path))
	return err
}

// secret reads the client secret.
func (f loginFlags) secret(ctx context.Context, env *Env) (string, error) {
	value, err := "", error(nil)
	if f.secretFile == "" {
		value, err = readSecret(ctx, env, "client secret of "+printable(f.clientID)+": ")
	} else {
		value, err = readSecretFile(f.secretFile)
	}
	if err == nil && value == "" {
		err = usageError{problem.New(problem.Invalid, "no secret was given").WithNext("give it on standard input or with --secret-file")}
	}
	return value, err
}

func readSecretFile(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", problem.Wrap(problem.Invalid, "the secret cannot be read", err)
	}
	defer file.Close()
	return readValue(file, name)
}

// trusted is the authority that a login is to trust: a file, which is temporary if
// the certificate is from the endpoint itself.
type trusted struct {
	file string
	pem  []byte
}

func (t trusted) discard() {
	if t.pem != nil {
		_ = os.Remove(t.file) // it is public, and the system clears it up at the latest
	}
}

// authority finds out which authority to trust, and asks if there is nothing to go
// by.
func (f loginFlags) authority(ctx context.Context, env *Env) (trusted, error) {
	if f.caFile != "" {
		return f.givenAuthority()
	}
	a, err := account.FindAuthority(ctx, f.endpoint)
	if err != nil || a.Trusted && f.caFingerprint == "" {
		return trusted{}, err
	}
	if a.Trusted {
		return trusted{}, usageError{problem.New(problem.Invalid, "--ca-fingerprint is of no use: this machine trusts the endpoint's certificate already").
			WithNext("leave out --ca-fingerprint, or give --ca-file")}
	}
	if err := f.judge(ctx, env, a); err != nil {
		return trusted{}, err
	}
	file, err := os.CreateTemp("", "latchkey-ca-*.pem")
	if err != nil {
		return trusted{}, problem.Wrap(problem.Unavailable, "a temporary file for the certificate cannot be made", err)
	}
	_, err = file.Write(a.PEM)
	return trusted{file.Name(), a.PEM}, errors.Join(err, file.Close())
}

func (f loginFlags) givenAuthority() (trusted, error) {
	print, err := account.FingerprintOf(f.caFile)
	if err != nil {
		return trusted{}, err
	}
	if f.caFingerprint != "" && !account.SameFingerprint(print, f.caFingerprint) {
		return trusted{}, wrongAuthority(print)
	}
	path, err := filepath.Abs(f.caFile)
	return trusted{file: path}, err
}

func wrongAuthority(is string) error {
	return problem.New(problem.Denied, "the authority's certificate has another fingerprint: "+is).
		WithNext("compare it with that on the machine that runs latchkey up; if they differ, somebody may be in between")
}

// judge has a fingerprint compared: with the one given, or by a person.
func (f loginFlags) judge(ctx context.Context, env *Env, a account.Authority) error {
	if f.caFingerprint != "" {
		if !account.SameFingerprint(a.Fingerprint, f.caFingerprint) {
			return wrongAuthority(a.Fingerprint)
		}
		return nil
	}
	if !env.Prompt {
		return usageError{problem.New(problem.Invalid, "this machine does not trust the authority of "+printable(f.endpoint)+", and nobody can be asked").
			WithNext("give its certificate with --ca-file, or its fingerprint with --ca-fingerprint")}
	}
	fmt.Fprintf(env.Stderr, "%s is vouched for by an authority that this machine does not know:\n  name         %s\n  fingerprint  SHA-256 %s\n"+
		"Compare it with what `latchkey whoami` shows on the machine that runs latchkey up.\n", printable(f.endpoint), printable(a.Name), a.Fingerprint)
	ok, err := askYes(ctx, env, "trust it for this login?")
	if err != nil {
		return err
	}
	if !ok {
		return problem.New(problem.Conflict, "nothing was changed")
	}
	return nil
}

func newLogout(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "logout",
		Short: "Forget the credential of latchkey login",
		Long: "Removes the login file. The secret in it still works: latchkey principal reset replaces it.\n" +
			"Credentials in data folders and in the environment are not touched.",
		Example: "  latchkey logout",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			was, err := placesOf(env, "").Forget()
			if err != nil {
				return err
			}
			text := "signed out"
			if !was {
				text = "nobody was signed in"
			}
			_, err = fmt.Fprintln(env.Stdout, text)
			return err
		},
	}
}
