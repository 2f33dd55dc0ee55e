package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker/rpc/config"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// place makes a directory with a node worker that says text, and a go worker.
func place(t *testing.T, text string, settings map[string]string) (*config.Place, string) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "node", "worker.config.json"), text)
	write(t, filepath.Join(dir, "node", "dist", "index.js"), "")
	write(t, filepath.Join(dir, "node", "LINUX", "X64", "3.11", "w.js"), "")
	write(t, filepath.Join(dir, "go", "worker.config.json"), `{"description":{"language":"golang","extensions":[],"defaultExecutablePath":"x"}}`)
	write(t, filepath.Join(dir, "notes", "readme"), "")
	return &config.Place{Setting: func(n string) string { return settings[n] }, Directories: []string{dir}, OS: "linux", Arch: "amd64", AppDirectory: t.TempDir()}, dir
}

func TestAFileIsReadInFull(t *testing.T) {
	p, dir := place(t, "\ufeff"+`{
		"Description": {"language": "node", "extensions": [".js"], "defaultExecutablePath": "%EXE%", "defaultWorkerPath": "{os}/{architecture}/%FUNCTIONS_WORKER_RUNTIME_VERSION%/w.js",
			"defaultRuntimeName": "nodejs", "defaultRuntimeVersion": "3.10", "supportedRuntimeVersions": ["3.10", "3.11"], "supportedOperatingSystems": ["LINUX"], "supportedArchitectures": ["x64"],
			"arguments": ["-a", "{workerDirectoryPath}/x"], "workerArguments": ["-w"], "workerIndexing": "true", "useStdErrorStreamForErrorsOnly": true},
		"processOptions": {"processCount": 2, "maxProcessCount": 4, "processStartupInterval": "00:00:01", "processStartupTimeout": "00:01:00", "initializationTimeout": "00:02:00",
			"environmentReloadTimeout": "00:00:03", "processRestartInterval": "00:00:04", "processShutdownTimeout": "00:00:05"}}`,
		map[string]string{"EXE": "/bin/node", "FUNCTIONS_WORKER_RUNTIME_VERSION": "3.11", "languageWorkers__node__arguments": " -x  -y"})
	got, err := p.Find("NODE")
	if err != nil {
		t.Fatal(err)
	}
	node := filepath.Join(dir, "node")
	want := &config.Worker{
		Language: "node", Directory: node, Executable: "/bin/node", Path: filepath.Join(node, "LINUX/X64/3.11/w.js"),
		Arguments: []string{"-a", node + "/x", "-x", "-y"}, WorkerArguments: []string{"-w"}, Extensions: []string{".js"},
		RuntimeName: "nodejs", RuntimeVersion: "3.11", Indexes: true, ErrorsOnlyOnStderr: true,
		Process: config.Process{Count: 2, MaxCount: 4, StartupInterval: time.Second, StartupTimeout: time.Minute, InitTimeout: 2 * time.Minute,
			ReloadTimeout: 3 * time.Second, RestartInterval: 4 * time.Second, ShutdownTimeout: 5 * time.Second},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

const simple = `{"description": {"language": "node", "extensions": [".js"], "defaultExecutablePath": "node", "defaultWorkerPath": "dist/index.js"}`

func TestSettingsChangeWhatAFileSays(t *testing.T) {
	profile := simple + `, "profiles": [
		{"profileName": "other", "conditions": [{"conditionType": "environment", "conditionName": "MODE", "conditionExpression": "^slow$"}], "description": {"defaultExecutablePath": "slow"}},
		{"profileName": "this", "conditions": [{"conditionType": "environment", "conditionName": "MODE", "conditionExpression": "^fast"}], "description": {"defaultExecutablePath": "fast", "workerIndexing": "true"}}]}`
	tests := []struct {
		name     string
		text     string
		settings map[string]string
		want     func(*config.Worker) bool
	}{
		{"defaults", simple + "}", nil, func(w *config.Worker) bool {
			return w.Process == config.DefaultProcess() && !w.Indexes && w.Executable == "node"
		}},
		{"executable", simple + "}", map[string]string{"languageWorkers:node:defaultExecutablePath": "/n"}, func(w *config.Worker) bool { return w.Executable == "/n" }},
		{"process count", simple + "}", map[string]string{config.CountSetting: "3"}, func(w *config.Worker) bool { return w.Process.Count == 3 }},
		{"process count below one", simple + "}", map[string]string{config.CountSetting: "0"}, func(w *config.Worker) bool { return w.Process.Count == 1 }},
		{"profile", profile, map[string]string{"MODE": "fastest"}, func(w *config.Worker) bool { return w.Executable == "fast" && w.Indexes && w.Path != "" }},
		{"no profile holds", profile, nil, func(w *config.Worker) bool { return w.Executable == "node" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := place(t, tt.text, tt.settings)
			w, err := p.Find("node")
			if err != nil {
				t.Fatal(err)
			}
			if !tt.want(w) {
				t.Errorf("worker %+v", w)
			}
		})
	}
}

func TestAWorkerThatCannotBeUsedSaysWhy(t *testing.T) {
	description := func(rest string) string {
		return `{"description": {"language": "node", "extensions": [".js"], "defaultExecutablePath": "node", ` + rest + `}}`
	}
	tests := []struct {
		name, text string
		settings   map[string]string
		part       string
	}{
		{"no executable", `{"description": {"language": "node", "extensions": []}}`, nil, "defaultExecutablePath is missing"},
		{"no extensions", `{"description": {"language": "node", "defaultExecutablePath": "n"}}`, nil, "extensions is missing"},
		{"disabled", description(`"isDisabled": true`), nil, "disabled"},
		{"missing file", description(`"defaultWorkerPath": "gone.js"`), nil, "gone.js is missing"},
		{"no version", description(`"defaultWorkerPath": "%FUNCTIONS_WORKER_RUNTIME_VERSION%/x"`), nil, "needs a runtime version"},
		{"unsupported version", description(`"supportedRuntimeVersions": ["18", "20"]`), map[string]string{config.VersionSetting: "7"}, `runtime version "7" is not supported; it supports 18, 20`},
		{"unsupported system", description(`"supportedOperatingSystems": ["WINDOWS"], "defaultWorkerPath": "{os}/x"`), nil, "operating system LINUX"},
		{"unsupported architecture", description(`"supportedArchitectures": ["Arm64"], "defaultWorkerPath": "{architecture}/x"`), nil, "architecture X64"},
		{"too many processes", simple + "}", map[string]string{config.CountSetting: "11"}, "11 worker processes are asked for, the worker allows 10"},
		{"bad process count", simple + "}", map[string]string{config.CountSetting: "many"}, config.CountSetting + " must be a whole number"},
		{"zero processes", simple + `, "processOptions": {"processCount": 0}}`, nil, "processCount must be 1 or more"},
		{"bad condition", simple + `, "profiles": [{"profileName": "p", "conditions": [{"conditionType": "moon"}]}]}`, nil, "conditionType"},
		{"bad expression", simple + `, "profiles": [{"profileName": "p", "conditions": [{"conditionType": "environment", "conditionExpression": "("}]}]}`, nil, "conditionExpression"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, _ := place(t, tt.text, tt.settings)
			_, err := p.Find("node")
			if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), tt.part) {
				t.Errorf("error %v, want one with %q", err, tt.part)
			}
		})
	}
}

