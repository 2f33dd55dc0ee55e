package platform

import (
	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/keyring"
)

// auditKeys records what happened to an app's keys by itself or by hands that the
// management API does not see. It does not wait; what repeats becomes one event.
func (n *Node) auditKeys(a app.App) func(keyring.Event) {
	scope := a.ID.String()
	return func(e keyring.Event) {
		n.keyAlerts.note(a, scope, e)
		if n.presented.note(keyPlace(a), e, n.cfg.Clock.Now()) {
			n.concerns.Mark(a.ID)
		}
		if event, ok := keyAudit(scope, e); ok {
			n.audit.Record(event)
		}
	}
}

// keyAudit gives the record of an event. Changes made through the management API
// are recorded there, and callers who get 401 or 403 by auditDenial.
func keyAudit(scope string, e keyring.Event) (audit.Event, bool) {
	event := audit.Event{
		Category: audit.System, Action: "keys/" + e.Type.String(), Scope: scope,
		Outcome: "Succeeded", Source: e.Source, Reason: e.Text, Details: map[string]string{},
	}
	switch e.Type {
	case keyring.RetiredKeyUsed, keyring.KeyRetired, keyring.MetadataRestored, keyring.KeysQuarantined, keyring.KeysReturned, keyring.DocumentPruned:
	case keyring.MetadataLost, keyring.MetadataBroken:
		event.Outcome = "Failed"
	case keyring.KeyRefused:
		if e.Reason != keyring.RateExceeded && e.Reason != keyring.QuotaExceeded {
			return event, false
		}
		event.Category, event.Outcome = audit.Denied, "Denied"
	case keyring.KeyRotated:
		if e.Cause != keyring.Scheduled {
			return event, false
		}
	default:
		return event, false
	}
	if e.Function != "" {
		event.Scope += "/functions/" + e.Function
	}
	if e.Name != "" {
		event.Details["key"] = e.Kind.String() + "/" + e.Name
	}
	if e.Cause == keyring.Scheduled {
		event.Details["cause"] = e.Cause.String()
	}
	if e.Retired != "" {
		event.Details["retired"] = e.Retired
	}
	return event, true
}
