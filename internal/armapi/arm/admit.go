package arm

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/token"
)

// admit finds out who calls and whether they may.
func (x *exchange) admit() error {
	if err := x.authenticate(); err != nil {
		return err
	}
	if err := checkVersion(x.call.APIVersion); err != nil {
		return err
	}
	if err := x.checkSubscription(); err != nil {
		return err
	}
	if x.route.Action == Open {
		return nil
	}
	return x.authorize()
}

// recheck admits the call once more.
func (x *exchange) recheck() error {
	if x.route.Action == Public {
		return nil
	}
	return x.admit()
}

func (x *exchange) authenticate() error {
	if x.as != nil {
		x.call.Caller = *x.as
		return nil
	}
	if x.r.Header.Get("Authorization") == "" {
		return Faultf(http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
	}
	caller, err := x.api.cfg.Authenticate(x.r.Context(), x.r)
	if err != nil {
		return err
	}
	x.call.Caller = caller
	return nil
}

// challenge gives the WWW-Authenticate field for a failed authentication. Clients
// whose token was revoked are made to get another one at once.
func (x *exchange) challenge(f Fault) string {
	host := strings.TrimPrefix(strings.TrimPrefix(baseURL(x.r), "https://"), "http://")
	login := quotable(x.api.cfg.LoginURL(host))
	if f.renew {
		return fmt.Sprintf(`Bearer authorization_uri="%s", error="insufficient_claims", claims="%s"`, login, token.RenewalClaims(x.api.cfg.Clock.Now()))
	}
	return fmt.Sprintf(`Bearer authorization_uri="%s", error="invalid_token", error_description="%s"`, login, quotable(f.Message))
}

// quotable makes text fit between the quotes of a header field.
func quotable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r == '\\' || r < ' ' || r > '~':
			return ' '
		}
		return r
	}, text)
}

var dateShaped = regexp.MustCompile(`^20\d\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(-(?i:preview|alpha|beta|privatepreview))?$`)

// checkVersion takes any version that looks like one: every operation has one
// form that suits all of them.
func checkVersion(version string) error {
	switch {
	case version == "":
		return Faultf(http.StatusBadRequest, "MissingApiVersionParameter",
			"The api-version query parameter (?api-version=) is required for all requests.")
	case !dateShaped.MatchString(version):
		return Faultf(http.StatusBadRequest, "InvalidApiVersionParameter",
			"The api-version '%s' is invalid: it is a date such as 2024-03-01, or one with -preview.", clip(version))
	}
	return nil
}

func (x *exchange) checkSubscription() error {
	sub, known := x.call.Scope.Subscription(), x.api.cfg.SubscriptionID
	if sub == "" || known == "" || strings.EqualFold(sub, known) {
		return nil
	}
	if uuid.Validate(sub) != nil || len(sub) != 36 {
		return Faultf(http.StatusBadRequest, "InvalidSubscriptionId", "The provided subscription identifier '%s' is malformed or invalid.", clip(sub))
	}
	return Faultf(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", sub)
}

func (x *exchange) authorize() error {
	c := x.call
	d, err := x.api.cfg.Authorize.Allow(x.r.Context(), authz.Request{
		Principal: c.Caller.ObjectID, Groups: c.Caller.Groups, Action: x.route.Action, Scope: c.Scope,
	})
	if err != nil {
		// Not being able to decide is never a reason to say that it was decided.
		return problem.Wrap(problem.KindOf(err), "whether the call is allowed could not be decided", err)
	}
	if d.Allowed {
		return nil
	}
	if d.Reason == "" {
		d.Reason = "no role allows it"
	}
	return Faultf(http.StatusForbidden, "AuthorizationFailed",
		"The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. "+
			"Reason: %s. If access was granted recently, sign in again.", c.Caller.AppID, c.Caller.ObjectID, x.route.Action, c.Scope, d.Reason)
}
