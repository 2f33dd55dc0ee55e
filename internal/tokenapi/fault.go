package tokenapi

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/web"
)

// fault is an error as the cloud's token service words it.
type fault struct {
	status int
	error  string // OAuth error; "" is that of the code
	code   int    // AADSTS
	text   string
	wait   time.Duration // with 429
	reason string        // for operators; "" is the text
}

// Error gives the description.
func (f *fault) Error() string { return fmt.Sprintf("AADSTS%d: %s", f.code, f.text) }

// errorOf gives the OAuth error and status of each code.
func errorOf(code int) (name string, status int) {
	switch code {
	case 7000215, 7000222, 7000218, 700027, 700211, 700212, 700213, 700021, 700023, 700024, 1000502:
		return "invalid_client", http.StatusUnauthorized
	case 700016, 7000112:
		return "unauthorized_client", http.StatusBadRequest
	case 500011:
		return "invalid_resource", http.StatusBadRequest
	case 70011, 1002012:
		return "invalid_scope", http.StatusBadRequest
	case 50049:
		return "invalid_instance", http.StatusBadRequest
	case 70003:
		return "unsupported_grant_type", http.StatusBadRequest
	case 90033:
		return "temporarily_unavailable", http.StatusServiceUnavailable
	case 90055:
		return "temporarily_unavailable", http.StatusTooManyRequests
	case 90013:
		return "server_error", http.StatusInternalServerError
	}
	return "invalid_request", http.StatusBadRequest
}

func faultf(code int, format string, args ...any) *fault {
	return &fault{code: code, text: fmt.Sprintf(format, args...)}
}

func wrongMethod(method string, e endpoint) error {
	want := http.MethodGet
	if e == tokenV1 || e == tokenV2 {
		want = http.MethodPost
	}
	f := faultf(900561, "The endpoint only accepts %s requests. Received a %s request.", want, clip(method))
	f.status = http.StatusMethodNotAllowed
	return f
}

// throttled is the answer to those who have been wrong too often.
func throttled(wait time.Duration) error {
	f := faultf(90055, "There were too many wrong requests. Try again later.")
	f.wait = wait
	return f
}

// body is an error answer.
type body struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
	URI           string `json:"error_uri"`
}

// fail answers with an error and completes the event.
func (s *service) fail(x *exchange, err error) {
	f := s.faultFor(x, err)
	name, status := errorOf(f.code)
	if f.error != "" {
		name = f.error
	}
	if f.status != 0 {
		status = f.status
	}
	if f.wait > 0 {
		x.w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.wait.Seconds()))))
	}
	x.event.Code, x.event.Reason = f.code, f.reason
	if f.reason == "" {
		x.event.Reason = f.text
	}
	at := x.event.Time.Format("2006-01-02 15:04:05Z")
	web.WriteJSON(x.w, status, body{
		Error: name,
		Description: fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s",
			f.Error(), x.event.TraceID, x.event.CorrelationID, at),
		Codes: []int{f.code}, Timestamp: at, TraceID: x.event.TraceID, CorrelationID: x.event.CorrelationID,
		URI: "https://login.microsoftonline.com/error?code=" + strconv.Itoa(f.code),
	})
}

// faultFor finds the fault for any error. Those that are ours are logged and not
// shown.
func (s *service) faultFor(x *exchange, err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	var refused *identity.Refused
	if errors.As(err, &refused) {
		f = refusal(refused, x.event.AppID, s.TenantID)
		f.reason = refused.Error()
		return f
	}
	if x.r.Context().Err() != nil {
		return faultf(90033, "The request was given up.")
	}
	s.Log.Error("a token request failed", slog.String("error", err.Error()), slog.String("traceId", x.event.TraceID))
	if k := problem.KindOf(err); k == problem.Unavailable || k == problem.Timeout {
		return faultf(90033, "The service is temporarily unavailable. Try again.")
	}
	return faultf(90013, "The request could not be processed.")
}

// refusal words why a client's proof was refused.
func refusal(r *identity.Refused, appID, tenant string) *fault {
	switch r.Reason {
	case identity.UnknownApp, identity.UnknownPrincipal:
		return faultf(700016, "Application with identifier '%s' was not found in the directory '%s'. Check that the client id and the tenant are those of this installation.", appID, tenant)
	case identity.Disabled:
		return faultf(7000112, "Application '%s' is disabled.", appID)
	case identity.WrongSecret:
		return faultf(7000215, "Invalid client secret provided. Ensure that the secret's value is sent, not its ID, for a secret of app '%s'.", appID)
	case identity.SecretExpired:
		return faultf(7000222, "The provided client secret keys for app '%s' are expired. Create a new secret and use it.", appID)
	case identity.MalformedAssertion:
		return faultf(50027, "JWT token is invalid or malformed: %s.", r.Detail)
	case identity.UnknownCertificate:
		return faultf(700027, "The certificate with identifier used to sign the client assertion is not registered on application '%s' (%s).", appID, r.Detail)
	case identity.CertificateExpired:
		return faultf(1000502, "The provided certificate is not within its specified validity period (%s).", r.Detail)
	case identity.WrongSignature:
		return faultf(700027, "Client assertion failed signature validation (%s).", r.Detail)
	case identity.WrongAudience:
		return faultf(700023, "Client assertion audience claim does not match the token endpoint or issuer.")
	case identity.WrongIssuer:
		return faultf(700021, "Client assertion application identifier doesn't match 'client_id' parameter (%s).", r.Detail)
	case identity.AssertionExpired, identity.AssertionTooLong:
		return faultf(700024, "Client assertion is not within its valid time range (%s).", r.Detail)
	case identity.NoFederated:
		return faultf(70021, "No matching federated identity record found for presented assertion: application '%s' has none.", appID)
	case identity.NoFederatedIssuer:
		return faultf(700211, "No matching federated identity record found for presented assertion issuer.")
	case identity.NoFederatedSubject:
		return faultf(700213, "No matching federated identity record found for presented assertion subject.")
	case identity.NoFederatedAudience:
		return faultf(700212, "No matching federated identity record found for presented assertion audience.")
	case identity.IssuerUnavailable:
		return faultf(70021, "No matching federated identity record found for presented assertion: the issuer's keys could not be read.")
	}
	return faultf(90013, "The request could not be processed.")
}

// clip makes a client's text fit to be shown.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > 120 {
		s = strings.ToValidUTF8(s[:120], "") + "…"
	}
	return s
}
