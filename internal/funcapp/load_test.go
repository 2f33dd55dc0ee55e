package funcapp

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/problem"
)

var update = flag.Bool("update", false, "rewrite golden files")

// appDir writes files into a fresh app folder.
func appDir(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func load(t *testing.T, root string, env Env) *App {
	t.Helper()
	app, err := Load(root, env)
	if err != nil {
		t.Fatal(err)
	}
	return app
}

// show writes faults one per line.
func show(faults []Fault) string {
	var b strings.Builder
	for _, f := range faults {
		fmt.Fprintf(&b, "%s:%d: [%s] %s", f.File, f.Line, f.Function, f.Message)
		if f.Next != "" {
			fmt.Fprintf(&b, " -> %s", f.Next)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func allFaults(app *App) string {
	s := show(app.Faults)
	for _, f := range app.Functions {
		s += show(f.Faults)
	}
	return s
}

const (
	plainHost = `{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": "handler"}}}`
	plainHTTP = `{"bindings": [{"type": "httpTrigger", "name": "req"}, {"type": "http", "name": "res", "direction": "out"}]}`
)

func TestLoadReadsAnAppWithEverything(t *testing.T) {
	app := load(t, "testdata/good", Env{"HANDLER": "serve", "mode": "test", "AzureWebJobs.hello.Disabled": "1"})
	if s := allFaults(app); s != "" {
		t.Fatal(s)
	}
	root, _ := filepath.Abs("testdata/good")
	app.Host.Raw = nil
	want := HostConfig{
		FunctionTimeout: 10 * time.Minute,
		HTTP: HTTPConfig{
			RoutePrefix: "v1", MaxOutstandingRequests: 200, MaxConcurrentRequests: 100, DynamicThrottles: true,
			CustomHeaders: map[string]string{"X-Content-Type-Options": "nosniff"},
			HSTS:          &HSTS{MaxAge: 240 * time.Hour, IncludeSubDomains: true, ExcludedHosts: []string{"localhost", "127.0.0.1", "[::1]"}},
		},
		Queues: QueuesConfig{BatchSize: 8, NewBatchThreshold: 4, MaxPollingInterval: time.Minute, MaxDequeueCount: 5, MessageEncoding: EncodingBase64},
		CustomHandler: &CustomHandler{
			Executable: "bin/serve", Arguments: []string{"--mode=test", "100%"}, WorkingDirectory: filepath.Join(root, "bin"), Forward: true,
		},
		Retry:                   &Retry{Strategy: "fixedDelay", MaxRetryCount: 2},
		WatchDirectories:        []string{"node_modules", "shared"},
		WatchFiles:              []string{"app.yaml"},
		LogLevels:               map[string]string{"default": "Warning", "Function.Hello": "Debug"},
		SendCanceledInvocations: true,
		ExtensionBundle:         &ExtensionBundle{"Microsoft.Azure.Functions.ExtensionBundle", "[4.*, 5.0.0)"},
	}
	if diff := cmp.Diff(want, app.Host); diff != "" {
		t.Error(diff)
	}
	for i := range app.Functions {
		app.Functions[i].Config = nil
	}
	wantFunctions := []Function{
		{Name: "Hello", Directory: root + "/Hello", Language: "custom", Disabled: true, Retry: want.Retry, Bindings: []Binding{
			{Name: "req", Type: "httpTrigger", Properties: map[string]any{}, HTTP: &HTTPTrigger{Route: "Hello", Methods: []string{"GET", "POST"}}},
			{Name: "res", Type: "http", Direction: Out, Properties: map[string]any{}},
		}},
		{Name: "orders", Directory: root + "/orders", Language: "custom", Bindings: []Binding{
			{Name: "req", Type: "httpTrigger", Properties: map[string]any{},
				HTTP: &HTTPTrigger{Route: "orders/{id:int?}/%MODE%", HasRoute: true, AuthLevel: LevelFunction}},
			{Name: "$return", Type: "http", Direction: Out, Properties: map[string]any{}},
		}, Retry: &Retry{Strategy: "exponentialBackoff", MaxRetryCount: -1, MinimumInterval: time.Second, MaximumInterval: time.Minute}},
		{Name: "Queue", Directory: root + "/Queue", Language: "custom", Retry: want.Retry, Bindings: []Binding{
			{Name: "item", Type: "queueTrigger", DataType: "binary", Connection: "Store", Properties: map[string]any{"queuename": "in-test", "poll": jsonNumber("5")}},
		}},
	}
	if diff := cmp.Diff(wantFunctions, app.Functions); diff != "" {
		t.Error(diff)
	}
}

func TestLoadReportsEveryFaultOfABrokenApp(t *testing.T) {
	got := allFaults(load(t, "testdata/broken", nil))
	const golden = "testdata/broken.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

func TestLoadFailsOnlyWithoutAFolder(t *testing.T) {
	root := appDir(t, map[string]string{"host.json": plainHost})
	for path, kind := range map[string]problem.Kind{root + "/nowhere": problem.NotFound, root + "/host.json": problem.Invalid, root + "/host.json/x": problem.Invalid} {
		if _, err := Load(path, nil); !errors.Is(err, kind) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// oneFault says that an app has exactly one fault, holding text.
func oneFault(t *testing.T, app *App, text string) {
	t.Helper()
	got := allFaults(app)
	if strings.Count(got, "\n") != 1 || !strings.Contains(got, text) {
		t.Errorf("faults are %q, want one with %q", got, text)
	}
}

func TestHostJSONFaults(t *testing.T) {
	for _, tt := range []struct {
		name, host, want string
		env              Env
	}{
		{name: "syntax", host: "{\n\"version\": \"2.0\",\n!}", want: "host.json:3: [] is not valid JSON"},
		{name: "no version", host: "{\n}", want: "host.json:1: [] host.json has no version"},
		{name: "version as number", host: `{"version": 2.0}`, want: `must be the text "2.0", it is "2.0"`},
		{name: "not an object", host: `[]`, want: "content must be an object"},
		{name: "null", host: `null`, want: "content must be an object"},
		{name: "empty", host: ``, want: "is empty"},
		{name: "too deep", host: `{"version":"2.0","x":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`, want: "nested deeper than 64"},
		{name: "too large", host: `{"version":"2.0"}` + strings.Repeat(" ", maxFileSize), want: "larger than 1 MiB"},
		{name: "not UTF-8", host: "{\"version\":\n\"\xff\"}", want: "host.json:2: [] is not UTF-8"},
		{name: "unclosed comment", host: "{\n/* \"version\": \"2.0\"}", want: "host.json:2: [] is not valid JSON"},
		{name: "setting", host: plainHost, env: Env{"AzureFunctionsJobHost__functionTimeout": "soon"}, want: ":0: [] setting AzureFunctionsJobHost__functionTimeout: functionTimeout must"},
		{name: "handler without program", host: "{\"version\": \"2.0\", \"customHandler\":\n {\"port\": 1}}", want: "host.json:2: [] customHandler.description.defaultExecutablePath is missing"},
		{name: "handler with unset variable", host: strings.Replace(plainHost, `"handler"`, `"%A%/x"`, 1), want: "%A% does not resolve"},
		{name: "no handler", host: `{"version": "2.0"}`, env: Env{"FUNCTIONS_WORKER_RUNTIME": "Custom"}, want: "no customHandler"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			app := load(t, appDir(t, map[string]string{"host.json": tt.host, "f/function.json": plainHTTP, "f/run.js": ""}), tt.env)
			oneFault(t, app, tt.want)
			if len(app.Faults) != 1 || len(app.Functions) != 1 {
				t.Errorf("app faults %v, functions %v", app.Faults, app.Functions)
			}
		})
	}
}

func TestWithoutHostJSONDefaultsApply(t *testing.T) {
	app := load(t, appDir(t, map[string]string{"f/function.json": plainHTTP, "f/run.js": ""}), nil)
	if s := allFaults(app); s != "" || app.Host.HTTP.RoutePrefix != "api" || app.Host.FunctionTimeout != 30*time.Minute {
		t.Errorf("faults %q, host %+v", s, app.Host)
	}
	oneFault(t, load(t, t.TempDir(), nil), "is this a function app folder?")
}

func TestSettingsOverrideHostJSON(t *testing.T) {
	host := `{"version": "2.0", "functionTimeout": "00:01:00", "functions": ["a", "b"],
		"extensions": {"http": {"routePrefix": "api", "customHeaders": {"X-A": "1"}}}}`
	app := load(t, appDir(t, map[string]string{"host.json": host}), Env{
		"AzureFunctionsJobHost__extensions__HTTP__routePrefix":         "",
		"azurefunctionsjobhost:functionTimeout":                        "-1",
		"AzureFunctionsJobHost__functions__1":                          "c",
		"AzureFunctionsJobHost__functions__2":                          "d",
		"AzureFunctionsJobHost__extensions__http__customHeaders__x-a":  "2",
		"AzureFunctionsJobHost__logging__logLevel__Host.Results":       "none",
		"AzureFunctionsJobHost__SequentialRestart":                     "True",
		"AzureFunctionsJobHost__extensions":                            "a section has no value of its own",
		"AzureFunctionsJobHost__customHandler__description__arguments": "[]",
		"AzureFunctionsJobHost__watchDirectories__0":                   "lib",
		"AzureFunctionsJobHost__":                                      "no name",
		"AzureFunctionsJobHost__version":                               "1.0",
	})
	h := app.Host
	got := fmt.Sprint(h.HTTP.RoutePrefix, h.FunctionTimeout, h.Functions, h.HTTP.CustomHeaders, h.LogLevels, h.SequentialRestart, h.WatchDirectories)
	if want := "0s [a c d] map[X-A:2] map[Host.Results:None] true [node_modules lib]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFunctionNames(t *testing.T) {
	long := strings.Repeat("a", 128)
	for name, ok := range map[string]bool{
		"a": true, "A-b_9": true, long: true,
		"": false, "9a": false, "_a": false, "a.b": false, "..": false, "a/b": false, "a b": false, "host": false, "Host": false, "hosts": true,
		long + "a": false, strings.Repeat("a", 300): false, "a\x00": false, "a\n": false, "\u202eab": false, "é": false,
	} {
		if err := ValidName(name); (err == nil) != ok || !ok && !errors.Is(err, problem.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestOddFolderNamesAreFaultsThatPrintSafely(t *testing.T) {
	for _, folder := range []string{"a b", "x\u202egnp", "line\nbreak", "bad\xff", "host", ".hidden"} {
		app := load(t, appDir(t, map[string]string{"host.json": plainHost, folder + "/function.json": plainHTTP}), nil)
		got := allFaults(app)
		if strings.Count(got, "\n") != 1 || strings.Contains(got, "\u202e") || strings.Contains(got, "\xff") || !strings.Contains(got, "rename the folder") {
			t.Errorf("folder %q gives %q", folder, got)
		}
	}
}

func TestLinksMayNotLeadOutOfTheApp(t *testing.T) {
	outside := appDir(t, map[string]string{"f/function.json": plainHTTP, "f/run.js": ""})
	root := appDir(t, map[string]string{"host.json": `{"version": "2.0"}`, "real/function.json": plainHTTP, "real/run.js": "", "third/function.json": plainHTTP})
	for link, target := range map[string]string{"in": "real", "out": outside + "/f", "third/index.js": outside + "/f/run.js"} {
		if err := os.Symlink(target, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	app := load(t, root, nil)
	want := "out/function.json:0: [out] is a link that leads out of the app folder -> copy the folder into the app\n" +
		"third/function.json:0: [third] scriptFile is a link that leads out of the app folder -> copy the script into the app\n"
	if diff := cmp.Diff(want, allFaults(app)); diff != "" || len(app.Functions) != 4 {
		t.Error(diff)
	}
}

func TestNamesThatDifferInCaseOnlyAreAFaultOfTheLater(t *testing.T) {
	root := appDir(t, map[string]string{"host.json": plainHost, "Case/function.json": plainHTTP, "case/function.json": plainHTTP})
	app := load(t, root, nil)
	if len(app.Functions) != 2 {
		t.Skip("the file system ignores case")
	}
	oneFault(t, app, "case/function.json:0: [case] the name differs from function Case in case only")
}

func TestAPipeInPlaceOfAFileDoesNotHang(t *testing.T) {
	root := appDir(t, map[string]string{"host.json": plainHost, "f/x": ""})
	if err := syscall.Mkfifo(filepath.Join(root, "f/function.json"), 0o600); err != nil {
		t.Fatal(err)
	}
	oneFault(t, load(t, root, nil), "not a regular file")
}

func TestScriptIsFound(t *testing.T) {
	for _, tt := range []struct {
		name, function, want string
		files                []string
	}{
		{"given", `"scriptFile": "lib/a.js",`, "f/lib/a.js", []string{"f/lib/a.js", "f/index.js"}},
		{"given beside", `"scriptFile": "..\\dist\\a.js",`, "dist/a.js", []string{"dist/a.js"}},
		{"only other file", "", "f/thing.py", []string{"f/thing.py"}},
		{"run before index", "", "f/run.ps1", []string{"f/index.js", "f/run.ps1"}},
		{"index before init", "", "f/index.mjs", []string{"f/__init__.py", "f/index.mjs", "f/z.txt"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{"host.json": `{"version": "2.0"}`,
				"f/function.json": `{` + tt.function + `"bindings": [{"type": "httpTrigger", "name": "req"}]}`}
			for _, f := range tt.files {
				files[f] = ""
			}
			root := appDir(t, files)
			app := load(t, root, nil)
			if s := allFaults(app); s != "" || app.Functions[0].ScriptFile != filepath.Join(root, tt.want) {
				t.Errorf("script %q, faults %q", app.Functions[0].ScriptFile, s)
			}
		})
	}
	app := load(t, appDir(t, map[string]string{"host.json": `{"version": "2.0"}`, "f/function.json": plainHTTP, "f/a.txt": "", "f/b.txt": ""}), nil)
	oneFault(t, app, "no script")
}

func TestDisabledBySettingOrByTheOldMember(t *testing.T) {
	for _, tt := range []struct {
		member string
		env    Env
		want   bool
	}{
		{"", nil, false},
		{"", Env{"AzureWebJobs.My-fn.Disabled": "true"}, true},
		{"", Env{"AZUREWEBJOBS_my-FN_DISABLED": "TRUE"}, true},
		{"", Env{"AzureWebJobs.My-fn.Disabled": "0"}, false},
		{"", Env{"AzureWebJobs.Other.Disabled": "1"}, false},
		{`"disabled": true,`, nil, true},
		{`"disabled": false,`, nil, false},
		{`"disabled": "OFF",`, Env{"off": "1"}, true},
		{`"disabled": "OFF",`, nil, false},
		{`"disabled": true,`, Env{"AzureWebJobs.My-fn.Disabled": "false"}, true},
	} {
		function := strings.Replace(plainHTTP, "{", "{"+tt.member, 1)
		app := load(t, appDir(t, map[string]string{"host.json": plainHost, "My-fn/function.json": function}), tt.env)
		if s := allFaults(app); s != "" || app.Functions[0].Disabled != tt.want {
			t.Errorf("%s with %v: disabled is %v, faults %q", tt.member, tt.env, app.Functions[0].Disabled, s)
		}
	}
}

func TestTheAllowListExcludesTheOthers(t *testing.T) {
	host := strings.Replace(plainHost, "{", `{"functions": ["B", "unknown"],`, 1)
	app := load(t, appDir(t, map[string]string{"host.json": host, "a/function.json": plainHTTP, "b/function.json": plainHTTP}), nil)
	if !app.Functions[0].Excluded || app.Functions[1].Excluded || app.Functions[0].Runnable() || !app.Functions[1].Runnable() {
		t.Errorf("%+v", app.Functions)
	}
}

func TestFaultsNeverShowSettingValues(t *testing.T) {
	const secret = "s3cr3t-value"
	root := appDir(t, map[string]string{"host.json": plainHost,
		"f/function.json": `{"bindings": [{"type": "queueTrigger", "name": "q", "queueName": "%A%%", "connection": "%A%x%"}]}`})
	app := load(t, root, Env{"A": secret, "AzureFunctionsJobHost__retry": secret, "AzureFunctionsJobHost__functionTimeout": secret,
		"AzureFunctionsJobHost__extensions__http__customHeaders__X-A": secret + "\n"})
	got := allFaults(app)
	if strings.Contains(got, secret) || strings.Count(got, "\n") != 5 {
		t.Error(got)
	}
}

func TestNamesSortByUpperCase(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"a", "B", -1}, {"ab", "a_b", -1}, {"Ab", "aB", 0}, {"a", "ab", -1}, {"a-b", "ab", -1}, {"a10", "a9", -1}} {
		if got := CompareNames(tt.a, tt.b); got != tt.want || CompareNames(tt.b, tt.a) != -tt.want {
			t.Errorf("%s %s: %d", tt.a, tt.b, got)
		}
	}
}
