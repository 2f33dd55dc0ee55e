package kubernetes

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/latchkey/latchkey/internal/kubeapi"
	"github.com/latchkey/latchkey/internal/problem"
)

// App settings that say where the keys are.
const (
	// NameSetting names the object: name, secrets/name or configmaps/name.
	NameSetting = "AzureWebJobsKubernetesSecretName"
	// DirSetting is for another folder than [DefaultDir].
	DirSetting = "LATCHKEY_MOUNTED_KEYS"
)

// Parse reads the store's settings. Without AzureWebJobsKubernetesSecretName the
// store is the read-only folder of mounted keys. With it, the API server is that
// of KUBECONFIG's current context if that is set, else that of the pod. It
// returns problem.Invalid, naming the setting, for what is wrong, and
// problem.Unsupported for ways to log in that a kubeconfig file asks for and that
// are not there.
func Parse(setting func(name string) string) (Config, error) {
	name := setting(NameSetting)
	if name == "" {
		return parseFolder(setting(DirSetting))
	}
	cfg, err := parseName(name)
	if err != nil {
		return cfg, err
	}
	cfg.Access, err = kubeapi.Find(setting)
	return cfg, err
}

func parseFolder(dir string) (Config, error) {
	if dir != "" && !filepath.IsAbs(dir) {
		return Config{}, problem.New(problem.Invalid, fmt.Sprintf("setting %s=%q is not an absolute path", DirSetting, dir)).
			WithNext("give the folder that the keys are mounted at, or remove the setting for " + DefaultDir)
	}
	return Config{Dir: dir}, nil
}

func parseName(text string) (Config, error) {
	cfg := Config{Kind: Secret, Name: text}
	if kind, name, ok := strings.Cut(text, "/"); ok {
		cfg.Kind, cfg.Name = Kind(strings.ToLower(kind)), name
	}
	return cfg, checkName(cfg.Kind, cfg.Name)
}
