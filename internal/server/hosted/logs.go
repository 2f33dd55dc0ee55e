package hosted

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/telemetry"
)

// Telemetry is what a node tells of itself.
type Telemetry struct {
	Log      *slog.Logger
	Metrics  *telemetry.Metrics
	Requests *telemetry.RequestLog // nil: the level is too high for requests
}

// OpenTelemetry makes a node's log, metrics and request log, of a version, on a
// writer. level is that of the configuration, "" for info; problem.Invalid for an
// unknown one. The caller ends it with Close.
func OpenTelemetry(w io.Writer, format telemetry.Format, level, version string, c clock.Clock) (t Telemetry, err error) {
	var least slog.Level
	if level != "" {
		if err := least.UnmarshalText([]byte(level)); err != nil {
			return t, problem.New(problem.Invalid, "unknown log level "+strconv.Quote(level)).
				WithNext("use debug, info, warn or error")
		}
	}
	t.Log, t.Metrics = telemetry.NewLogger(w, format, least), telemetry.NewMetrics(version)
	if least <= slog.LevelInfo {
		t.Requests = telemetry.NewRequestLog(w, format, c)
		t.Metrics.CountDrops(t.Requests.Dropped)
	}
	return t, nil
}

// Close writes the requests that wait to be written, within the grace.
func (t Telemetry) Close(grace time.Duration) {
	if t.Requests == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	_ = t.Requests.Close(ctx) // what could not be written was counted
}
