package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

// timed is exchange with a limit; what names the step in the error.
func (c *channel) timed(ctx context.Context, limit time.Duration, what string, accept func(*wire.StreamingMessage) bool, messages ...*wire.StreamingMessage) error {
	ctx, cancel := withTimeout(ctx, c.w.cfg.Clock, limit)
	defer cancel()
	err := c.exchange(ctx, accept, messages...)
	if err != nil && errors.Is(context.Cause(ctx), errSlow) {
		return problem.New(problem.Unavailable, fmt.Sprintf("the worker did not answer %s within %s", what, limit))
	}
	return err
}

// init sends the first request and takes down what the worker can do.
func (c *channel) init(ctx context.Context) error {
	w := c.w
	request := &wire.WorkerInitRequest{HostVersion: w.cfg.HostVersion, WorkerDirectory: w.cfg.Runtime.Directory}
	if !w.cfg.Placeholder { // a worker that is told a directory loads the app in it
		request.FunctionAppDirectory = w.cfg.App.Root
	}
	var response *wire.WorkerInitResponse
	err := c.timed(ctx, w.cfg.Runtime.Process.InitTimeout, "WorkerInitRequest", func(m *wire.StreamingMessage) bool {
		response = m.GetWorkerInitResponse()
		return response != nil
	}, &wire.StreamingMessage{Content: &wire.StreamingMessage_WorkerInitRequest{WorkerInitRequest: request}})
	if err != nil {
		return err
	}
	c.logAll(response.GetResult())
	if err := failure(problem.Unavailable, "the worker cannot load the app", response.GetResult()); err != nil {
		return err
	}
	if m := response.GetWorkerMetadata(); m != nil {
		w.say("debug", strings.TrimSpace(fmt.Sprintf("worker %s %s on %s %s is ready", w.cfg.Runtime.Language, m.GetWorkerVersion(), m.GetRuntimeName(), m.GetRuntimeVersion())))
	}
	return c.setCapabilities(newCapabilities(response.GetCapabilities()))
}

// described is a function as a worker found it.
type described struct {
	*wire.RpcFunctionMetadata
}

// metadata asks for the functions; ok is false when the worker leaves it to the
// function.json files.
func (c *channel) metadata(ctx context.Context) (found []described, ok bool, err error) {
	var response *wire.FunctionMetadataResponse
	err = c.timed(ctx, c.w.loadTimeout(), "FunctionsMetadataRequest", func(m *wire.StreamingMessage) bool {
		response = m.GetFunctionMetadataResponse()
		return response != nil
	}, &wire.StreamingMessage{Content: &wire.StreamingMessage_FunctionsMetadataRequest{
		FunctionsMetadataRequest: &wire.FunctionsMetadataRequest{FunctionAppDirectory: c.w.cfg.App.Root}}})
	if err != nil {
		return nil, false, err
	}
	c.logAll(response.GetResult())
	fallback := response.GetUseDefaultMetadataIndexing()
	failed := failure(problem.Unavailable, "the worker cannot find the app's functions", response.GetResult())
	if failed != nil && len(response.GetFunctionMetadataResults()) == 0 && (!fallback || len(c.w.cfg.App.Functions) == 0) {
		return nil, false, withStack(failed, response.GetResult())
	}
	if failed != nil {
		c.w.say("error", withStack(failed, response.GetResult()).Error())
	}
	if fallback {
		return nil, false, nil
	}
	for _, m := range response.GetFunctionMetadataResults() {
		found = append(found, described{m})
	}
	return found, true, nil
}

// withStack adds an exception's stack, which names the file at fault.
func withStack(err error, r *wire.StatusResult) error {
	stack := r.GetException().GetStackTrace()
	if stack == "" || strings.Contains(err.Error(), stack) {
		return err
	}
	return problem.New(problem.KindOf(err), err.Error()+"\n"+stack).WithNext(problem.NextOf(err))
}

// descriptions gives the functions as they are checked.
func descriptions(found []described) []funcapp.Description {
	list := make([]funcapp.Description, len(found))
	for i, f := range found {
		list[i] = funcapp.Description{
			Name: f.GetName(), Directory: f.GetDirectory(), ScriptFile: f.GetScriptFile(), EntryPoint: f.GetEntryPoint(),
			Bindings: f.GetRawBindings(), Retry: retryOf(f.GetRetryOptions()),
		}
		if err := failure(problem.Invalid, "the worker cannot use it", f.GetStatus()); err != nil {
			list[i].Fault = err.Error()
		}
	}
	return list
}

func retryOf(o *wire.RpcRetryOptions) *funcapp.Retry {
	if o == nil {
		return nil
	}
	r := &funcapp.Retry{Strategy: "exponentialBackoff", MaxRetryCount: max(int(o.GetMaxRetryCount()), -1),
		MinimumInterval: o.GetMinimumInterval().AsDuration(), MaximumInterval: o.GetMaximumInterval().AsDuration()}
	if o.GetRetryStrategy() == wire.RpcRetryOptions_fixed_delay {
		r = &funcapp.Retry{Strategy: "fixedDelay", MaxRetryCount: r.MaxRetryCount, DelayInterval: o.GetDelayInterval().AsDuration()}
	}
	return r
}

