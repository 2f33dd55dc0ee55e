package directory

import (
	"regexp"
	"testing"
)

const someID = "aaaaaaaa-0000-4000-8000-00000000000f"

func TestReferencesToObjects(t *testing.T) {
	for text, want := range map[string]bool{
		"https://graph.microsoft.com/v1.0/directoryObjects/" + someID:                               true,
		"https://localhost:7443/v1.0/servicePrincipals/AAAAAAAA-0000-4000-8000-00000000000F":        true,
		"https://graph.windows.net/77777777-0000-4000-8000-000000000000/directoryObjects/" + someID: true,
		"https://graph.microsoft.com/beta/users/" + someID:                                          true,
		"directoryObjects/" + someID:                                                                true,
		"/v1.0/groups/" + someID:                                                                    true,
		someID:                                                                                      false,
		"":                                                                                          false,
		"https://graph.microsoft.com/v1.0/directoryObjects/x":                                       false,
		"https://graph.microsoft.com/v1.0/directoryObjects/" + someID + "/x":                        false,
		"https://graph.microsoft.com/v1.0/devices/" + someID:                                        false,
		"https://graph.microsoft.com/v1.0/directoryObjects/" + someID + "\n":                        false,
		"https://graph.microsoft.com/?x=/v1.0/directoryObjects/" + someID:                           false,
		"ftp://graph.microsoft.com/v1.0/directoryObjects/" + someID:                                 false,
	} {
		if id, ok := referenced(text); ok != want || ok && id != someID {
			t.Errorf("%q: %q, %t", text, id, ok)
		}
	}
}

var guid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func FuzzReference(f *testing.F) {
	f.Add("https://graph.microsoft.com/v1.0/directoryObjects/" + someID)
	f.Add("users/" + someID)
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if id, ok := referenced(text); ok != guid.MatchString(id) {
			t.Errorf("%q: %q, %t", text, id, ok)
		}
	})
}
