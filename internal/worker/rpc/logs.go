package rpc

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/child"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

// toolPrefix marks lines for development tools; they are shown to those who debug.
const toolPrefix = "azfuncjsonlog:"

// console takes one line of the process's output.
func (c *channel) console(from child.Stream, text string) {
	if line, forTools := strings.CutPrefix(text, toolPrefix); forTools {
		c.w.cfg.Logs(worker.LogLine{Level: "debug", Message: line, Source: "console", Category: "tooling"})
		return
	}
	c.said.Add(text)
	if from == child.Stderr {
		c.errs.Add(text)
	}
	l := worker.LogLine{Source: "console"}
	if strings.HasPrefix(text, child.ConsolePrefix) {
		l.Source = "worker"
	}
	l.Level, l.Message = child.Classify(from, text)
	if from == child.Stderr && c.w.cfg.Runtime.ErrorsOnlyOnStderr {
		l.Level = "error"
	}
	c.w.cfg.Logs(l)
}

// log hands on one log. Logs of functions that do not run are dropped: nobody
// could say whose they are.
func (c *channel) log(m *wire.RpcLog) {
	if m.GetLevel() == wire.RpcLog_None {
		return
	}
	l := worker.LogLine{
		Level: levelOf(m.GetLevel()), Message: shortened(m.GetMessage()), InvocationID: shortened(m.GetInvocationId()),
		Category: shortened(m.GetCategory()), Exception: shortened(exceptionText(m.GetException())), Source: "worker",
	}
	o := c.find(m.GetInvocationId())
	if o != nil {
		l.Function = o.inv.Function.Name
	}
	switch m.GetLogCategory() {
	case wire.RpcLog_User:
		if o == nil {
			return
		}
		l.Source = "function"
	case wire.RpcLog_CustomMetric:
		if o == nil {
			return
		}
		l.Source, l.Properties = "metric", properties(m.GetPropertiesMap())
	}
	c.w.cfg.Logs(l)
}

// maxText bounds a text of a log, in bytes, like a line of a process's output.
const maxText = 64 << 10

// shortened cuts a text that is too long for a log.
func shortened(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + fmt.Sprintf("... (%d bytes in all)", len(s))
}

func levelOf(l wire.RpcLog_Level) string {
	switch l {
	case wire.RpcLog_Trace, wire.RpcLog_Debug:
		return "debug"
	case wire.RpcLog_Warning:
		return "warn"
	case wire.RpcLog_Error, wire.RpcLog_Critical:
		return "error"
	}
	return "info"
}

// properties gives values as text: strings as they are, others as JSON.
func properties(m map[string]*wire.TypedData) map[string]string {
	out := make(map[string]string, len(m))
	for name, v := range m {
		if s, ok := v.GetData().(*wire.TypedData_String_); ok {
			out[name] = shortened(s.String_)
			continue
		}
		raw, bytes, err := fromTyped(v)
		switch {
		case err != nil:
		case bytes != nil:
			b, _ := json.Marshal(bytes) // bytes: it cannot fail
			out[name] = shortened(string(b))
		default:
			out[name] = shortened(string(raw))
		}
	}
	return out
}

// logAll hands on the logs that come with a result.
func (c *channel) logAll(r *wire.StatusResult) {
	for _, m := range r.GetLogs() {
		c.log(m)
	}
}
