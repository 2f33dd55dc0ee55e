package keyvault

import (
	"testing"

	"github.com/latchkey/latchkey/internal/accesskey"
)

// TestOddNamesAreEscapedAsTheStockHostDoes: the names its own tests use.
func TestOddNamesAreEscapedAsTheStockHostDoes(t *testing.T) {
	for name, escaped := range map[string]string{
		"Te-st!{rty":           "Te-045st-033-123rty",
		"Te-st!{rt*(y)(ty-":    "Te-045st-033-123rt-042-040y-041-040ty-045",
		"Te--st!{rt*(y)(ty--`": "Te-045-045st-033-123rt-042-040y-041-040ty-045-045-096",
	} {
		if got := escape(name); got != escaped {
			t.Errorf("%s is escaped as %s, want %s", name, got, escaped)
		}
		if got := unescape(escaped); got != name {
			t.Errorf("%s is read as %s, want %s", escaped, got, name)
		}
		for kind, secret := range map[accesskey.Kind]string{
			accesskey.Host: "host--functionKey--" + escaped, accesskey.System: "host--systemKey--" + escaped,
		} {
			if got := (place{"host", kind, name}).secretName(); got != secret {
				t.Errorf("%s is secret %s, want %s", name, got, secret)
			}
			if got, ok := parseName(secret); !ok || got != (place{"host", kind, name}) {
				t.Errorf("%s is read as %v, %v", secret, got, ok)
			}
		}
		of := place{"te-st", accesskey.Function, name}
		if got, ok := parseName(of.secretName()); !ok || got != of {
			t.Errorf("%s is read as %v, %v", of.secretName(), got, ok)
		}
	}
}
