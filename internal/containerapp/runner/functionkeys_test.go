package runner

import (
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
)

func TestAFunctionAppsHostFindsItsKeysAsFiles(t *testing.T) {
	secrets := map[string]string{"host-master": "m", "host-function-default": "d", "host-systemkey-eventgrid": "e", "functions-my-hook-default": "f",
		"db": "no key", "functions-": "", "functions-x": "", "host-function-": ""}
	spec := func() engine.Spec {
		return engine.Spec{Init: []engine.Container{{Name: "init"}}, Main: []engine.Container{{Name: "host"}, {Name: "beside"}}}
	}
	app := containerapp.App{}
	app.Properties.EnvironmentID = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.App/managedEnvironments/env"
	for kind, want := range map[string]bool{"": false, "workflowapp": false, "functionapp": true, "FunctionApp,linux,container": true, "notafunctionapp": false} {
		s := spec()
		app.Resource.Kind = kind
		withFunctionKeys(&s, app, secrets)
		if !want {
			if fmt.Sprint(s) != fmt.Sprint(spec()) {
				t.Errorf("%q: %+v", kind, s)
			}
			continue
		}
		var files []string
		for _, f := range s.Volumes[0].Files {
			files = append(files, f.Path+"="+string(f.Data))
		}
		if got := strings.Join(files, " "); got != "functions.my-hook.default=f host.function.default=d host.master=m host.systemKey.eventgrid=e" {
			t.Errorf("%q: files %s", kind, got)
		}
		if got := fmt.Sprint(s.Main[0].Mounts, s.Main[0].Env); got != "[{functions-keys /run/secrets/functions-keys  true}] [{AzureWebJobsSecretStorageType ContainerApps false} {MANAGED_ENVIRONMENT env false}]" {
			t.Errorf("%q: %s", kind, got)
		}
		if len(s.Main[1].Mounts)+len(s.Init[0].Mounts)+len(s.Main[1].Env) != 0 {
			t.Errorf("%q: other containers see the keys: %+v", kind, s)
		}
	}
	app.Resource.Kind = "functionapp"
	for name, own := range map[string]func(*engine.Spec){
		"a volume of that name": func(s *engine.Spec) { s.Volumes = []engine.Volume{{Name: keysVolume}} },
		"the folder":            func(s *engine.Spec) { s.Main[0].Mounts = []engine.Mount{{Volume: "v", Path: keysPath + "/"}} },
		"a folder above":        func(s *engine.Spec) { s.Main[0].Mounts = []engine.Mount{{Volume: "v", Path: "/run/secrets"}} },
	} {
		s, was := spec(), spec()
		own(&s)
		own(&was)
		if withFunctionKeys(&s, app, secrets); fmt.Sprint(s) != fmt.Sprint(was) {
			t.Errorf("%s of the app's own became %+v", name, s)
		}
	}
	s := spec()
	s.Main[0].Env = []engine.Env{{Name: keysSetting, Value: "files"}}
	if withFunctionKeys(&s, app, secrets); s.Main[0].Env[0].Value != "files" || len(s.Main[0].Env) != 2 {
		t.Errorf("the app's own choice of a store: %+v", s.Main[0].Env)
	}
}
