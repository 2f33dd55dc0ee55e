package keyvault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
)

// maxMessage bounds what is repeated of others' texts, in bytes.
const maxMessage = 300

// marking is a credential whose errors can be told from those of the vault.
type marking struct{ azcore.TokenCredential }

// GetToken implements azcore.TokenCredential.
func (m marking) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	t, err := m.TokenCredential.GetToken(ctx, o)
	if err != nil {
		return t, &tokenError{err}
	}
	return t, nil
}

// tokenError says that there was no token.
type tokenError struct{ error }

func (e *tokenError) Unwrap() error { return e.error }

// failureOf says in the resolver's words why a secret was not read.
func failureOf(ctx context.Context, err error, q reference.Query) *reference.Failure {
	var token *tokenError
	var answer *azcore.ResponseError
	var dns *net.DNSError
	var network net.Error
	switch {
	case ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded):
		return &reference.Failure{Status: reference.FetchTimedOut, Message: "the vault did not answer in time"}
	case errors.As(err, &token):
		return tokenFailure(token)
	case errors.As(err, &answer):
		return answerFailure(answer, q)
	case errors.As(err, &dns) && dns.IsNotFound:
		return &reference.Failure{Status: reference.VaultNotFound, Message: "there is no host " + dns.Name}
	case errors.As(err, &network) && network.Timeout():
		return &reference.Failure{Status: reference.FetchTimedOut, Message: "the vault cannot be reached: " + clip(err.Error())}
	}
	return &reference.Failure{Status: reference.OtherReasons, Message: "the vault cannot be asked: " + clip(err.Error())}
}

// tokenFailure tells a directory that refuses from one that cannot be reached.
func tokenFailure(err *tokenError) *reference.Failure {
	f := &reference.Failure{Status: reference.UnauthorizedClient, Message: "the identity got no token: " + clip(err.Error())}
	var answer *azcore.ResponseError
	var network net.Error
	switch kind := problem.KindOf(err.error); {
	case kind == problem.Unavailable || kind == problem.Throttled || errors.As(err, &network):
		f.Status = reference.OtherReasons
	case kind == problem.Timeout:
		f.Status = reference.FetchTimedOut
	case errors.As(err, &answer) && answer.StatusCode >= http.StatusInternalServerError:
		f.Status, f.HTTPStatus = reference.OtherReasons, answer.StatusCode
	}
	return f
}

// answerFailure reads the vault's answer.
func answerFailure(answer *azcore.ResponseError, q reference.Query) *reference.Failure {
	code, message := explained(answer)
	f := &reference.Failure{
		Status: reference.OtherReasons, HTTPStatus: answer.StatusCode, InnerCode: code,
		Message: strings.TrimSuffix(fmt.Sprintf("the vault answered %d %s", answer.StatusCode, code), " ") + ": " + message,
	}
	switch {
	case code == "SecretDisabled":
	case answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden:
		f.Status = reference.AccessDenied
	case answer.StatusCode == http.StatusNotFound && q.Version != "":
		f.Status = reference.SecretVersionNotFound
	case answer.StatusCode == http.StatusNotFound:
		f.Status = reference.SecretNotFound
	case answer.StatusCode == http.StatusRequestTimeout || answer.StatusCode == http.StatusGatewayTimeout:
		f.Status = reference.FetchTimedOut
	}
	return f
}

// explained gives the innermost code of an answer, and its message.
func explained(answer *azcore.ResponseError) (code, message string) {
	type fault struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Inner   *fault `json:"innererror"`
	}
	var body struct {
		Error fault `json:"error"`
	}
	if answer.RawResponse != nil {
		if text, err := runtime.Payload(answer.RawResponse); err == nil {
			_ = json.Unmarshal(text, &body) // what is no JSON explains nothing
		}
	}
	code, message = answer.ErrorCode, body.Error.Message
	for f := &body.Error; f != nil; f = f.Inner {
		if f.Code != "" {
			code = f.Code
		}
	}
	if message == "" {
		message = http.StatusText(answer.StatusCode)
	}
	return clip(code), clip(message)
}

// clip makes one short line of a text.
func clip(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxMessage {
		return strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return text
}
