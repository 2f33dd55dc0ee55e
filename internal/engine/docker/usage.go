package docker

import (
	"context"
	"encoding/json"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/supervise"
	"github.com/latchkey/latchkey/internal/problem"
)

var _ supervise.Meter = (*site)(nil)

// Usage gives what a container has used.
func (s *site) Usage(ctx context.Context, id string) (engine.Usage, error) {
	what := "the use of container " + id + " cannot be read"
	res, err := s.cl.ContainerStats(ctx, id, client.ContainerStatsOptions{})
	if err != nil {
		return engine.Usage{}, fault(err, what)
	}
	defer res.Body.Close()
	var got container.StatsResponse
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		return engine.Usage{}, fault(err, what)
	}
	if got.CPUStats.CPUUsage.TotalUsage == 0 && got.MemoryStats.Usage == 0 { // so the engine says it of one that ended
		return engine.Usage{}, problem.New(problem.NotFound, what+": it does not run")
	}
	return engine.Usage{CPU: time.Duration(got.CPUStats.CPUUsage.TotalUsage), Memory: inUse(got.MemoryStats)}, nil
}

// inUse leaves out files that are cached and not used lately: they go when memory
// is wanted. The name is that of cgroups v2, or v1.
func inUse(m container.MemoryStats) int64 {
	used := m.Usage
	for _, name := range []string{"inactive_file", "total_inactive_file"} {
		if cached, there := m.Stats[name]; there && cached <= used {
			return int64(used - cached)
		}
	}
	return int64(used)
}
