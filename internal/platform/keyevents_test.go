package platform

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/keyring"
)

func TestKeyEventsThatNobodyElseRecords(t *testing.T) {
	refused := func(r keyring.Reason) keyring.Event {
		return keyring.Event{Type: keyring.KeyRefused, Kind: accesskey.Host, Name: "partner", Reason: r, Source: "192.0.2.1", Text: "refused"}
	}
	denied := &audit.Event{Category: audit.Denied, Action: "keys/keyRefused", Scope: "/app", Outcome: "Denied",
		Source: "192.0.2.1", Reason: "refused", Details: map[string]string{"key": "host/partner"}}
	tests := []struct {
		name  string
		event keyring.Event
		want  *audit.Event
	}{
		{"use of a former value", keyring.Event{Type: keyring.RetiredKeyUsed, Kind: accesskey.Function, Function: "hello", Name: "k", Retired: "k.until-x"},
			&audit.Event{Category: audit.System, Action: "keys/retiredKeyUsed", Scope: "/app/functions/hello", Outcome: "Succeeded",
				Details: map[string]string{"key": "function/k", "retired": "k.until-x"}}},
		{"a rotation that was due", keyring.Event{Type: keyring.KeyRotated, Cause: keyring.Scheduled, Kind: accesskey.Host, Name: "k", Retired: "k.until-x", Text: "rotated"},
			&audit.Event{Category: audit.System, Action: "keys/keyRotated", Scope: "/app", Outcome: "Succeeded", Reason: "rotated",
				Details: map[string]string{"key": "host/k", "retired": "k.until-x", "cause": "scheduled"}}},
		{"a rotation through the management API", keyring.Event{Type: keyring.KeyRotated, Cause: keyring.Local, Name: "k"}, nil},
		{"lost restrictions", keyring.Event{Type: keyring.MetadataLost, Text: "lost"},
			&audit.Event{Category: audit.System, Action: "keys/metadataLost", Scope: "/app", Outcome: "Failed", Reason: "lost", Details: map[string]string{}}},
		{"a used-up rate", refused(keyring.RateExceeded), denied},
		{"a used-up quota", refused(keyring.QuotaExceeded), denied},
		{"a disabled key, recorded with the request", refused(keyring.KeyDisabled), nil},
		{"a read document", keyring.Event{Type: keyring.DocumentRead}, nil},
		{"a change through the management API", keyring.Event{Type: keyring.KeyUpdated, Name: "k"}, nil},
	}
	for _, tt := range tests {
		got, ok := keyAudit("/app", tt.event)
		if tt.want == nil {
			if ok {
				t.Errorf("%s is recorded: %+v", tt.name, got)
			}
			continue
		}
		if diff := cmp.Diff(*tt.want, got); !ok || diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}
