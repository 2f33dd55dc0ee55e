package nodeapp

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/test/azurite"
)

// filesOf gives the files of a folder without installed packages, by path.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == "node_modules" || e.Name() == ".latchkey"):
			return filepath.SkipDir
		case e.IsDir():
			return nil
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestTheExampleRuns(t *testing.T) {
	storage := azurite.Start(t, azurite.Options{Queues: true})
	h := run(t, app{
		files:    filesOf(t, "../../examples/hello-node"),
		settings: map[string]string{"AzureWebJobsStorage": storage.ConnectionString()},
	})
	key := h.HostKey(t)
	wantBody(t, h.Get(t, "/api/hello/Ada", key).WantStatus(t, 200), `{"message":"Hello, Ada!"}`)
	h.Get(t, "/api/hello/Ada", "").WantStatus(t, 401)
	h.Send(t, testkit.Request{Method: "POST", Path: "/api/later/Grace", Key: key}).WantStatus(t, 202)
	wantLog(t, h, "greeted Grace, try 1", "tick")
}

func TestStockWorkersAreUsedWhereTheyAre(t *testing.T) {
	dir := os.Getenv("LATCHKEY_TEST_WORKERS_DIR")
	if dir == "" {
		t.Skip("LATCHKEY_TEST_WORKERS_DIR is not set: it names a directory with language workers, each in a folder with worker.config.json")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	python := map[string]string{"function_app.py": "import azure.functions as func\napp = func.FunctionApp()\n" +
		"@app.route(route='one', auth_level=func.AuthLevel.ANONYMOUS)\ndef one(req: func.HttpRequest) -> func.HttpResponse:\n    return func.HttpResponse('one')\n"}
	for language, files := range map[string]map[string]string{
		"node":   {"package.json": `{"main":"index.js"}`, "index.js": hello("", "one")},
		"python": python,
	} {
		t.Run(language, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join(dir, language, "worker.config.json")); err != nil {
				t.Skip("there is no " + language + " worker in LATCHKEY_TEST_WORKERS_DIR")
			}
			h := run(t, app{files: files, settings: map[string]string{"FUNCTIONS_WORKER_RUNTIME": language, "languageWorkers__workersDirectory": dir}})
			wantBody(t, h.Get(t, "/api/one", "").WantStatus(t, 200), "one")
		})
	}
}
