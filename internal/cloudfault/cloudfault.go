// Package cloudfault owns what the failures of a cloud's service say to its clients:
// whether trying again may help, when, and what of an error's text can be
// shown. It does not know which service it is, nor what was asked of it.
package cloudfault

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// maxText is how much of an error's text is shown, in bytes.
const maxText = 300

// Passing reports whether trying again may help: there was no answer, or one that
// says that the service is busy or in trouble. nil is no failure.
func Passing(err error) bool {
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) {
		return err != nil
	}
	switch answer.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// RetryAfter gives the wait that the service asks for, 0 for none.
func RetryAfter(err error, now time.Time) time.Duration {
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) || answer.RawResponse == nil {
		return 0
	}
	h := answer.RawResponse.Header
	for _, name := range []string{"Retry-After-Ms", "X-Ms-Retry-After-Ms"} {
		if n, err := strconv.ParseUint(h.Get(name), 10, 31); err == nil {
			return time.Duration(n) * time.Millisecond
		}
	}
	if n, err := strconv.ParseUint(h.Get("Retry-After"), 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(h.Get("Retry-After")); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// Marked gives a credential whose errors [Cause] knows as such.
func Marked(c azcore.TokenCredential) azcore.TokenCredential { return marked{c} }

type marked struct{ azcore.TokenCredential }

func (m marked) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	got, err := m.TokenCredential.GetToken(ctx, o)
	if err != nil {
		return got, tokenError{err}
	}
	return got, nil
}

// tokenError is the error of a credential, whose text may be long.
type tokenError struct{ err error }

func (e tokenError) Error() string {
	first, _, _ := strings.Cut(e.err.Error(), "\n")
	return "no token: " + first[:min(len(first), 200)]
}

func (e tokenError) Unwrap() error { return e.err }

// Cause gives the part of a request's error that can be shown: without the URL, which
// may have a signature, and no longer than a line.
func Cause(err error) error {
	var token tokenError
	if errors.As(err, &token) {
		return errors.New(token.Error())
	}
	var withURL *url.Error
	for errors.As(err, &withURL) {
		err = withURL.Err
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	if strings.Contains(text, "sig=") {
		return errors.New("the request failed")
	}
	return errors.New(text[:min(len(text), maxText)])
}
