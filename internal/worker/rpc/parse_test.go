package rpc

import (
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

func FuzzTraceParent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("00-00000000000000000000000000000000-b7ad6b7169203331-01")
	f.Fuzz(func(t *testing.T, text string) {
		made := traceOf(&worker.Invocation{Trace: worker.Trace{Parent: text, State: "s"}}).GetTraceParent()
		trace, _, ok := parseTraceParent(made)
		if !ok {
			t.Errorf("%q became %q, which is none", text, made)
		}
		if given, _, ok := parseTraceParent(text); ok && given != trace {
			t.Errorf("%q became %q, another trace", text, made)
		}
	})
}

// FuzzResult takes what a worker may answer.
func FuzzResult(f *testing.F) {
	for _, r := range []*wire.InvocationResponse{
		{ReturnValue: jsonData(`{"out":1,"statusCode":"x"}`)},
		{ReturnValue: &wire.TypedData{Data: &wire.TypedData_Http{Http: &wire.RpcHttp{StatusCode: "99", Headers: map[string]string{"a\nb": "c"}}}}},
		{OutputData: []*wire.ParameterBinding{binding("out", &wire.TypedData{Data: &wire.TypedData_Double{Double: 1}})}},
	} {
		b, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	bindings := []funcapp.Binding{{Name: "req", Type: "httpTrigger", HTTP: &funcapp.HTTPTrigger{}}, {Name: "res", Type: "http", Direction: funcapp.Out},
		{Name: "out", Type: "queue", Direction: funcapp.Out}}
	inv := &worker.Invocation{Function: &funcapp.Function{Name: "f", Bindings: bindings}}
	f.Fuzz(func(t *testing.T, data []byte) {
		var r wire.InvocationResponse
		if proto.Unmarshal(data, &r) != nil {
			return
		}
		res, err := resultOf(inv, &r)
		if (res == nil) == (err == nil) {
			t.Fatalf("%v, %v", res, err)
		}
		if err != nil {
			return
		}
		for name, v := range res.Outputs {
			if !json.Valid(v) {
				t.Errorf("output %s is no JSON: %q", name, v)
			}
		}
		if h := res.HTTP; h != nil && (h.Status < 200 || h.Status > 999) {
			t.Errorf("status %d", h.Status)
		}
	})
}
