package cloudfault_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/latchkey/latchkey/internal/cloudfault"
)

func answer(status int, header ...string) error {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return fmt.Errorf("asking: %w", &azcore.ResponseError{StatusCode: status, RawResponse: &http.Response{Header: h}})
}

func TestWhatPassesIsTriedAgain(t *testing.T) {
	for status, want := range map[int]bool{400: false, 403: false, 404: false, 408: true, 409: false, 412: false, 429: true, 500: true, 501: false, 502: true, 503: true, 504: true} {
		if got := cloudfault.Passing(answer(status)); got != want {
			t.Errorf("%d: %v", status, got)
		}
	}
	if cloudfault.Passing(nil) || !cloudfault.Passing(errors.New("no answer")) {
		t.Error("no answer is not told from success")
	}
}

func TestTheWaitThatIsAskedFor(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		err  error
		want time.Duration
	}{
		"none":         {answer(503), 0},
		"milliseconds": {answer(429, "Retry-After-Ms", "150", "Retry-After", "9"), 150 * time.Millisecond},
		"storage":      {answer(503, "X-Ms-Retry-After-Ms", "20"), 20 * time.Millisecond},
		"seconds":      {answer(429, "Retry-After", "7"), 7 * time.Second},
		"a time":       {answer(429, "Retry-After", "Thu, 01 Jan 2026 12:00:30 GMT"), 30 * time.Second},
		"a past time":  {answer(429, "Retry-After", "Thu, 01 Jan 2026 11:00:00 GMT"), 0},
		"nonsense":     {answer(429, "Retry-After", "-3"), 0},
		"no answer":    {errors.New("cut off"), 0},
	} {
		if got := cloudfault.RetryAfter(c.err, now); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

type refusing struct{ text string }

func (r refusing) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, errors.New(r.text)
}

func TestACauseHasNoSignatureAndOneLine(t *testing.T) {
	_, token := cloudfault.Marked(refusing{"refused\n" + strings.Repeat("x", 5000)}).GetToken(t.Context(), policy.TokenRequestOptions{})
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"a credential's":   {fmt.Errorf("Get https://a.invalid: %w", token), "no token: refused"},
		"a transport's":    {&url.Error{Op: "Get", URL: "https://a.invalid/?sig=secret", Err: errors.New("connection reset")}, "connection reset"},
		"one with the URL": {errors.New("proxy refused https://a.invalid/?sig=secret"), "the request failed"},
		"a long one":       {errors.New(strings.Repeat("y", 900) + "\nmore"), strings.Repeat("y", 300)},
	} {
		if got := cloudfault.Cause(c.err).Error(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
