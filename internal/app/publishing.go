package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Credential is a user name and password for deployments to one app.
type Credential struct {
	User     string `json:"user"` // "$" and the app's name
	Password string `json:"password"`
}

// passwordBytes of randomness make a publishing password.
const passwordBytes = 30

// newPassword gives the app a random publishing password.
func (d *draft) newPassword(ctx context.Context) error {
	raw := make([]byte, passwordBytes)
	if _, err := rand.Read(raw); err != nil {
		return problem.Wrap(problem.Internal, "the system gives no random numbers", err)
	}
	text, err := json.Marshal(Credential{"$" + d.id.Name(), fmt.Sprintf("%x", raw)})
	if err != nil {
		return problem.Wrap(problem.Internal, "a publishing password cannot be stored", err)
	}
	return d.set(ctx, PublishingPassword, text)
}

// Publishing reads an app's publishing credential.
func (a *Apps) Publishing(ctx context.Context, id resource.ID) (Credential, error) {
	v, err := a.Section(ctx, id, PublishingPassword)
	if err != nil {
		return Credential{}, err
	}
	c := Credential{User: "$" + id.Name()}
	if v.JSON == nil {
		return c, problem.New(problem.NotFound, fmt.Sprintf("app %q has no publishing password", id.Name()))
	}
	if err := json.Unmarshal(v.JSON, &c); err != nil {
		return Credential{}, problem.Wrap(problem.Undecryptable, fmt.Sprintf("the publishing password of app %q cannot be understood", id.Name()), err)
	}
	return c, nil
}

// NewPublishingPassword replaces the publishing password.
func (a *Apps) NewPublishingPassword(ctx context.Context, id resource.ID, by string) error {
	_, err := a.edit(ctx, id, by, func(d *draft) error { return d.newPassword(ctx) })
	return err
}

// CheckPublishing finds out whether a user and password open an app's deployment
// endpoint: the user is "$name", with or without "name\" before it. It returns
// problem.Unauthenticated when they do not, also for an app that is not there, and problem.Denied when they would but
// the app does not accept passwords.
func (a *Apps) CheckPublishing(ctx context.Context, id resource.ID, user, password string) error {
	c, err := a.Publishing(ctx, id)
	if err != nil && !errors.Is(err, problem.NotFound) {
		return err
	}
	user = strings.TrimPrefix(strings.ToLower(user), strings.ToLower(id.Name())+`\`)
	given, real := sha256.Sum256([]byte(password)), sha256.Sum256([]byte(c.Password))
	same := subtle.ConstantTimeCompare(given[:], real[:]) == 1
	if err != nil || c.Password == "" || !same || user != strings.ToLower(c.User) {
		return problem.New(problem.Unauthenticated, "user and password do not open this app's deployment endpoint")
	}
	allowed, err := a.PasswordsAllowed(ctx, id, PolicySCM)
	if err == nil && !allowed {
		err = problem.New(problem.Denied, fmt.Sprintf("app %q does not accept publishing passwords", id.Name())).
			WithNext("use a token, or set basicPublishingCredentialsPolicies/scm to allow")
	}
	return err
}

// PasswordsAllowed reads a policy, [PolicySCM] or [PolicyFTP]; passwords are
// allowed until somebody says otherwise.
func (a *Apps) PasswordsAllowed(ctx context.Context, id resource.ID, policy Section) (bool, error) {
	v, err := a.Section(ctx, id, policy)
	if err != nil || v.JSON == nil {
		return err == nil, err
	}
	var p struct {
		Allow *bool `json:"allow"`
	}
	if err := json.Unmarshal(v.JSON, &p); err != nil {
		return false, problem.Wrap(problem.Undecryptable, fmt.Sprintf("policy %s of app %q cannot be understood", policy, id.Name()), err)
	}
	return p.Allow == nil || *p.Allow, nil
}

// AllowPasswords sets a policy.
func (a *Apps) AllowPasswords(ctx context.Context, id resource.ID, by string, policy Section, allow bool) error {
	text := json.RawMessage(fmt.Sprintf(`{"allow":%t}`, allow))
	_, err := a.SetSection(ctx, id, by, policy, text, state.Any)
	return err
}
