package rpc

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

func TestASocketsUserIsFound(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   100        0 1 1 0 100 0 0 10 0
   1: 0100007F:A0B1 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1007        0 2 1 0 20 4 30 10 -1
   2: garbage
`
	if uid, ok := readUser(strings.NewReader(table), 0xa0b1, 0x1f90); !ok || uid != 1007 {
		t.Errorf("user %d, %v", uid, ok)
	}
	if _, ok := readUser(strings.NewReader(table), 0xa0b1, 80); ok {
		t.Error("found a socket that is not there")
	}
}

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
