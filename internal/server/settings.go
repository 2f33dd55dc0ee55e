package server

import (
	"hash/fnv"
	"strconv"
	"strings"
	"unicode"

	"github.com/latchkey/latchkey/internal/funcapp"
)

// settings are an app's settings: the process environment merged with
// local.settings.json. Names are looked up exactly, then ignoring case.
type settings map[string]string

func (s settings) get(name string) string {
	v, _ := s.lookup(name)
	return v
}

func (s settings) lookup(name string) (value string, given bool) {
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

func (s settings) isTrue(name string) bool {
	v := s.get(name)
	return v == "1" || strings.EqualFold(v, "true")
}

// environ gives the settings in os.Environ form.
func (s settings) environ() []string {
	list := make([]string, 0, len(s))
	for name, value := range s {
		list = append(list, name+"="+value)
	}
	return list
}

// readSettings merges the environment with local.settings.json. Faults of the
// file are returned for the app to show; its readable part counts.
func readSettings(dir string, environ []string) (settings, *funcapp.LocalSettings, []funcapp.Fault, []string) {
	local, faults := funcapp.LoadLocalSettings(dir)
	merged, warnings := funcapp.MergeEnv(environ, local)
	return merged, local, faults, warnings
}

// workerEnv gives the environment of a worker: all settings but those that open
// the key store, which are the host's alone, and what Core Tools adds.
func workerEnv(s settings, dir, hostname string) map[string]string {
	env := make(map[string]string, len(s)+4)
	for name, value := range s {
		if !hostOnly(name) {
			env[name] = value
		}
	}
	env["WEBSITE_HOSTNAME"] = hostname
	env["AzureWebJobsScriptRoot"] = dir
	env["AZURE_FUNCTIONS_ENVIRONMENT"] = "Development"
	return env
}

// hostOnly names settings that protect access keys. A function that could read
// them could read every key of the app.
func hostOnly(name string) bool {
	lower := strings.ToLower(name)
	switch lower {
	case "azurewebencryptionkey", "azurewebprimaryencryptionkey", "machinekey_decryptionkey",
		"azurewebjobssecretstoragesas", "azurewebjobssecretstoragekeyvaultclientsecret":
		return true
	}
	return strings.HasPrefix(lower, "latchkey_") || strings.HasPrefix(lower, "azurewebencryptionkey_")
}

func alnum(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 128 && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return r
		}
		return -1
	}, s)
}

func shortHash(s string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s))
	return strconv.FormatUint(uint64(h.Sum32()), 10)
}
