package nodeapp

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/testkit"
)

// hello is a function that answers with a text, in either kind of module.
func hello(kind, name string) string {
	head := "const { app } = require('@azure/functions');\n"
	if kind == "module" {
		head = "import { app } from '@azure/functions';\n"
	}
	return head + "app.http('" + name + "', { authLevel: 'anonymous', handler: async () => ({ body: '" + name + "' }) });\n"
}

func TestCodeIsFoundWhereItIs(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		runs  []string
	}{
		{"CommonJS", map[string]string{"package.json": `{"main":"src/index.js"}`, "src/index.js": hello("", "one")}, []string{"one"}},
		{"main without an extension", map[string]string{"package.json": `{"main":"./src"}`, "src/index.js": hello("", "one")}, []string{"one"}},
		{"ES modules by extension", map[string]string{"package.json": `{"main":"index.mjs"}`, "index.mjs": hello("module", "one")}, []string{"one"}},
		{"ES modules by type, awaiting at the top", map[string]string{
			"package.json": `{"type":"module","main":"src/*.js"}`,
			"src/a.js":     "await new Promise((done) => setTimeout(done, 20));\n" + hello("module", "one"),
			"src/b.js":     "import './a.js';\n" + hello("module", "two"),
		}, []string{"one", "two"}},
		{"CommonJS in a package of type module", map[string]string{"package.json": `{"type":"module","main":"index.cjs"}`, "index.cjs": hello("", "one")}, []string{"one"}},
		{"what TypeScript makes, with a byte order mark", map[string]string{
			"package.json":               "\uFEFF" + `{"main":"dist/src/{index.js,functions/*.js}"}`,
			"dist/src/index.js":          "\"use strict\";\nObject.defineProperty(exports, \"__esModule\", { value: true });\nconst functions_1 = require(\"@azure/functions\");\nfunctions_1.app.setup({ enableHttpStream: false });\n//# sourceMappingURL=index.js.map",
			"dist/src/functions/one.js":  hello("", "one"),
			"dist/src/functions/two.js":  hello("", "two"),
			"dist/src/functions/two.map": "{}",
			"dist/src/other/three.js":    hello("", "three"),
		}, []string{"one", "two"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := run(t, app{files: tc.files})
			for _, name := range tc.runs {
				wantBody(t, h.Get(t, "/api/"+name, ""), name)
			}
			if got := len(h.Node.Instance().Model().Functions); got != len(tc.runs) {
				t.Errorf("functions: %d", got)
			}
		})
	}
}

func classicFunction(more string) string {
	return `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous","route":"{id?}"},` +
		`{"type":"http","direction":"out","name":"res"}]` + more + `}`
}

func routed(name, more string) string {
	return strings.Replace(classicFunction(more), `"{id?}"`, `"`+name+`/{id?}"`, 1)
}

