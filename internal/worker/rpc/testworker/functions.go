package testworker

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

func (w *program) metadata(id string) {
	if !w.step(AtMetadata) {
		return
	}
	r := &wire.FunctionMetadataResponse{Result: w.result(AtMetadata), UseDefaultMetadataIndexing: w.script.Bundled}
	list := w.script.Functions
	for n := range w.script.Many {
		list = append(list, Function{Name: "many" + strconv.Itoa(n), Bindings: []string{`{"type":"queueTrigger","name":"item","queueName":"q"}`}})
	}
	for _, f := range list {
		m := &wire.RpcFunctionMetadata{Name: f.Name, FunctionId: "id-" + f.Name, RawBindings: f.Bindings, Language: "whatever",
			ScriptFile: "main.go", Properties: map[string]string{"kept": "yes"}, Status: &wire.StatusResult{Status: wire.StatusResult_Success}}
		if f.Retry != 0 {
			m.RetryOptions = &wire.RpcRetryOptions{MaxRetryCount: int32(f.Retry), DelayInterval: durationpb.New(time.Second), RetryStrategy: wire.RpcRetryOptions_fixed_delay}
		}
		if f.Fault != "" {
			m.Status = failed(errors.New(f.Fault))
		}
		r.FunctionMetadataResults = append(r.FunctionMetadataResults, m)
	}
	if r.GetResult().GetStatus() == wire.StatusResult_Failure {
		r.FunctionMetadataResults = nil
	}
	w.say(&wire.StreamingMessage{RequestId: id, Content: &wire.StreamingMessage_FunctionMetadataResponse{FunctionMetadataResponse: r}})
}

func (w *program) load(id string, r *wire.FunctionLoadRequest) {
	if w.step(AtLoad) {
		w.say(&wire.StreamingMessage{RequestId: id, Content: &wire.StreamingMessage_FunctionLoadResponse{FunctionLoadResponse: w.loaded(r)}})
	}
}

func (w *program) loadAll(id string, r *wire.FunctionLoadRequestCollection) {
	if !w.step(AtLoad) {
		return
	}
	out := &wire.FunctionLoadResponseCollection{}
	for _, one := range r.GetFunctionLoadRequests() {
		out.FunctionLoadResponses = append(out.FunctionLoadResponses, w.loaded(one))
	}
	w.say(&wire.StreamingMessage{RequestId: id, Content: &wire.StreamingMessage_FunctionLoadResponseCollection{FunctionLoadResponseCollection: out}})
}

func (w *program) loaded(r *wire.FunctionLoadRequest) *wire.FunctionLoadResponse {
	name := r.GetMetadata().GetName()
	w.mu.Lock()
	w.names[r.GetFunctionId()] = name
	w.mu.Unlock()
	result := w.result(AtLoad)
	if name == "unload" {
		result = failed(errors.New("it does not compile"))
	}
	return &wire.FunctionLoadResponse{FunctionId: r.GetFunctionId(), Result: result}
}

func (w *program) log(r *wire.InvocationRequest, kind wire.RpcLog_RpcLogCategory, text string) {
	l := &wire.RpcLog{InvocationId: r.GetInvocationId(), Category: "Host.Worker", Level: wire.RpcLog_Information, Message: text, LogCategory: kind}
	if kind == wire.RpcLog_CustomMetric {
		l.PropertiesMap = map[string]*wire.TypedData{"Name": text1("orders"), "Value": {Data: &wire.TypedData_Double{Double: 2.5}}}
	}
	w.say(&wire.StreamingMessage{Content: &wire.StreamingMessage_RpcLog{RpcLog: l}})
}

func text1(s string) *wire.TypedData {
	return &wire.TypedData{Data: &wire.TypedData_String_{String_: s}}
}

func (w *program) cancel(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.hung[id]; c != nil {
		close(c)
		delete(w.hung, id)
	}
}

// invoke runs a function; one that takes time does not hold up others.
func (w *program) invoke(id string, r *wire.InvocationRequest) {
	w.mu.Lock()
	name := w.names[r.GetFunctionId()]
	w.mu.Unlock()
	for n := range w.script.Flood {
		w.log(r, wire.RpcLog_User, "flood "+strconv.Itoa(n))
	}
	if name == "hang" {
		c := make(chan struct{})
		w.mu.Lock()
		w.hung[r.GetInvocationId()] = c
		w.mu.Unlock()
		fmt.Println("hanging")
		go func() {
			<-c
			fmt.Println("cancelled " + r.GetInvocationId())
		}()
		return
	}
	response := &wire.InvocationResponse{InvocationId: r.GetInvocationId(), Result: w.result(AtInvoke)}
	if w.function(id, name, r, response) {
		w.say(&wire.StreamingMessage{RequestId: id, Content: &wire.StreamingMessage_InvocationResponse{InvocationResponse: response}})
	}
}