func TestAWrongNameGivesThoseFoundAndWhere(t *testing.T) {
	p, dir := place(t, simple+"}", nil)
	write(t, filepath.Join(dir, "broken", "worker.config.json"), "{")
	_, err := p.Find("pyhton")
	if problem.KindOf(err) != problem.NotFound || problem.NextOf(err) == "" {
		t.Fatalf("error %v", err)
	}
	for _, part := range []string{`"pyhton"`, `"golang", "node"`, "looked in " + dir, "broken/worker.config.json cannot be understood"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
	_, err = (&config.Place{Directories: []string{"/nowhere/at/all"}}).Find("node")
	if problem.KindOf(err) != problem.NotFound || !strings.Contains(err.Error(), "/nowhere/at/all (cannot be read)") {
		t.Errorf("error %v", err)
	}
}

func TestSettingsNameDirectories(t *testing.T) {
	_, dir := place(t, simple+"}", nil)
	for name, value := range map[string]string{
		"languageWorkers__workersDirectory": dir, "languageWorkers:workersDirectory": dir,
		"languageWorkers__node__workerDirectory": filepath.Join(dir, "node"), "languageWorkers:node:workerDirectory": filepath.Join(dir, "node"),
	} {
		p := &config.Place{Setting: func(n string) string { return map[string]string{name: value}[n] }, Directories: []string{"/nowhere"}}
		if w, err := p.Find("node"); err != nil || w.Directory != filepath.Join(dir, "node") {
			t.Errorf("%s: %+v, %v", name, w, err)
		}
	}
}

func TestCoreToolsAreFoundBesideTheirProgram(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "pkg", "lib", "main.js"), "")
	if err := os.MkdirAll(filepath.Join(root, "pkg", "bin", "workers"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "pkg", "lib", "main.js"), filepath.Join(root, "bin", "func")); err != nil {
		t.Fatal(err)
	}
	got := config.Installed("relative:" + filepath.Join(root, "bin"))
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 || got[0] != filepath.Join(real, "pkg", "bin", "workers") {
		t.Errorf("found %q", got)
	}
}

func FuzzFile(f *testing.F) {
	f.Add(simple + "}")
	f.Add(`{"description":{"language":"node","extensions":[],"defaultExecutablePath":"%A%","sanitizeRuntimeVersionRegex":"("}}`)
	f.Add(`{"processOptions":{"processStartupTimeout":"x"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "w", "worker.config.json"), text)
		w, err := (&config.Place{Directories: []string{dir}}).Find("node")
		if (w == nil) == (err == nil) {
			t.Errorf("%v, %v", w, err)
		}
		if err != nil && problem.KindOf(err) != problem.NotFound && problem.KindOf(err) != problem.Invalid {
			t.Errorf("error %v of another kind", err)
		}
	})
}
