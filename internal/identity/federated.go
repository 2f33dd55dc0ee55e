package identity

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

// maxFederatedText bounds issuer, subject and audience, in bytes, as Azure does.
const maxFederatedText = 600

var federatedName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{2,119}$`)

// Issuers knows the keys of other issuers. Verify returns nil if the issuer has
// signed the JWT, and a *[Refused] if it has not or its keys cannot be had.
type Issuers interface {
	Verify(ctx context.Context, issuer, raw string) error
}

// SetFederated adds a federated credential, or replaces the one of the same name.
// It returns problem.NotFound, problem.Invalid naming the field, problem.Exists if
// another one has the same issuer and subject, and problem.Conflict if there are
// [MaxFederated] already.
func (d *Directory) SetFederated(ctx context.Context, objectID string, f Federated) (saved Federated, created bool, err error) {
	if err := checkFederated(f); err != nil {
		return f, false, err
	}
	f.Audiences, f.LastUsed = slices.Clone(f.Audiences), ""
	f.Created = d.clock.Now().UTC().Truncate(time.Second)
	_, err = d.change(ctx, objectID, func(r *record) error {
		i := slices.IndexFunc(r.Federated, func(o Federated) bool { return strings.EqualFold(o.Name, f.Name) })
		for k, o := range r.Federated {
			if k != i && o.Issuer == f.Issuer && o.Subject == f.Subject {
				return problem.New(problem.Exists, fmt.Sprintf("federated credential %q has this issuer and subject already", o.Name))
			}
		}
		if created = i < 0; !created {
			f.Name, f.Created = r.Federated[i].Name, r.Federated[i].Created
			r.Federated[i] = f
			return nil
		}
		if err := r.room("federated credentials", len(r.Federated), MaxFederated); err != nil {
			return err
		}
		r.Federated = append(r.Federated, f)
		return nil
	})
	return f, created, err
}

func checkFederated(f Federated) error {
	u, err := url.Parse(f.Issuer)
	switch {
	case !federatedName.MatchString(f.Name):
		return problem.New(problem.Invalid, "name must have 3 to 120 letters, digits, - and _, and begin with a letter or digit")
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(f.Issuer) > maxFederatedText:
		return problem.New(problem.Invalid, "issuer must be an https URL without query, fragment and user")
	case f.Subject == "" || len(f.Subject) > maxFederatedText:
		return problem.New(problem.Invalid, fmt.Sprintf("subject must have 1 to %d bytes", maxFederatedText))
	case len(f.Audiences) != 1 || f.Audiences[0] == "" || len(f.Audiences[0]) > maxFederatedText:
		return problem.New(problem.Invalid, fmt.Sprintf("audiences must be one text of 1 to %d bytes", maxFederatedText))
	}
	return nil
}

// RemoveFederated removes a federated credential by its name; problem.NotFound if
// there is none such.
func (d *Directory) RemoveFederated(ctx context.Context, objectID, name string) error {
	_, err := d.change(ctx, objectID, func(r *record) error {
		i := slices.IndexFunc(r.Federated, func(f Federated) bool { return strings.EqualFold(f.Name, name) })
		if i < 0 {
			return problem.New(problem.NotFound, fmt.Sprintf("principal %s has no federated credential %q", r.ObjectID, clip(name)))
		}
		r.Federated = slices.Delete(r.Federated, i, i+1)
		return nil
	})
	return err
}

// VerifyFederated gives the principal with the app id if one of its federated
// credentials has the assertion's issuer, subject and audience, and the issuer
// signed it. Only issuers that match are asked for their keys. Else the error is
// a *[Refused], or that of the store.
func (d *Directory) VerifyFederated(ctx context.Context, appID string, a Assertion, issuers Issuers) (Principal, Federated, error) {
	r, err := d.client(ctx, appID)
	if err != nil {
		return Principal{}, Federated{}, err
	}
	f, err := r.trusts(a)
	if err != nil {
		return Principal{}, f, err
	}
	if r.Disabled {
		return Principal{}, f, refuse(Disabled, "")
	}
	if err := a.checkTimes(d.clock.Now()); err != nil {
		return Principal{}, f, err
	}
	if err := issuers.Verify(ctx, a.Issuer, a.raw); err != nil {
		return Principal{}, f, err
	}
	d.note(r.ObjectID, f.Name, f.LastUsed)
	return r.public(), f, nil
}

// trusts finds the federated credential for an assertion.
func (r record) trusts(a Assertion) (Federated, error) {
	reason := NoFederatedIssuer
	if len(r.Federated) == 0 {
		reason = NoFederated
	}
	for _, f := range r.Federated {
		switch {
		case f.Issuer != a.Issuer:
		case f.Subject != a.Subject:
			reason = NoFederatedSubject
		case !slices.Contains(a.Audiences, f.Audiences[0]):
			return f, refuse(NoFederatedAudience, "")
		default:
			return f, nil
		}
	}
	return Federated{}, refuse(reason, "")
}

// UserByFederated gives the user that another issuer knows by a subject, in tokens
// for an audience: one of its federated credentials says so exactly. The caller has
// verified the token. It returns problem.NotFound if there is none,
// problem.Conflict if there are several, and problem.Denied for one that is disabled.
func (d *Directory) UserByFederated(ctx context.Context, issuer, subject, audience string) (Principal, error) {
	all, err := d.List(ctx)
	if err != nil {
		return Principal{}, err
	}
	var found []Principal
	var name, last string
	for _, p := range all {
		i := slices.IndexFunc(p.Federated, func(f Federated) bool {
			return f.Issuer == issuer && f.Subject == subject && slices.Contains(f.Audiences, audience)
		})
		if p.Kind == User && i >= 0 {
			found, name, last = append(found, p), p.Federated[i].Name, p.Federated[i].LastUsed
		}
	}
	switch {
	case len(found) == 0:
		return Principal{}, problem.New(problem.NotFound, "no user has this issuer and subject")
	case len(found) > 1:
		return Principal{}, problem.New(problem.Conflict, fmt.Sprintf("%d users have the same issuer and subject", len(found))).
			WithNext("remove the federated credential of all but one")
	case found[0].Disabled:
		return Principal{}, problem.New(problem.Denied, "the user is disabled")
	}
	d.note(found[0].ObjectID, name, last)
	return found[0], nil
}
