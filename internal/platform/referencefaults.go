package platform

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/reference"
	"github.com/latchkey/latchkey/internal/vault"
)

// failure says in the resolver's words why a secret was not read, and in ours what
// to do about it: whoever sees it has an app that does not get its setting.
func failure(err error, q reference.Query) error {
	if err == nil {
		return nil
	}
	f := &reference.Failure{Status: reference.OtherReasons, InnerCode: codeOf(err), Message: whyUnread(err, q)}
	f.Status, f.HTTPStatus = statusOf(err, q)
	return f
}

// statusOf gives the status of a reference and what the vault would have answered.
func statusOf(err error, q reference.Query) (reference.Status, int) {
	switch vault.Code(codeOf(err)) {
	case vault.VaultNotFound:
		return reference.VaultNotFound, http.StatusNotFound
	case vault.SecretDisabled:
		return reference.OtherReasons, http.StatusForbidden
	}
	switch problem.KindOf(err) {
	case problem.Denied:
		return reference.AccessDenied, http.StatusForbidden
	case problem.Unauthenticated:
		return reference.UnauthorizedClient, http.StatusUnauthorized
	case problem.NotFound:
		if q.Version != "" {
			return reference.SecretVersionNotFound, http.StatusNotFound
		}
		return reference.SecretNotFound, http.StatusNotFound
	case problem.Internal:
		return reference.OtherReasons, http.StatusInternalServerError
	case problem.Unavailable, problem.Throttled:
		return reference.OtherReasons, http.StatusServiceUnavailable
	case problem.Timeout:
		return reference.FetchTimedOut, 0
	}
	return reference.OtherReasons, 0
}

// whyUnread says it for people. What vaults answer to their clients is long, and
// does not know our commands.
func whyUnread(err error, q reference.Query) string {
	who := "identity " + q.Identity.ObjectID
	switch vault.Code(codeOf(err)) {
	case vault.ForbiddenByRbac:
		return fmt.Sprintf("%s has no role that reads secret %s of vault %s; latchkey role assign \"Key Vault Secrets User\" --principal %s --scope vault/%s",
			who, q.Secret, q.Vault, q.Identity.ObjectID, q.Vault)
	case vault.ForbiddenByPolicy:
		return fmt.Sprintf("no access policy of vault %s lets %s get secrets; latchkey vault policy set %s --principal %s --secrets get",
			q.Vault, who, q.Vault, q.Identity.ObjectID)
	case vault.ForbiddenByFirewall, vault.ForbiddenByConnection:
		return fmt.Sprintf("the network rules of vault %s let the platform not in; their bypass must be AzureServices", q.Vault)
	case vault.SecretDisabled:
		return fmt.Sprintf("secret %s of vault %s, or its version, is disabled", q.Secret, q.Vault)
	case vault.VaultNotFound:
		return fmt.Sprintf("there is no vault %s; latchkey vault list", q.Vault)
	case vault.SecretNotFound:
		if q.Version != "" {
			return fmt.Sprintf("vault %s has no version %s of secret %s", q.Vault, q.Version, q.Secret)
		}
		return fmt.Sprintf("vault %s has no secret %s; latchkey vault secret list %s", q.Vault, q.Secret, q.Vault)
	}
	var p *problem.Error
	if errors.As(err, &p) {
		return p.Message
	}
	return problem.KindOf(err).Error()
}