// function does what the name of a function says. It reports whether to answer.
func (w *program) function(id, name string, r *wire.InvocationRequest, out *wire.InvocationResponse) bool {
	var input *wire.TypedData
	if data := r.GetInputData(); len(data) > 0 {
		input = data[0].GetData()
	}
	switch name {
	case "seen":
		out.ReturnValue = text1(protojson.Format(r))
	case "outputs":
		out.OutputData = []*wire.ParameterBinding{named("out", text1("text")), named("bin", &wire.TypedData{Data: &wire.TypedData_Bytes{Bytes: []byte{1, 2}}}), named("unknown", text1("lost"))}
		out.ReturnValue = &wire.TypedData{Data: &wire.TypedData_Json{Json: `{"other": [1], "out": "not this", "strange": 1}`}}
	case "stream-out":
		w.admit(r.GetInvocationId(), true)
		out.OutputData = []*wire.ParameterBinding{named("out", text1("text"))}
	case "stream", "stream-throw":
		w.admit(r.GetInvocationId(), name == "stream")
		if name == "stream-throw" {
			out.Result = failed(errors.New("it threw"))
		}
	case "bytes":
		out.ReturnValue = &wire.TypedData{Data: &wire.TypedData_Bytes{Bytes: []byte("raw")}}
	case "http":
		out.ReturnValue = &wire.TypedData{Data: &wire.TypedData_Http{Http: answer(input.GetHttp())}}
	case "nothing":
	case "throw":
		out.Result = failed(errors.New("it threw"))
	case "logs":
		for n := range 10 {
			for kind := range wire.RpcLog_RpcLogCategory_name {
				w.log(r, wire.RpcLog_RpcLogCategory(kind), strconv.Itoa(n))
			}
		}
		w.log(&wire.InvocationRequest{InvocationId: "nobody's"}, wire.RpcLog_User, "lost")
	case "crash":
		fmt.Fprintln(os.Stderr, "fatal error: as asked")
		os.Exit(3)
	case "big":
		n, _ := strconv.Atoi(input.GetString_())
		out.ReturnValue = text1(strings.Repeat("x", n))
	case "half":
		w.send.Lock()
		defer w.send.Unlock()
		_ = w.stream.CloseSend()
		return false
	case "double":
		other := &wire.InvocationResponse{InvocationId: "nobody's", Result: out.Result}
		for _, m := range []*wire.InvocationResponse{other, out} {
			w.say(&wire.StreamingMessage{Content: &wire.StreamingMessage_InvocationResponse{InvocationResponse: m}})
		}
	case "tool":
		fmt.Println(`azfuncjsonlog:{"name":"dotnet-worker-startup"}`)
	case "exit":
		code, _ := strconv.Atoi(input.GetString_())
		os.Exit(code)
	case "busy":
		go func() {
			w.busy <- struct{}{}
			defer func() { <-w.busy }()
			w.late(id, input, out)
		}()
		return false
	case "slow":
		go w.late(id, input, out)
		return false
	case "pid":
		out.ReturnValue = text1(strconv.Itoa(os.Getpid()))
	default:
		out.ReturnValue = input
	}
	return true
}

// late answers after as many milliseconds as the input says.
func (w *program) late(id string, input *wire.TypedData, out *wire.InvocationResponse) {
	n, _ := strconv.Atoi(input.GetString_())
	time.Sleep(time.Duration(n) * time.Millisecond)
	w.say(&wire.StreamingMessage{RequestId: id, Content: &wire.StreamingMessage_InvocationResponse{InvocationResponse: out}})
}

func named(name string, v *wire.TypedData) *wire.ParameterBinding {
	return &wire.ParameterBinding{Name: name, RpcData: &wire.ParameterBinding_Data{Data: v}}
}

func answer(r *wire.RpcHttp) *wire.RpcHttp {
	return &wire.RpcHttp{
		StatusCode: "201", Headers: map[string]string{"content-type": "text/x", "x-method": r.GetMethod(), "connection": "close"},
		Body: r.GetBody(),
		Cookies: []*wire.RpcHttpCookie{
			{Name: "a", Value: "1", Path: &wire.NullableString{String_: &wire.NullableString_Value{Value: "/"}}, SameSite: wire.RpcHttpCookie_ExplicitNone,
				Secure: &wire.NullableBool{Bool: &wire.NullableBool_Value{Value: true}}, MaxAge: &wire.NullableDouble{Double: &wire.NullableDouble_Value{Value: 60}}},
			{Name: "b", Value: "2"},
		},
	}
}