func TestAppsOfFunctionJSONFilesRunWithoutAnyPackage(t *testing.T) {
	returns := `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous"},{"type":"http","direction":"out","name":"$return"}]}`
	h := run(t, app{bare: true, files: map[string]string{
		"package.json":          `{"name":"classic","main":"index.js"}`, // which nobody wrote
		"res/function.json":     routed("res", ""),
		"res/index.js":          `module.exports = async function (context, req) { context.res = { status: 201, headers: { 'x-a': 'b' }, body: { id: req.params.id, q: req.query.q, raw: req.rawBody } }; };`,
		"done/function.json":    routed("done", ""),
		"done/index.js":         `module.exports = function (context) { setImmediate(() => { context.bindings.res = { body: 'done' }; context.done(); }); };`,
		"send/function.json":    routed("send", ""),
		"send/index.js":         `module.exports = async (context) => { context.res.status(202).set('x-sent', '1').send('sent'); };`,
		"return/function.json":  returns,
		"return/index.js":       `module.exports = async () => ({ status: 203, body: 'returned' });`,
		"named/function.json":   routed("named", `,"scriptFile":"../dist/all.js","entryPoint":"second"`),
		"dist/all.js":           `exports.first = async (c) => { c.res = { body: 'first' }; }; exports.second = async (c) => { c.res = { body: 'second' }; };`,
		"runs/function.json":    routed("runs", ""),
		"runs/index.js":         `exports.other = 1; exports.run = async (c) => { c.res = { body: 'run' }; };`,
		"object/function.json":  routed("object", ""),
		"object/index.js":       `class It { constructor() { this.text = 'this'; } async index(c) { c.res = { body: this.text }; } other() {} }; module.exports = new It(); module.exports.index = It.prototype.index; module.exports.other = 2;`,
		"module/function.json":  routed("module", `,"scriptFile":"index.mjs"`),
		"module/index.mjs":      `export default async function (context, req) { context.res = { body: 'module' }; }`,
		"number/function.json":  routed("number", ""),
		"number/index.js":       `module.exports = async (context) => { context.res = { status: '202', body: 5 }; };`,
		"throws/function.json":  routed("throws", ""),
		"throws/index.js":       `module.exports = async () => { throw new Error('classic trouble'); };`,
		"failed/function.json":  routed("failed", ""),
		"failed/index.js":       `module.exports = (context) => { context.done(new Error('done with trouble')); };`,
		"nothing/function.json": routed("nothing", ""),
		"nothing/index.js":      `exports.a = 1; exports.b = 2;`,
	}})
	a := h.Send(t, testkit.Request{Method: "POST", Path: "/api/res/7?q=1", Body: "text"}).WantStatus(t, 201)
	wantBody(t, a, "{\n  \"id\": \"7\",\n  \"q\": \"1\",\n  \"raw\": \"text\"\n}")
	for path, want := range map[string]string{"done": "done", "send": "sent", "return": "returned", "named": "second",
		"runs": "run", "object": "this", "module": "module", "number": "5"} {
		wantBody(t, h.Get(t, "/api/"+path, ""), want)
	}
	h.Get(t, "/api/throws", "").WantStatus(t, 500).WantEmpty(t)
	h.Get(t, "/api/failed", "").WantStatus(t, 500).WantEmpty(t)
	h.Get(t, "/api/nothing", "").WantStatus(t, 500).WantEmpty(t)
	wantLog(t, h, "classic trouble", "throws/index.js:1", "done with trouble", "nothing", "Export one function")
}

func TestProcessesSeeTheirEnvironment(t *testing.T) {
	a := v4(`app.http('env', { authLevel: 'anonymous', handler: async () => ({ jsonBody: {
	  pid: process.pid, cwd: process.cwd(), mine: process.env.MINE, dir: process.env.FUNCTIONS_APPLICATION_DIRECTORY } }) });`)
	a.settings = map[string]string{"MINE": "ä=1", "FUNCTIONS_WORKER_PROCESS_COUNT": "2"}
	h := run(t, a)
	pids := map[int]bool{}
	if !eventually(t.Context(), func() bool {
		var got struct {
			PID            int
			CWD, Mine, Dir string
		}
		if err := json.Unmarshal([]byte(h.Get(t, "/api/env", "").Body), &got); err != nil {
			t.Fatal(err)
		}
		if got.CWD != h.Dir || got.Mine != "ä=1" || got.Dir != h.Dir {
			t.Fatalf("a process sees %+v", got)
		}
		pids[got.PID] = true
		return len(pids) == 2
	}) {
		t.Errorf("processes that answered: %v", pids)
	}
}

func TestOnlyTheNamedFunctionsRun(t *testing.T) {
	h := run(t, app{
		files:  map[string]string{"package.json": `{"main":"*.js"}`, "one.js": hello("", "one"), "two.js": hello("", "two")},
		adjust: func(cfg *server.Config) { cfg.Functions = []string{"ONE", "none"} },
	})
	wantBody(t, h.Get(t, "/api/one", ""), "one")
	h.Get(t, "/api/two", "").WantStatus(t, 404)
	wantLog(t, h, "the app has no function of a name that was asked for", "name=none")
}
