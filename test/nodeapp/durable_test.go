package nodeapp

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/testkit"
	"github.com/latchkey/latchkey/test/witness/node"
)

// cities is the example of orchestrations as it is, with more orchestrators.
func cities(t *testing.T, more string) *testkit.Host {
	t.Helper()
	modules := node.Modules(t)
	files := map[string]string{}
	for _, name := range []string{"host.json", "package.json", "src/functions.js"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "examples", "hello-cities", filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	files["src/functions.js"] += more
	return testkit.Start(t, testkit.App{
		Files: files, Settings: map[string]string{"FUNCTIONS_WORKER_RUNTIME": "node"},
		Configure: func(cfg *server.Config) {
			if err := os.Symlink(modules, filepath.Join(cfg.Dir, "node_modules")); err != nil {
				t.Fatal(err)
			}
		},
	})
}

func TestOrchestrationsOfTheDurableFunctionsPackageRun(t *testing.T) {
	h := cities(t, `
df.app.activity('square', { handler: (n) => n * n });
let tries = 0;
df.app.activity('flaky', { handler: () => { if (++tries < 3) throw new Error('not yet'); return 'ok'; } });
df.app.activity('broken', { handler: () => { throw new Error('always'); } });
df.app.orchestration('fanOut', function* (context) {
    const all = yield context.df.Task.all([...Array(20).keys()].map((n) => context.df.callActivity('square', n)));
    return all.reduce((a, b) => a + b);
});
df.app.orchestration('winners', function* (context) {
    let tasks = [1, 2, 3].map((n) => context.df.callActivity('square', n));
    const got = [];
    while (tasks.length) {
        const w = yield context.df.Task.any(tasks);
        got.push(w.result);
        tasks = tasks.filter((t) => t !== w);
    }
    return [got.sort(), yield context.df.callActivity('square', 4)];
});
df.app.orchestration('timer', function* (context) {
    yield context.df.createTimer(new Date(context.df.currentUtcDateTime.getTime() + 300));
    return 'fired';
});
df.app.orchestration('parent', function* (context) {
    const list = yield context.df.callSubOrchestrator('helloCities');
    return [list.length, yield context.df.callSubOrchestrator('child', { x: 1 })];
});
df.app.orchestration('child', function* (context) { return context.df.getInput().x + 1; });
df.app.orchestration('again', function* (context) {
    const n = context.df.getInput() || 0;
    if (n === 3) return n;
    yield context.df.callActivity('square', n);
    context.df.continueAsNew(n + 1);
});
df.app.orchestration('retry', function* (context) {
    const first = yield context.df.callActivityWithRetry('flaky', new df.RetryOptions(50, 5));
    return [first, yield context.df.callActivity('square', 3)];
});
df.app.orchestration('caught', function* (context) {
    try {
        yield context.df.callActivityWithRetry('broken', new df.RetryOptions(50, 2));
    } catch (e) {
        return e.message.includes('always');
    }
});
df.app.orchestration('fails', function* (context) { yield context.df.callActivity('broken'); });
`)
	const wait = "?timeout=60&pollingInterval=1"
	for name, want := range map[string]string{
		"helloCities": `["Hello Tokyo!","Hello Seattle!","Hello London!"]`,
		"fanOut":      "2470", "winners": "[[1,4,9],16]", "timer": `"fired"`, "parent": "[3,2]", "again": "3",
		"retry": `["ok",9]`, "caught": "true", "fails": `Activity function 'broken' failed`,
	} {
		t.Run(name, func(t *testing.T) {
			a := h.Send(t, testkit.Request{
				Method: http.MethodPost, Path: "/runtime/webhooks/durabletask/orchestrators/" + name + wait, Key: h.SystemKey(t, "durabletask"),
			}).WantStatus(t, 200)
			if !strings.Contains(a.Body, want) {
				t.Errorf("output %s, want %s", a.Body, want)
			}
		})
	}
}

func TestTheDurableClientReachesItsHost(t *testing.T) {
	h := cities(t, `
app.http('approve', {
    route: 'approve', methods: ['POST'], authLevel: 'function', extraInputs: [df.input.durableClient()],
    handler: async (request, context) => {
        const client = df.getClient(context);
        const id = await client.startNew('approval', { instanceId: 'one', input: { a: 1 } });
        await client.raiseEvent(id, 'answer', 'yes');
        const ended = await client.waitForCompletionOrCreateCheckStatusResponse(request, id, { timeoutInMilliseconds: 30000, retryIntervalInMilliseconds: 100 });
        const status = await client.getStatus(id);
        const all = await client.getStatusAll();
        const purged = await client.purgeInstanceHistory(id);
        return { jsonBody: [await ended.json(), status.runtimeStatus, status.input, all.length, purged.instancesDeleted] };
    },
});
`)
	a := h.Send(t, testkit.Request{Method: http.MethodPost, Path: "/api/approve", Key: h.HostKey(t)}).WantStatus(t, 200)
	if a.Body != `["approved","Completed",{"a":1},1,1]` {
		t.Errorf("answer %s", a.Body)
	}
}

// TestFunctionsOfAllTriggersHaveFurtherInputs: of two of one type each has its own
// value; a type that there is not is that function's fault, and no other's.
func TestFunctionsOfAllTriggersHaveFurtherInputs(t *testing.T) {
	h := cities(t, `
const { input, trigger } = require('@azure/functions');
const one = df.input.durableClient(), two = input.generic({ type: 'durableClient', name: 'second' });
const state = (context) => {
    const values = [one, two].map((i) => context.extraInputs.get(i));
    return values.map((v) => typeof v + (v && v.taskHubName ? ' ' + v.taskHubName : '')).join();
};
const shape = (context) => context.log('inputs of ' + context.functionName + ': ' + state(context));
app.timer('tick', { schedule: '0 0 0 1 1 *', extraInputs: [one, two], handler: (timer, context) => shape(context) });
app.generic('byHand', { trigger: trigger.generic({ type: 'manualTrigger' }), extraInputs: [one], handler: (text, context) => shape(context) });
app.http('inputs', { authLevel: 'anonymous', extraInputs: [one, two], handler: (request, context) => ({ body: state(context) }) });
app.http('table', { authLevel: 'anonymous', extraInputs: [input.generic({ type: 'table', tableName: 't' })], handler: () => ({ body: 'never' }) });
`)
	body := h.Get(t, "/api/inputs", "").WantStatus(t, 200).Body
	if first, second, _ := strings.Cut(body, ","); first != second || first == "" || first == "undefined" {
		t.Errorf("the inputs are %q", body)
	}
	first, _, _ := strings.Cut(body, ",")
	for name, want := range map[string]string{"tick": body, "byHand": first + ",undefined"} {
		h.Send(t, testkit.Request{Method: http.MethodPost, Path: "/admin/functions/" + name, Key: h.Master(t), Body: "{}",
			Header: map[string]string{"Content-Type": "application/json"}}).WantStatus(t, 202)
		wantLog(t, h, "inputs of "+name+": "+want)
	}
	wantLog(t, h, `has type \"table\", which this host does not have`, "use one of these inputs: durableClient")
	h.Get(t, "/api/table", "").WantStatus(t, 404)
}

// TestASystemKeyThatIsDeletedStaysDeletedUntilTheNextStart: nothing makes it anew
// behind the back of who deleted it.
func TestASystemKeyThatIsDeletedStaysDeletedUntilTheNextStart(t *testing.T) {
	h := cities(t, "\napp.eventGrid('onEvent', { handler: () => {} });\n")
	host, code := h.HostKey(t), h.SystemKey(t, "durabletask")
	start := func() testkit.Answer {
		return h.Send(t, testkit.Request{Method: "POST", Path: "/api/start/helloCities", Key: host})
	}
	start().WantStatus(t, 202)
	old := h.SystemKey(t, "eventgrid")
	for _, name := range []string{"durabletask_extension", "eventgrid_extension"} {
		if err := h.Node.Keys().Delete(t.Context(), keyring.SystemKeys(), name); err != nil {
			t.Fatal(err)
		}
	}
	start().WantStatus(t, 500)
	wantLog(t, h, "the system key durabletask_extension was deleted")
	h.Get(t, "/runtime/webhooks/durabletask/instances?code="+code, "").WantStatus(t, 401)
	if keys, err := h.Node.Keys().List(t.Context(), keyring.SystemKeys()); err != nil || len(keys) != 0 {
		t.Errorf("%d system keys were made again, %v", len(keys), err)
	}
	h.Node.Instance().Restart("test")
	if !eventually(t.Context(), func() bool {
		k, err := h.Node.Keys().Get(t.Context(), keyring.SystemKeys(), "eventgrid_extension")
		return err == nil && k.Value != old
	}) {
		t.Error("a start does not make the key of the listener anew")
	}
}
