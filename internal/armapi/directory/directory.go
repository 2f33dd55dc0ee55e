// Package directory serves what is Latchkey's own in the management API: the
// principals of the installation with their credentials, the groups they are in
// (Latchkey.Directory), the audit record (Latchkey.Audit), and from the same data the activity log and the
// few directory calls that common clients make. It does not prove who anybody is,
// and it does not decide who may call.
package directory

import (
	"context"
	"errors"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/identity/groups"
	"github.com/latchkey/latchkey/internal/rbac"
)

// Config is what a Service works with.
type Config struct {
	Directory *identity.Directory
	Roles     *rbac.Roles
	Audit     *audit.Log
	Groups    *groups.Groups // nil leaves the operations on groups out

	TenantID       string
	SubscriptionID string
}

// Service serves the operations. It is safe for concurrent use.
type Service struct{ cfg Config }

// New makes a Service. It fails for a Config that leaves anything else out.
func New(cfg Config) (*Service, error) {
	if cfg.Directory == nil || cfg.Roles == nil || cfg.Audit == nil || cfg.TenantID == "" || cfg.SubscriptionID == "" {
		return nil, errors.New("directory: Directory, Roles, Audit, TenantID and SubscriptionID must be set")
	}
	return &Service{cfg}, nil
}

// Namespaces of our own providers.
const (
	principalType = "Latchkey.Directory/principals"
	readAction    = principalType + "/read"
)

// Operations gives what the service serves, without the directory calls of other
// clients (see [Service.GraphOperations]).
func (s *Service) Operations() []arm.Operation {
	const (
		list      = "/providers/Latchkey.Directory/principals"
		one       = list + "/{principal}"
		federated = one + "/federatedCredentials"
		log       = "/providers/Latchkey.Audit/"
	)
	return append(s.groupOperations(), []arm.Operation{
		{Method: "GET", Pattern: list, Handler: s.list},
		{Method: "POST", Pattern: list, Action: principalType + "/write", Handler: s.create},
		{Method: "GET", Pattern: one, Handler: s.get},
		{Method: "PUT", Pattern: one, Handler: s.create},
		{Method: "DELETE", Pattern: one, Handler: s.remove},
		{Method: "POST", Pattern: one + "/addSecret", Handler: s.addSecret, Secret: true},
		{Method: "POST", Pattern: one + "/removeSecret", Handler: s.removeSecret},
		{Method: "POST", Pattern: one + "/addCertificate", Handler: s.addCertificate},
		{Method: "POST", Pattern: one + "/removeCertificate", Handler: s.removeCertificate},
		{Method: "POST", Pattern: one + "/disable", Handler: s.disable},
		{Method: "POST", Pattern: one + "/enable", Handler: s.enable},
		{Method: "POST", Pattern: one + "/expireTokens", Handler: s.expireTokens},
		{Method: "GET", Pattern: federated, Handler: s.listFederated},
		{Method: "GET", Pattern: federated + "/{credential}", Handler: s.getFederated},
		{Method: "PUT", Pattern: federated + "/{credential}", Handler: s.putFederated},
		{Method: "DELETE", Pattern: federated + "/{credential}", Handler: s.removeFederated},

		{Method: "GET", Pattern: log + "events", Handler: s.events},
		{Method: "GET", Pattern: log + "decisions/{id}", Handler: s.decision},
		{Method: "POST", Pattern: log + "verify", Action: "Latchkey.Audit/verify/action", Handler: s.verify, Reads: true},
		{Method: "GET", Pattern: log + "export", Handler: s.export},
		{Method: "GET", Pattern: "/subscriptions/{subscription}/providers/Microsoft.Insights/eventtypes/management/values",
			Action: "Microsoft.Insights/eventtypes/values/read", Handler: s.activity},
	}...)
}

// Providers gives what the providers operations show of this package.
func Providers() []arm.Provider {
	versions := []string{"2026-01-01"}
	return []arm.Provider{
		{Namespace: "Latchkey.Directory", Types: []arm.ProviderType{
			{Name: "principals", APIVersions: versions}, {Name: "principals/federatedCredentials", APIVersions: versions},
			{Name: "groups", APIVersions: versions}, {Name: "groups/members", APIVersions: versions},
		}},
		{Namespace: "Latchkey.Audit", Types: []arm.ProviderType{{Name: "events", APIVersions: versions}, {Name: "decisions", APIVersions: versions}, {Name: "export", APIVersions: versions}}},
		{Namespace: "Microsoft.Insights", Types: []arm.ProviderType{{Name: "eventtypes", APIVersions: []string{"2017-03-01-preview", "2015-04-01"}}}},
	}
}

// Recorder gives the arm.Config.Audit that records calls in the log: what changed
// something or read secrets before it is answered, refusals without waiting, and
// nothing of other reads.
func Recorder(log *audit.Log) func(context.Context, arm.AuditEntry) error {
	return func(ctx context.Context, e arm.AuditEntry) error {
		event := eventOf(e)
		switch {
		case e.Denied != "":
			event.Category, event.Outcome, event.Reason = audit.Denied, "Denied", e.Code
			event.Details["why"] = e.Denied
			log.Record(event)
			return nil
		case e.Changed:
			event.Category = audit.Write
		case e.Secret:
			event.Category = audit.SecretRead
		default:
			return nil
		}
		return log.Append(ctx, event)
	}
}

func eventOf(e arm.AuditEntry) audit.Event {
	event := audit.Event{
		Time: e.Time, Action: e.Action, Scope: e.Scope, Source: e.Remote, Outcome: "Succeeded", Status: e.Status, CorrelationID: e.CorrelationID,
		Principal: audit.Principal{ObjectID: e.Caller.ObjectID, AppID: e.Caller.AppID, Name: e.Caller.Name},
		Details:   map[string]string{"method": e.Method, "path": e.Path},
	}
	if event.Action == "" {
		event.Action = "Latchkey.Management/call/action" // operations that need a token only
	}
	if e.Code != "" {
		event.Outcome, event.Reason = "Failed", e.Code
	}
	return event
}
