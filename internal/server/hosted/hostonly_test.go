package hosted

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/telemetry"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/child"
)

// What protects the keys must not come to light by being referred to.
func TestHostOnlySettingsCannotBeReferredTo(t *testing.T) {
	const secret = "0F75CA46E7EBDD39E4CA6B074D1F9A5972B849A55F91A248"
	dir := t.TempDir()
	for name, text := range map[string]string{
		"host.json": `{"version":"2.0"}`,
		"tick/function.json": `{"bindings":[{"type":"timerTrigger","name":"t","direction":"in","schedule":"%AzureWebEncryptionKey%"},
			{"type":"queue","name":"$return","direction":"out","queueName":"%azurewebencryptionkey%","connection":"AzureWebEncryptionKey"}]}`,
		"tick/index.js": ``,
		"w/test/worker.config.json": `{"description":{"language":"test","extensions":[],"defaultExecutablePath":"/bin/%AzureWebEncryptionKey%","arguments":["%AzureWebEncryptionKey%","%MINE%"]},
			"profiles":[{"profileName":"guess","conditions":[{"conditionType":"environment","conditionName":"AzureWebEncryptionKey","conditionExpression":"."}],"description":{"workerArguments":["guessed"]}}]}`,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := Settings{"AzureWebEncryptionKey": secret, "MINE": "mine", "FUNCTIONS_WORKER_RUNTIME": "test", "languageWorkers__workersDirectory": filepath.Join(dir, "w")}
	m, err := LoadModel(dir, s)
	if err != nil {
		t.Fatal(err)
	}
	a := &App{cfg: Config{Dir: dir, Settings: s, Log: slog.New(slog.DiscardHandler), Credential: &child.Credential{UID: 1, GID: 1}}}
	runtime, err := a.runtime(m)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(runtime.Arguments, " ") != "%AzureWebEncryptionKey% mine" || len(runtime.WorkerArguments) > 0 {
		t.Errorf("the worker is given %q %q", runtime.Arguments, runtime.WorkerArguments)
	}
	shown, err := json.Marshal([]any{m.Functions, m.App.Faults, runtime})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(shown), secret) {
		t.Errorf("the key came to light: %s", shown)
	}
	if m.Settings["AzureWebEncryptionKey"] != secret {
		t.Error("the host has lost its setting")
	}
}

// The names of a metric's properties are the function's choice.
func TestAWorkersPropertiesDoNotPassForTheHostsOwn(t *testing.T) {
	var out bytes.Buffer
	a := &App{cfg: Config{Log: telemetry.NewLogger(&out, telemetry.JSON, slog.LevelInfo).With("app", "mine")}}
	a.logWorker(worker.LogLine{Level: "info", Message: "m", Source: "metric", Properties: map[string]string{"app": "another", "level": "ERROR", "msg": "forged", "Name": "orders", "Value": "7"}})
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	if p, _ := line["properties"].(map[string]any); p["Name"] != "orders" || p["Value"] != "7" || p["app"] != "another" {
		t.Errorf("the properties are %v", line["properties"])
	}
	if line["app"] != "mine" || line["level"] != "INFO" || line["msg"] != "m" || !strings.Contains(out.String(), "forged") {
		t.Errorf("the line is %s", out.String())
	}
}
