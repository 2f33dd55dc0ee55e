package custom

import (
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/view"
)

// metadata gives the binding data of an invocation in the form handlers get it:
// the trigger's own values are left out, the rest is encoded like input.
func (w *Worker) metadata(inv *worker.Invocation) (map[string]any, error) {
	data := view.BindingData(inv)
	if !data.Has("sys") {
		data.Set("sys", w.system(inv))
	}
	m := make(map[string]any, len(data.Values)+1)
	for name, v := range data.Values {
		if v == nil || endsInTrigger(name) {
			continue
		}
		raw, err := encodeValue(v)
		if err != nil {
			return nil, err
		}
		m[name] = raw
	}
	if inv.HasRetry {
		m["RetryContext"] = retryContextOf(inv)
	}
	return m, nil
}

func endsInTrigger(name string) bool {
	const suffix = "trigger"
	return len(name) >= len(suffix) && strings.EqualFold(name[len(name)-len(suffix):], suffix)
}

// system is the binding data that every function has.
func (w *Worker) system(inv *worker.Invocation) map[string]string {
	return map[string]string{
		"MethodName": inv.Function.Name,
		"UtcNow":     w.cfg.Clock.Now().UTC().Format(time.RFC3339Nano),
		"RandGuid":   newGUID(),
	}
}

// retryContext tells a function which attempt it is.
type retryContext struct {
	RetryCount    int
	MaxRetryCount int
	Exception     *retryException
}

// retryException is the failure of the attempt before.
type retryException struct{ Message string }

func retryContextOf(inv *worker.Invocation) retryContext {
	c := retryContext{RetryCount: inv.RetryCount, MaxRetryCount: inv.MaxRetries}
	if inv.LastError != "" {
		c.Exception = &retryException{inv.LastError}
	}
	return c
}
