package rpc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

// Invoke runs a function in the process with the least to do. While a process is
// being replaced and there is no other, it waits for it. A process in which a
// function ran out of time is replaced, since it may never come back.
func (w *Worker) Invoke(ctx context.Context, inv *worker.Invocation) (*worker.Result, error) {
	if w.isMoot(ctx) {
		return nil, callError(ctx, ctx.Err())
	}
	id, err := w.idOf(inv)
	if err != nil {
		return nil, err
	}
	c, err := w.pick(ctx)
	if err != nil {
		return nil, callError(ctx, err)
	}
	defer c.busy.Add(-1)
	if err := c.loadFailure(id); err != nil {
		return nil, err
	}
	caps := c.capabilities()
	request, err := newRequest(id, inv, &caps, false)
	if err != nil {
		return nil, err
	}
	response, err := c.call(ctx, inv, request)
	if err != nil {
		return nil, err
	}
	return resultOf(inv, response)
}

// isMoot reports whether an invocation is over before it began. One that was
// cancelled is sent all the same, with the cancel behind it, if the app wants that:
// it may have to know of each.
func (w *Worker) isMoot(ctx context.Context) bool {
	return ctx.Err() != nil && (errors.Is(ctx.Err(), context.DeadlineExceeded) || !w.cfg.App.Host.SendCanceledInvocations)
}

func (w *Worker) idOf(inv *worker.Invocation) (string, error) {
	id, ok := w.ids[strings.ToLower(inv.Function.Name)]
	if !ok {
		return "", problem.New(problem.Internal, "function "+inv.Function.Name+" is not loaded")
	}
	return id, nil
}

func (c *channel) loadFailure(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failures[id]
}

// call sends an invocation and waits for its result.
func (c *channel) call(ctx context.Context, inv *worker.Invocation, request *wire.InvocationRequest) (*wire.InvocationResponse, error) {
	o, err := c.start(inv)
	if err != nil {
		return nil, err
	}
	if err := c.send(ctx, &wire.StreamingMessage{Content: &wire.StreamingMessage_InvocationRequest{InvocationRequest: request}}); err != nil {
		c.take(inv.ID)
		return nil, c.lateError(ctx, inv, err)
	}
	select {
	case a := <-o.result:
		if a.err != nil {
			return nil, a.err
		}
		c.logAll(a.response.GetResult())
		return a.response, c.resultError(inv, a.response.GetResult())
	case <-ctx.Done():
		c.abandon(o)
		return nil, c.lateError(ctx, inv, ctx.Err())
	}
}

// lateError is callError for an invocation that may have begun.
func (c *channel) lateError(ctx context.Context, inv *worker.Invocation, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.w.replace(c, "function "+inv.Function.Name+" did not end in time")
	}
	return callError(ctx, err)
}

func callError(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return problem.Wrap(problem.Timeout, "the function did not end in time", ctx.Err())
	case ctx.Err() != nil:
		return problem.Wrap(problem.Timeout, "the invocation was cancelled", ctx.Err())
	}
	return err
}

// resultError gives the error of a function that failed, with its stack.
func (c *channel) resultError(inv *worker.Invocation, r *wire.StatusResult) error {
	if c.capabilities().userException {
		r = typed(r)
	}
	err := failure(problem.Internal, "function "+inv.Function.Name+" failed", r)
	if err == nil {
		return nil
	}
	return withStack(err, r)
}

// newRequest makes the message of an invocation. With proxied, the request itself
// goes another way and only its parameters, if at all, are part of it.
func newRequest(id string, inv *worker.Invocation, caps *capabilities, proxied bool) (*wire.InvocationRequest, error) {
	r := &wire.InvocationRequest{InvocationId: inv.ID, FunctionId: id, TraceContext: traceOf(inv), RetryContext: retryContext(inv)}
	var err error
	if inv.Request != nil {
		err = addHTTP(r, inv, caps, proxied)
	} else {
		err = addData(r, inv, caps)
	}
	if err == nil {
		err = addInputs(r, inv, caps)
	}
	if err != nil {
		return nil, problem.Wrap(problem.Internal, fmt.Sprintf("the input of function %s cannot be sent", inv.Function.Name), err)
	}
	return r, nil
}

