package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/cli/account"
	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/problem"
)

// session is what the commands about an installation have in common: where the
// credential is, and the form of the output.
type session struct {
	env     *Env
	dataDir string
	out     *choice
}

func newSession(env *Env) *session { return &session{env: env, out: tableOrJSON()} }

// addTo adds the flags of a session.
func (s *session) addTo(c *cobra.Command) {
	s.out.addTo(c)
	s.addDataDir(c)
}

// addDataDir adds the flag that says where the credential is.
func (s *session) addDataDir(c *cobra.Command) {
	c.Flags().StringVar(&s.dataDir, "data-dir", "", "data folder of latchkey up, whose owner to sign in as (default: the login, then $XDG_DATA_HOME/latchkey)")
	_ = c.MarkFlagDirname("data-dir") // fails for a flag that is not there only
}

func (s *session) places() account.Places { return placesOf(s.env, s.dataDir) }

func placesOf(env *Env, dataDir string) account.Places {
	return account.Places{DataDir: dataDir, DefaultDataDir: defaultDataDir(env), Getenv: env.Get}
}

// open signs in with the credential that is meant.
func (s *session) open(ctx context.Context) (*manage.Installation, error) {
	in, _, err := s.openFound(ctx)
	return in, err
}

// openFound is open for commands that tell what they signed in with.
func (s *session) openFound(ctx context.Context) (*manage.Installation, account.Found, error) {
	found, err := s.places().Find()
	if err != nil {
		return nil, found, err
	}
	in, err := manage.Open(ctx, found.Credential)
	return in, found, s.explain(found, err)
}

// explain says which credential was not accepted, if that is what is wrong.
func (s *session) explain(found account.Found, err error) error {
	if !errors.Is(err, problem.Unauthenticated) {
		return err
	}
	return problem.Wrap(problem.Unauthenticated, "the credential from "+printable(found.From)+" was not accepted", err).
		WithNext("sign in again with latchkey login; the owner gets another credential with latchkey up --new-owner-credential")
}

// openApp signs in and finds an app.
func (s *session) openApp(ctx context.Context, name string) (*manage.Installation, manage.App, error) {
	in, err := s.open(ctx)
	if err != nil {
		return nil, manage.App{}, err
	}
	a, err := in.App(ctx, name)
	return in, a, err
}

// loginLine gives a command by which somebody else signs in to the same
// installation; the secret is not in it.
func loginLine(c armclient.Credential, tenant, clientID string) string {
	line := "latchkey login --endpoint " + shellWord(c.Endpoint) + " --tenant " + tenant + " --client-id " + clientID
	if c.CAFile == "" {
		return line
	}
	if print, err := account.FingerprintOf(c.CAFile); err == nil {
		line += " --ca-fingerprint " + print
	}
	return line
}

// shellWord quotes a text for a shell if it needs to be.
func shellWord(text string) string {
	for _, c := range text {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/:=,@[]", c) {
			return shellQuote(text)
		}
	}
	return text
}

// scopeOf makes a scope of what a person said.
func scopeOf(ctx context.Context, in *manage.Installation, text string) (string, error) {
	scope, err := in.Scope(ctx, text)
	if problem.KindOf(err) == problem.Invalid && err != nil {
		err = usageError{err}
	}
	return scope, err
}
