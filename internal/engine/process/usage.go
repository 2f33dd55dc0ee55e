package process

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/supervise"
	"github.com/latchkey/latchkey/internal/problem"
)

var _ supervise.Meter = (*site)(nil)

// Usage gives what a process group has used, by /proc. What left the group is not
// in it.
func (s *site) Usage(_ context.Context, id string) (engine.Usage, error) {
	r, err := s.get(id)
	if err != nil {
		return engine.Usage{}, err
	}
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	if len(paths) == 0 {
		return engine.Usage{}, problem.New(problem.Unsupported, "this machine has no /proc that tells what processes use")
	}
	group, members := r.proc.PID(), 0
	var u engine.Usage
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		if st, ok := parseStat(string(text)); ok && st.group == group {
			members, u.CPU, u.Memory = members+1, u.CPU+st.cpu, u.Memory+st.memory
		}
	}
	if members == 0 || !r.runs() {
		return engine.Usage{}, problem.New(problem.NotFound, id+" does not run")
	}
	return u, nil
}

// stat is what a line of /proc/*/stat says.
type stat struct {
	group  int
	cpu    time.Duration // with children that ended
	memory int64
}

// ticks is how many units of time of /proc make a second, on every Linux.
const ticks = 100

// parseStat reads a line; the second field is the program's name, in brackets,
// and may hold anything.
func parseStat(line string) (s stat, ok bool) {
	_, rest, found := cutLast(line, ") ")
	fields := strings.Fields(rest) // from the third on
	if !found || len(fields) < 22 {
		return s, false
	}
	number := func(n int) int64 {
		v, err := strconv.ParseInt(fields[n-3], 10, 64)
		if err != nil || v < 0 || v > 1<<36 {
			return 0 // no number of a real process
		}
		return v
	}
	s.group = int(number(5))
	s.cpu = time.Duration(number(14)+number(15)+number(16)+number(17)) * (time.Second / ticks)
	s.memory = number(24) * int64(os.Getpagesize())
	return s, true
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
