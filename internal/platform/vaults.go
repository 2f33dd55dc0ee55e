package platform

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/keyvault"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/drill"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/token"
	"github.com/latchkey/latchkey/internal/vault"
	"github.com/latchkey/latchkey/internal/vault/secrets"
	"github.com/latchkey/latchkey/internal/vaultapi"
)

// keyVaultAppID is how some clients name the platform's vaults.
const keyVaultAppID = "cfa8b339-82a2-471a-a3c9-0fc0be7a4093"

// azureVaults ends the hosts of the platform's own vaults.
const azureVaults = "vault.azure.net"

// openVaults makes vaults and what keeps their secrets.
func (n *Node) openVaults() {
	n.secrets = secrets.New(secrets.Config{State: n.store, Clock: n.cfg.Clock, Sealer: n.keyset})
	n.vaults = vault.New(vault.Config{
		Inventory: n.inventory, Log: n.log, Roles: n.roles,
		OnDelete: []func(context.Context, vault.Vault) error{
			func(ctx context.Context, v vault.Vault) error { return n.roles.UnassignBelow(ctx, v.ID) },
		},
		OnPurge: []func(context.Context, string) error{n.secrets.Drop},
	})
	n.beside(n.vaults.Run)
}

// newVaultAPI makes the data plane of vaults.
func (n *Node) newVaultAPI() (http.Handler, error) {
	return vaultapi.New(vaultapi.Config{
		Vaults: n.vaults, Secrets: n.secrets, Authenticate: n.vaultCaller,
		Name: func(host string) (string, bool) {
			kind, name := n.names.kindOf(host)
			return name, kind == hostVault
		},
		Resource: func(host string) string { return "https://" + afterLabels(host, 1) },
		LoginURL: func(host string) string { return "https://" + afterLabels(host, 2) + "/" + n.install.TenantID },
		Audit:    n.auditVaultChange,
		OnEvent:  n.auditVault, Fault: n.vaultFault(), Clock: n.cfg.Clock, Log: n.log,
	})
}

// newKeyVault makes the operations of Microsoft.KeyVault.
func (n *Node) newKeyVault() (*keyvault.Service, error) {
	return keyvault.New(keyvault.Config{
		Vaults: n.vaults, Secrets: n.secrets, TenantID: n.install.TenantID, VaultURL: n.names.vaultURL, Authorize: n.roles, Groups: n.groups.Of,
	})
}

// afterLabels cuts labels off the front of a host.
func afterLabels(host string, count int) string {
	for range count {
		_, host, _ = strings.Cut(host, ".")
	}
	return host
}

// vaultAudiences are what tokens for vaults may be made for: the name clients
// were told, ours, and those of the cloud.
func (n *Node) vaultAudiences(told string) []string {
	list := []string{n.names.vaultResource(), "https://" + azureVaults, keyVaultAppID}
	if told != "" {
		list = append(list, told)
	}
	return list
}

// toldVaultAudience gives what clients that use a host are told to get tokens for,
// if that can be this listener's: a token that was meant for another program of the
// machine, which only has another port, must not open a vault here. "" if not.
func (n *Node) toldVaultAudience(hostPort, resource string) string {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		host, port = hostPort, "443"
	}
	if !n.isOurPort(strings.ToLower(strings.TrimSuffix(host, ".")), port) {
		return ""
	}
	return resource
}

// vaultCaller tells who calls a vault. The resource is derived from the host the
// client used, which is one of ours.
func (n *Node) vaultCaller(ctx context.Context, r *http.Request, resource string) (vault.Caller, error) {
	raw, err := bearer(r)
	if err != nil {
		return vault.Caller{}, err
	}
	v, err := n.authority.Verify(ctx, raw, token.Expect{Audiences: n.vaultAudiences(n.toldVaultAudience(r.Host, resource))})
	if err != nil {
		return vault.Caller{}, err
	}
	in, err := n.groups.Of(ctx, v.ObjectID)
	return vault.Caller{
		ObjectID: v.ObjectID, AppID: v.AppID, TenantID: v.TenantID, Issuer: token.IssuerV1(v.TenantID), Groups: in,
	}, err
}

// vaultFault makes vaults fail in a drill.
func (n *Node) vaultFault() func(context.Context, vault.Vault, vault.Operation) error {
	if n.drill == nil {
		return nil
	}
	return func(ctx context.Context, v vault.Vault, _ vault.Operation) error { return n.drilled(ctx, v) }
}

// drilled is how a vault fails in a drill.
func (n *Node) drilled(ctx context.Context, v vault.Vault) error {
	fault, err := n.drill.Vault(ctx)
	switch {
	case err != nil:
		return err
	case fault == drill.VaultErrors:
		return problem.New(problem.Internal, "vault "+v.Name+" fails in a drill")
	case fault == drill.VaultDenies:
		return problem.Wrap(problem.Denied, "vault "+v.Name+" refuses everybody in a drill", vault.ForbiddenByPolicy)
	}
	return nil
}

// auditVaultChange records a change before it is answered.
func (n *Node) auditVaultChange(ctx context.Context, e vaultapi.Event) error {
	event := vaultEvent(e)
	if p, err := n.directory.Get(ctx, e.Caller.ObjectID); err == nil {
		event.Principal.Name = p.Name
	}
	return n.audit.Append(ctx, event)
}

// auditVault records reads of secrets and refusals. It does not wait; what repeats
// becomes one event. Changes are recorded before they are answered.
func (n *Node) auditVault(e vaultapi.Event) {
	if e.Audited || e.Challenge || e.Status < 400 && e.Operation != vault.Get.String() {
		return
	}
	n.audit.Record(vaultEvent(e))
}

func vaultEvent(e vaultapi.Event) audit.Event {
	event := audit.Event{
		Time: e.Time, Category: audit.SecretRead, Action: e.Action, Scope: e.VaultID, Outcome: "Succeeded", Status: e.Status,
		CorrelationID: e.CorrelationID, Principal: audit.Principal{ObjectID: e.Caller.ObjectID, AppID: e.Caller.AppID},
		Details: map[string]string{},
	}
	if e.Source.IsValid() {
		event.Source = e.Source.String()
	}
	if e.Secret != "" && e.VaultID != "" {
		event.Scope += "/secrets/" + e.Secret
	}
	if e.Version != "" {
		event.Details["version"] = e.Version
	}
	switch {
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		event.Category, event.Outcome, event.Reason = audit.Denied, "Denied", e.Reason
	case e.Status >= 400:
		event.Outcome, event.Reason = "Failed", e.Reason
	}
	if e.Changed {
		event.Category = audit.Write
	}
	return event
}

// bearer gives the token of a request.
func bearer(r *http.Request) (string, error) {
	scheme, raw, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if raw = strings.TrimSpace(raw); !ok || !strings.EqualFold(scheme, "Bearer") || raw == "" {
		return "", problem.New(problem.Unauthenticated, "the Authorization header has no bearer token")
	}
	return raw, nil
}

// codeOf gives the code of a vault's error; "" for none.
func codeOf(err error) string {
	var code vault.Code
	if errors.As(err, &code) {
		return string(code)
	}
	return ""
}