// load is one function to be loaded into a process.
type load struct {
	id      string
	name    string
	request *wire.FunctionLoadRequest
}

// loadsOf gives what to load: every function without faults, disabled ones last.
func loadsOf(list []funcapp.Function, found []described, language string) []load {
	byName := make(map[string]*wire.RpcFunctionMetadata, len(found))
	for _, f := range found {
		byName[f.GetName()] = f.RpcFunctionMetadata
	}
	var enabled, disabled []load
	for i := range list {
		f := &list[i]
		if !f.Runnable() {
			continue
		}
		l := loadOf(f, byName[f.Name], language)
		if f.Disabled {
			disabled = append(disabled, l)
		} else {
			enabled = append(enabled, l)
		}
	}
	return append(enabled, disabled...)
}

func loadOf(f *funcapp.Function, found *wire.RpcFunctionMetadata, language string) load {
	id := found.GetFunctionId()
	switch {
	case id == "" && found != nil:
		id = f.Name
	case id == "":
		id = newID()
	}
	m := &wire.RpcFunctionMetadata{
		Name: f.Name, Directory: f.Directory, ScriptFile: f.ScriptFile, EntryPoint: f.EntryPoint, FunctionId: id,
		Language: language, Bindings: bindingInfos(f.Bindings), Properties: map[string]string{},
		IsProxy: found.GetIsProxy(), ManagedDependencyEnabled: found.GetManagedDependencyEnabled(),
	}
	for name, value := range found.GetProperties() {
		m.Properties[name] = value
	}
	if found != nil {
		m.Properties["worker_indexed"] = "True"
	}
	return load{id: id, name: f.Name, request: &wire.FunctionLoadRequest{FunctionId: id, Metadata: m}}
}

func bindingInfos(list []funcapp.Binding) map[string]*wire.BindingInfo {
	infos := make(map[string]*wire.BindingInfo, len(list))
	for i := range list {
		b := &list[i]
		info := &wire.BindingInfo{Type: b.Type, Direction: wire.BindingInfo_Direction(b.Direction)}
		switch b.DataType {
		case "string":
			info.DataType = wire.BindingInfo_string
		case "binary":
			info.DataType = wire.BindingInfo_binary
		case "stream":
			info.DataType = wire.BindingInfo_stream
		}
		infos[b.Name] = info
	}
	return infos
}

// load loads functions, in one message where the worker takes that. What fails is
// remembered: it is the result of each invocation of that function.
func (c *channel) load(ctx context.Context, loads []load) error {
	if len(loads) == 0 {
		return nil
	}
	missing := make(map[string]string, len(loads))
	requests := make([]*wire.FunctionLoadRequest, len(loads))
	for i, l := range loads {
		missing[l.id], requests[i] = l.name, l.request
	}
	failures := map[string]error{}
	took := func(r *wire.FunctionLoadResponse) {
		name, waiting := missing[r.GetFunctionId()]
		if !waiting {
			return
		}
		delete(missing, r.GetFunctionId())
		if err := failure(problem.Internal, "function "+name+" cannot be loaded", r.GetResult()); err != nil {
			failures[r.GetFunctionId()] = withStack(err, r.GetResult())
		}
	}
	err := c.timed(ctx, c.w.loadTimeout(), "FunctionLoadRequest", func(m *wire.StreamingMessage) bool {
		switch content := m.Content.(type) {
		case *wire.StreamingMessage_FunctionLoadResponse:
			took(content.FunctionLoadResponse)
		case *wire.StreamingMessage_FunctionLoadResponseCollection:
			for _, r := range content.FunctionLoadResponseCollection.GetFunctionLoadResponses() {
				took(r)
			}
		}
		return len(missing) == 0
	}, loadMessages(requests, c.capabilities().loadCollection)...)
	if err != nil {
		return err
	}
	for id, failed := range failures {
		c.w.cfg.Logs(worker.LogLine{Level: "error", Message: failed.Error(), Function: nameOf(loads, id), Source: "worker"})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = failures
	return nil
}

func nameOf(loads []load, id string) string {
	for _, l := range loads {
		if l.id == id {
			return l.name
		}
	}
	return ""
}

func loadMessages(requests []*wire.FunctionLoadRequest, together bool) []*wire.StreamingMessage {
	if together {
		return []*wire.StreamingMessage{{Content: &wire.StreamingMessage_FunctionLoadRequestCollection{
			FunctionLoadRequestCollection: &wire.FunctionLoadRequestCollection{FunctionLoadRequests: requests}}}}
	}
	list := make([]*wire.StreamingMessage, len(requests))
	for i, r := range requests {
		list[i] = &wire.StreamingMessage{Content: &wire.StreamingMessage_FunctionLoadRequest{FunctionLoadRequest: r}}
	}
	return list
}