// addData adds the trigger's value and what is known about it.
func addData(r *wire.InvocationRequest, inv *worker.Invocation, caps *capabilities) error {
	trigger := inv.Function.Trigger()
	if trigger == nil {
		return nil
	}
	v, err := toTyped(inv.Input, caps)
	if err != nil {
		return fmt.Errorf("%s: %w", trigger.Name, err)
	}
	r.InputData = append(r.InputData, binding(trigger.Name, v))
	return addMetadata(r, inv.Metadata, caps)
}

func binding(name string, v *wire.TypedData) *wire.ParameterBinding {
	return &wire.ParameterBinding{Name: name, RpcData: &wire.ParameterBinding_Data{Data: v}}
}

func addMetadata(r *wire.InvocationRequest, values map[string]any, caps *capabilities) error {
	if r.TriggerMetadata == nil {
		r.TriggerMetadata = make(map[string]*wire.TypedData, len(values))
	}
	for name, value := range values {
		if value == nil || strings.EqualFold(name, "sys") {
			continue
		}
		v, err := toTyped(value, caps)
		if err != nil {
			return fmt.Errorf("metadata %s: %w", name, err)
		}
		r.TriggerMetadata[name] = v
	}
	return nil
}

// addInputs adds the values of the other input bindings, in their order.
func addInputs(r *wire.InvocationRequest, inv *worker.Invocation, caps *capabilities) error {
	if len(inv.Inputs) == 0 {
		return nil
	}
	for i := range inv.Function.Bindings {
		b := &inv.Function.Bindings[i]
		value, given := inv.Inputs[b.Name]
		if !given || b.IsTrigger() {
			continue
		}
		v, err := toTyped(value, caps)
		if err != nil {
			return fmt.Errorf("%s: %w", b.Name, err)
		}
		r.InputData = append(r.InputData, binding(b.Name, v))
	}
	return nil
}

func retryContext(inv *worker.Invocation) *wire.RetryContext {
	if !inv.HasRetry {
		return nil
	}
	r := &wire.RetryContext{RetryCount: int32(inv.RetryCount), MaxRetryCount: int32(inv.MaxRetries)}
	if inv.LastError != "" {
		r.Exception = &wire.RpcException{Message: inv.LastError}
	}
	return r
}

// traceOf gives the trace of an invocation, in which it is a span of its own; a
// new trace when there is none.
func traceOf(inv *worker.Invocation) *wire.RpcTraceContext {
	t := inv.Trace
	if t.Parent == "" && inv.Request != nil {
		t.Parent, t.State = inv.Request.Header.Get("Traceparent"), strings.Join(inv.Request.Header["Tracestate"], ",")
	}
	trace, flags, ok := parseTraceParent(t.Parent)
	if !ok {
		trace, flags, t.State = fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64()|1), "00", ""
	}
	return &wire.RpcTraceContext{
		TraceParent: "00-" + trace + "-" + fmt.Sprintf("%016x", rand.Uint64()|1) + "-" + flags,
		TraceState:  t.State, Attributes: t.Attributes,
	}
}

// parseTraceParent reads a W3C traceparent of version 00.
func parseTraceParent(s string) (trace, flags string, ok bool) {
	if len(s) != 55 || s[:3] != "00-" || s[35] != '-' || s[52] != '-' {
		return "", "", false
	}
	trace, flags = s[3:35], s[53:]
	for _, part := range []string{trace, s[36:52], flags} {
		if strings.Trim(part, "0123456789abcdef") != "" {
			return "", "", false
		}
	}
	return trace, flags, strings.Trim(trace, "0") != ""
}
