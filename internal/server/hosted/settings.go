package hosted

import (
	"strings"
)

// Settings are an app's settings as its host and worker see them. Names are
// looked up exactly, then ignoring case. They are not changed once in use.
type Settings map[string]string

// Get gives a setting's value, "" when it is not given.
func (s Settings) Get(name string) string {
	v, _ := s.Lookup(name)
	return v
}

// Lookup gives a setting's value and whether it is given.
func (s Settings) Lookup(name string) (value string, given bool) {
	if v, ok := s[name]; ok {
		return v, true
	}
	for n, v := range s {
		if strings.EqualFold(n, name) {
			return v, true
		}
	}
	return "", false
}

// IsTrue reports whether a setting is "1" or "true".
func (s Settings) IsTrue(name string) bool {
	v := s.Get(name)
	return v == "1" || strings.EqualFold(v, "true")
}

// Environ gives the settings in os.Environ form.
func (s Settings) Environ() []string {
	list := make([]string, 0, len(s))
	for name, value := range s {
		list = append(list, name+"="+value)
	}
	return list
}

// OfApp gives the settings without those that are the host's alone, for what the
// app's files or its worker may refer to: a reference such as %NAME% puts the
// value on a command line or into an error.
func (s Settings) OfApp() Settings {
	visible := make(Settings, len(s))
	for name, value := range s {
		if !HostOnly(name) {
			visible[name] = value
		}
	}
	return visible
}

// workerEnv gives the environment of a worker: all settings but those that open
// the key store, which are the host's alone, and what the host adds.
func workerEnv(s Settings, dir, hostname, environment string) map[string]string {
	env := s.OfApp()
	env["WEBSITE_HOSTNAME"] = hostname
	env["AzureWebJobsScriptRoot"] = dir
	env["AZURE_FUNCTIONS_ENVIRONMENT"] = environment
	return env
}

// HostOnly names settings that protect access keys. A function that could read
// them could read every key of the app.
func HostOnly(name string) bool {
	lower := strings.ToLower(name)
	switch lower {
	case "azurewebencryptionkey", "azurewebprimaryencryptionkey", "machinekey_decryptionkey",
		"azurewebjobssecretstoragesas", "azurewebjobssecretstoragekeyvaultclientsecret":
		return true
	}
	return strings.HasPrefix(lower, "latchkey_") || strings.HasPrefix(lower, "azurewebencryptionkey_")
}
