package memory_test

import (
	"context"
	"io/fs"
	"testing"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/enginetest"
	"github.com/latchkey/latchkey/internal/engine/memory"
)

func program(ctx context.Context, p memory.Process) int {
	return enginetest.Main(ctx, enginetest.World{Args: p.Args, Env: p.Env, Stdout: p.Stdout, Listen: p.Address,
		Read: func(path string) (string, error) {
			if text, ok := p.Files[path]; ok {
				return text, nil
			}
			return "", fs.ErrNotExist
		}})
}

func TestConformance(t *testing.T) {
	m := memory.NewMachine(clock.Real{}, map[string]memory.Program{"program": program})
	enginetest.Run(t, enginetest.Backend{
		Open:     func(_ *testing.T, cfg engine.Config) engine.Engine { return memory.New(cfg, m) },
		Image:    "program",
		Missing:  "none",
		Survives: true,
		Kill:     func(_ *testing.T, o engine.Object) { m.Kill(o.Replica, o.Container) },
	})
}
