package custom

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/httpanswer"
)

const returnBinding = "$return"

// outcome sorts an answer's values by the function's output bindings. Outputs
// without a binding are left out.
func outcome(inv *worker.Invocation, a *answer) (*worker.Result, error) {
	res := &worker.Result{Outputs: map[string]json.RawMessage{}}
	if !isNull(a.ReturnValue) {
		res.Return = a.ReturnValue
	}
	for i := range inv.Function.Bindings {
		b := &inv.Function.Bindings[i]
		if b.Direction == funcapp.In {
			continue
		}
		if err := place(res, b, a); err != nil {
			return nil, problem.Wrap(problem.Internal, fmt.Sprintf("output %s of function %s", b.Name, inv.Function.Name), err)
		}
	}
	return res, nil
}

// place puts the value for binding b where it belongs.
func place(res *worker.Result, b *funcapp.Binding, a *answer) (err error) {
	value := named(a.Outputs, b.Name)
	switch {
	case !isHTTPOutput(b):
		if !isNull(value) {
			res.Outputs[b.Name] = value
		}
	case b.Name == returnBinding && !isNull(a.ReturnValue):
		res.HTTP, err = httpanswer.FromReturn(a.ReturnValue, b.DataType)
	case !isNull(value):
		res.HTTP, err = httpanswer.FromOutput(value, b.DataType)
	}
	return err
}

// named finds an output: by its exact name, else ignoring case.
func named(outputs map[string]json.RawMessage, name string) json.RawMessage {
	if v, ok := outputs[name]; ok {
		return v
	}
	for k, v := range outputs {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return nil
}
