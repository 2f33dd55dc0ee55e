package identity

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

var secretForm = regexp.MustCompile(`^[A-Za-z0-9]{3}[0-9]Q~[A-Za-z0-9]{34}$`)

func TestSecretsRotateWithOverlap(t *testing.T) {
	modes(t, func(t *testing.T, f *fixture) {
		p := f.principal(t, ServicePrincipal)
		first, s1, err := f.AddSecret(t.Context(), p.ObjectID, "first", time.Hour)
		must(t, err)
		second, s2, err := f.AddSecret(t.Context(), p.ObjectID, "second", 0)
		must(t, err)
		if !secretForm.MatchString(first) || first == second || s1.Hint != first[:3] || !s2.Expires.Equal(start.Add(DefaultValidity)) {
			t.Errorf("%q, %+v, %+v", first, s1, s2)
		}
		for plain, want := range map[string]string{first: s1.ID, second: s2.ID} {
			who, s, err := f.VerifySecret(t.Context(), strings.ToUpper(p.AppID), plain)
			if err != nil || s.ID != want || who.ObjectID != p.ObjectID {
				t.Errorf("got %s of %s, %v", s.ID, who.ObjectID, err)
			}
		}
		must(t, f.RemoveSecret(t.Context(), p.ObjectID, s1.ID))
		if _, _, err := f.VerifySecret(t.Context(), p.AppID, first); reasonOf(err) != WrongSecret {
			t.Errorf("removed: %v", err)
		}
		if err := f.RemoveSecret(t.Context(), p.ObjectID, s1.ID); !errors.Is(err, problem.NotFound) {
			t.Errorf("removed twice: %v", err)
		}
	})
}

func TestWrongSecretsAreRefused(t *testing.T) {
	f := newFixture()
	p := f.principal(t, ServicePrincipal)
	plain, s, err := f.AddSecret(t.Context(), p.ObjectID, "first", time.Hour)
	must(t, err)
	other, err := f.Create(t.Context(), Principal{Name: "other", Kind: ServicePrincipal})
	must(t, err)
	for name, tt := range map[string]struct {
		app, secret string
		want        Reason
	}{
		"empty":         {p.AppID, "", WrongSecret},
		"the id":        {p.AppID, s.ID, WrongSecret},
		"part":          {p.AppID, plain[:39], WrongSecret},
		"longer":        {p.AppID, plain + "x", WrongSecret},
		"huge":          {p.AppID, strings.Repeat("x", 1<<16), WrongSecret},
		"another's":     {other.AppID, plain, WrongSecret},
		"unknown app":   {other.ObjectID, plain, UnknownApp},
		"not an app":    {"x", strings.Repeat("x", 1<<16), UnknownApp},
		"the right one": {p.AppID, plain, 0},
	} {
		if _, _, err := f.VerifySecret(t.Context(), tt.app, tt.secret); reasonOf(err) != tt.want || tt.want == 0 && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOnlyWhoKnowsTheSecretLearnsMore(t *testing.T) {
	f := newFixture()
	p := f.principal(t, ServicePrincipal)
	plain, _, err := f.AddSecret(t.Context(), p.ObjectID, "first", time.Hour)
	must(t, err)
	check := func(state string, want Reason) {
		t.Helper()
		if _, _, err := f.VerifySecret(t.Context(), p.AppID, plain); reasonOf(err) != want || err != nil && strings.Contains(err.Error(), plain) {
			t.Errorf("%s: %v", state, err)
		}
		if _, _, err := f.VerifySecret(t.Context(), p.AppID, "wrong"); reasonOf(err) != WrongSecret {
			t.Errorf("%s, wrong secret: %v", state, err)
		}
	}
	f.clock.Advance(time.Hour - time.Nanosecond)
	check("valid", 0)
	f.clock.Advance(time.Nanosecond)
	check("expired", SecretExpired)
	_, err = f.SetDisabled(t.Context(), p.ObjectID, true)
	must(t, err)
	check("disabled", Disabled)
}

func TestSecretsHaveLimits(t *testing.T) {
	f := newFixture()
	p := f.principal(t, ServicePrincipal)
	for i := range MaxSecrets {
		_, _, err := f.AddSecret(t.Context(), p.ObjectID, fmt.Sprint("s", i), 0)
		must(t, err)
	}
	user, err := f.Create(t.Context(), Principal{Name: "ann", Kind: User})
	must(t, err)
	identity, err := f.Create(t.Context(), Principal{Name: "id", Kind: ManagedIdentity})
	must(t, err)
	for name, tt := range map[string]struct {
		id, name string
		validity time.Duration
		want     error
	}{
		"one too many":     {p.ObjectID, "x", 0, problem.Conflict},
		"user":             {user.ObjectID, "x", 0, problem.Conflict},
		"managed identity": {identity.ObjectID, "x", 0, problem.Conflict},
		"no name":          {p.ObjectID, "", 0, problem.Invalid},
		"for ever":         {p.ObjectID, "x", MaxValidity + 1, problem.Invalid},
	} {
		if _, _, err := f.AddSecret(t.Context(), tt.id, tt.name, tt.validity); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestUseIsNotedOncePerDay(t *testing.T) {
	f := newFixture()
	run(t, f.Directory)
	p := f.principal(t, ServicePrincipal)
	plain, _, err := f.AddSecret(t.Context(), p.ObjectID, "first", 30*24*time.Hour)
	must(t, err)
	for _, day := range []string{"2030-01-01", "2030-01-02"} {
		revision := f.use(t, p, plain, day)
		for range 3 {
			_, _, err := f.VerifySecret(t.Context(), p.AppID, plain)
			must(t, err)
		}
		if len(f.used) != 0 {
			t.Errorf("%s: a use is to be noted again", day)
		}
		if now, err := f.Get(t.Context(), p.ObjectID); err != nil || now.Revision != revision {
			t.Errorf("%s: written again: %v", day, err)
		}
		f.clock.Advance(24 * time.Hour)
	}
}

// use presents a secret and waits until that is noted and every lookup sees it.
func (f *fixture) use(t *testing.T, p Principal, plain, day string) (revision state.Revision) {
	t.Helper()
	_, _, err := f.VerifySecret(t.Context(), p.AppID, plain)
	must(t, err)
	eventually(t, "the use is noted", func() bool {
		p, err := f.Get(t.Context(), p.ObjectID)
		revision = p.Revision
		return err == nil && p.Secrets[0].LastUsed == day
	})
	return revision
}
