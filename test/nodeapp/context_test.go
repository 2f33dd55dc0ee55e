package nodeapp

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/testkit"
)

func TestWhatFunctionsLogIsInTheLogInOrder(t *testing.T) {
	h := run(t, v4(`app.http('logs', { authLevel: 'anonymous', handler: async (request, context) => {
	  context.trace('line one'); context.debug('line two'); context.info('line three');
	  context.warn('line four', { at: 4 }); context.error('line five'); context.log('line six');
	  console.log('to the console'); console.error('an error on the console');
	  for (let n = 0; n < 500; n++) context.log('count ' + n + '.');
	  return { body: context.functionName };
	} });`))
	wantBody(t, h.Get(t, "/api/logs", ""), "logs")
	wantLog(t, h, "to the console", "an error on the console", "GET /api/logs 200")
	log, at := h.Log.String(), 0
	for _, text := range []string{"line three", "line four { at: 4 }", "line five", "line six", "count 0.", "count 250.", "count 499.", "GET /api/logs 200"} {
		next := strings.Index(log[at:], text)
		if next < 0 {
			t.Fatalf("%q is missing or out of order in:\n%s", text, log)
		}
		at += next
	}
	for _, want := range []string{"WARN  line four", "ERROR line five", "INFO  line six"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

func TestAFunctionThatThrowsIsAnEmpty500AndItsStackIsLogged(t *testing.T) {
	h := run(t, v4(`
	function deep() { throw new TypeError('no such thing'); }
	app.http('throws', { authLevel: 'anonymous', handler: async () => deep() });
	app.http('text', { authLevel: 'anonymous', handler: () => { throw 'only text'; } });
	app.http('rejects', { authLevel: 'anonymous', handler: () => Promise.reject(new Error('rejected')) });
	app.http('wrong', { authLevel: 'anonymous', handler: async () => 'a text is no answer' });`))
	h.Get(t, "/api/throws", "").WantStatus(t, 500).WantEmpty(t)
	wantLog(t, h, "no such thing", "at deep", "index.js:3")
	h.Get(t, "/api/text", "").WantStatus(t, 500).WantEmpty(t)
	h.Get(t, "/api/rejects", "").WantStatus(t, 500).WantEmpty(t)
	h.Get(t, "/api/wrong", "").WantStatus(t, 500).WantEmpty(t)
	wantLog(t, h, "only text", "rejected", "The HTTP response must be an object")
}

func TestHooksAreCalledAtTheEdges(t *testing.T) {
	h := run(t, v4(`
	const order = [];
	app.hook.appStart((c) => { order.push('appStart'); c.hookData.n = 1; });
	app.hook.appTerminate((c) => { console.log('the app ends with ' + c.hookData.n); });
	app.hook.preInvocation((c) => { c.hookData.id = 5; order.push('pre'); const f = c.functionHandler; c.functionHandler = async (...args) => {
	  const r = await f(...args); return { ...r, headers: { 'x-wrapped': 'yes' } }; }; });
	app.hook.postInvocation((c) => { order.push('post ' + c.hookData.id + ' ' + (c.error ? c.error.message : 'fine'));
	  if (c.error) { c.error = null; c.result = { status: 299, body: 'saved' }; } });
	app.http('order', { authLevel: 'anonymous', handler: async () => ({ body: order.join() }) });
	app.http('throws', { authLevel: 'anonymous', handler: async () => { throw new Error('oh'); } });`))
	a := h.Get(t, "/api/order", "")
	wantBody(t, a, "appStart,pre")
	if a.Header.Get("x-wrapped") != "yes" {
		t.Errorf("headers %v", a.Header)
	}
	wantBody(t, h.Get(t, "/api/throws", "").WantStatus(t, 299), "saved")
	wantBody(t, h.Get(t, "/api/order", ""), "appStart,pre,post 5 fine,pre,post 5 oh,pre")
	h.Stop(t)
	if !strings.Contains(h.Log.String(), "the app ends with 1") {
		t.Errorf("no appTerminate hook ran:\n%s", h.Log)
	}
}

func TestFunctionsKnowTheirTraceAndTheirAttempts(t *testing.T) {
	h := run(t, v4(`
	app.http('trace', { authLevel: 'anonymous', handler: async (request, context) => ({ jsonBody: context.traceContext }) });
	app.http('retries', { authLevel: 'anonymous', retry: { strategy: 'fixedDelay', delayInterval: { milliseconds: 1 }, maxRetryCount: 2 },
	  handler: async (request, context) => {
	    if (context.retryContext.retryCount < 2) throw new Error('attempt ' + context.retryContext.retryCount);
	    return { jsonBody: context.retryContext };
	  } });`))
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	var trace struct{ TraceParent, TraceState string }
	h.Send(t, testkit.Request{Path: "/api/trace", Header: map[string]string{"traceparent": parent, "tracestate": "a=b"}}).JSON(t, &trace)
	if !strings.HasPrefix(trace.TraceParent, parent[:36]) || trace.TraceState != "a=b" {
		t.Errorf("the trace is %+v", trace)
	}
	var retry struct {
		RetryCount, MaxRetryCount int
		Exception                 struct{ Message string }
	}
	a := h.Get(t, "/api/retries", "").WantStatus(t, 200)
	if err := json.Unmarshal([]byte(a.Body), &retry); err != nil || retry.RetryCount != 2 || retry.MaxRetryCount != 2 {
		t.Errorf("the attempt's context is %q (%v)", a.Body, err)
	}
}

func TestAnyTriggerRunsWhenItIsAskedFor(t *testing.T) {
	h := run(t, v4(`
	app.timer('clock', { schedule: '0 0 0 1 1 *', handler: async (timer, context) => { context.log('timer past due: ' + timer.isPastDue); } });
	app.storageQueue('work', { queueName: 'work', connection: 'NONE', handler: async (message, context) => {
	  context.log('got ' + JSON.stringify(message) + ' of ' + typeof message); } });
	app.generic('any', { trigger: trigger.generic({ type: 'manualTrigger', name: 'input' }), handler: async (input, context) => {
	  context.log('any ' + JSON.stringify(input) + ' ' + context.options.trigger.type); } });`))
	for name, body := range map[string]string{"any": `{"input":"{\"a\":1}"}`} {
		h.Send(t, testkit.Request{Method: "POST", Path: "/admin/functions/" + name, Key: h.Master(t), Body: body,
			Header: map[string]string{"Content-Type": "application/json"}}).WantStatus(t, 202)
	}
	wantLog(t, h, `any {"a":1} manualTrigger`)
}
