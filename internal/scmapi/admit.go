package scmapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/authz"
	"github.com/latchkey/latchkey/internal/problem"
)

// admit finds out who calls and whether they may. Its error is a refusal or the
// reason why it could not be decided.
func (x *exchange) admit() error {
	header := x.r.Header.Get("Authorization")
	scheme, _, _ := strings.Cut(header, " ")
	switch {
	case header == "":
		return x.refuse(problem.Unauthenticated, "a password or a token is needed")
	case strings.EqualFold(scheme, "Basic"):
		return x.admitPassword()
	case strings.EqualFold(scheme, "Bearer"):
		return x.admitToken()
	}
	return x.refuse(problem.Unauthenticated, "the Authorization header must be Basic or Bearer")
}

func (x *exchange) refuse(kind problem.Kind, why string) error {
	x.denied = why
	return problem.New(kind, why)
}

// admitPassword checks the publishing user's password. Sources that were wrong too
// often are not listened to.
func (x *exchange) admitPassword() error {
	source := x.api.cfg.Source(x.r)
	if wait := x.api.limiter.Wait(source); wait > 0 {
		return x.throttled(wait)
	}
	user, password, ok := x.r.BasicAuth()
	right := equal(password, x.site.Password) && x.site.Password != ""
	if ok && right && x.isPublisher(user) && x.site.BasicAuth {
		x.caller = user
		return nil
	}
	if wait, _ := x.api.limiter.Spend(source); wait > 0 {
		return x.throttled(wait)
	}
	if !x.site.BasicAuth { // said to everyone, whatever the password
		return x.refuse(problem.Unauthenticated, "publishing passwords are switched off for this app (basicPublishingCredentialsPolicies/scm); use a token")
	}
	return x.refuse(problem.Unauthenticated, "the publishing user or password is wrong")
}

func (x *exchange) throttled(wait time.Duration) error {
	seconds := int64((wait + time.Second - 1) / time.Second)
	x.w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	return x.refuse(problem.Throttled, "too many wrong passwords; try again later")
}

// isPublisher takes "$app" and the "app\$app" of publish profiles.
func (x *exchange) isPublisher(user string) bool {
	name := "$" + x.site.Name
	return strings.EqualFold(user, name) || strings.EqualFold(user, x.site.Name+`\`+name)
}

// equal compares without telling by its time where the difference is.
func equal(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func (x *exchange) admitToken() error {
	ctx := x.r.Context()
	who, groups, err := x.api.cfg.Authenticate(ctx, x.r)
	if err != nil {
		if problem.KindOf(err) == problem.Unavailable {
			return err
		}
		x.api.cfg.Log.Debug("a token was refused", "app", x.site.Name, "reason", err)
		return x.refuse(problem.Unauthenticated, "the token is not valid for this API")
	}
	x.caller = who
	return x.authorize(ctx, who, groups)
}

func (x *exchange) authorize(ctx context.Context, who string, groups []string) error {
	d, err := x.api.cfg.Authorize.Allow(ctx, authz.Request{
		Principal: who, Groups: groups, Action: PublishAction, Scope: x.site.ID,
	})
	switch {
	case err != nil:
		return problem.Wrap(problem.KindOf(err), "whether the call is allowed could not be decided", err)
	case !d.Allowed:
		return x.refuse(problem.Denied, "the caller with object id "+who+" may not perform "+PublishAction+" at "+x.site.ID.String())
	}
	return nil
}

// sameSite refuses what a page of another site makes a browser send with the
// password it remembers.
func (x *exchange) sameSite() error {
	if err := x.api.cross.Check(x.r); err != nil {
		return x.refuse(problem.Denied, "the request was made by a page of another site")
	}
	return nil
}

// challenge asks for credentials.
func challenge(w http.ResponseWriter) {
	w.Header().Add("WWW-Authenticate", `Basic realm="site"`)
	w.Header().Add("WWW-Authenticate", `Bearer`)
}
