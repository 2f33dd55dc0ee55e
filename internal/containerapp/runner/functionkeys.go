package runner

import (
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
)

// Where the functions host finds its access keys on the platform, and what tells it to
// look there.
const (
	keysVolume  = "functions-keys"
	keysPath    = "/run/secrets/functions-keys"
	keysSetting = "AzureWebJobsSecretStorageType"
	keysStore   = "ContainerApps"
	// hostSetting tells the host that it runs in an environment, whose name it has.
	hostSetting = "MANAGED_ENVIRONMENT"
)

// isFunctionApp reports whether an app is one, by its kind, which is a list of words.
func isFunctionApp(a containerapp.App) bool {
	return slices.ContainsFunc(strings.Split(a.Resource.Kind, ","), func(word string) bool { return strings.EqualFold(strings.TrimSpace(word), "functionapp") })
}

// withFunctionKeys gives the host of a function app, which is its first container, the
// app's secrets that are access keys, as files. Nothing is done for an app that mounts
// something there itself.
func withFunctionKeys(s *engine.Spec, a containerapp.App, secrets map[string]string) {
	host := &s.Main[0]
	taken := slices.ContainsFunc(s.Volumes, func(v engine.Volume) bool { return v.Name == keysVolume }) ||
		slices.ContainsFunc(host.Mounts, func(m engine.Mount) bool {
			at := strings.TrimSuffix(m.Path, "/") + "/"
			return strings.HasPrefix(keysPath+"/", at) || strings.HasPrefix(at, keysPath+"/")
		})
	if !isFunctionApp(a) || taken {
		return
	}
	v := engine.Volume{Name: keysVolume, Kind: engine.VolumeSecret}
	for name, value := range secrets {
		if file := keyFile(name); file != "" {
			v.Files = append(v.Files, engine.File{Path: file, Data: []byte(value)})
		}
	}
	slices.SortFunc(v.Files, func(x, y engine.File) int { return strings.Compare(x.Path, y.Path) })
	s.Volumes = append(s.Volumes, v)
	host.Mounts = append(host.Mounts, engine.Mount{Volume: keysVolume, Path: keysPath, ReadOnly: true})
	for _, one := range []engine.Env{{Name: keysSetting, Value: keysStore}, {Name: hostSetting, Value: a.Environment().Name()}} {
		if !slices.ContainsFunc(host.Env, func(e engine.Env) bool { return strings.EqualFold(e.Name, one.Name) }) {
			host.Env = append(host.Env, one)
		}
	}
}

// keyFile gives the file of a secret that is an access key, "" for other secrets. A
// function's name goes as far as the last dash: names of its keys have none.
func keyFile(secret string) string {
	if secret == "host-master" {
		return "host.master"
	}
	for prefix, file := range map[string]string{"host-function-": "host.function.", "host-systemkey-": "host.systemKey."} {
		if name, is := strings.CutPrefix(secret, prefix); is && name != "" {
			return file + name
		}
	}
	rest, is := strings.CutPrefix(secret, "functions-")
	at := strings.LastIndexByte(rest, '-')
	if !is || at < 1 || at == len(rest)-1 {
		return ""
	}
	return "functions." + rest[:at] + "." + rest[at+1:]
}
