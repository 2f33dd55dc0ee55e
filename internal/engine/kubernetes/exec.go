package kubernetes

import (
	"context"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
)

// Exec implements engine.Engine.
func (e *Engine) Exec(ctx context.Context, in engine.Target, cmd engine.Exec) (int, error) {
	if len(cmd.Command) == 0 {
		return 0, problem.New(problem.Invalid, "field 'command' must not be empty")
	}
	name, container, running, err := e.target(in)
	if err != nil {
		return 0, err
	}
	if !running {
		return 0, problem.New(problem.Conflict, "the container does not run")
	}
	return e.exec(ctx, name, container, cmd)
}

func (e *Engine) exec(context.Context, string, string, engine.Exec) (int, error) {
	return 0, problem.New(problem.Unsupported, "commands in containers").WithNext("use kubectl exec")
}
