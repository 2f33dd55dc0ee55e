package applog

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// Filter says which lines are wanted. The zero value wants all of level info and above.
type Filter struct {
	Level    slog.Level // and above
	Function string     // ignoring case; "" is all
	Host     bool       // only what the host wrote
	Contains string     // ignoring case; "" is all
}

// Wants reports whether a line is wanted.
func (f Filter) Wants(l Line) bool {
	switch {
	case l.Level < f.Level, f.Function != "" && !strings.EqualFold(l.Function, f.Function), f.Host && l.Source != Host:
		return false
	}
	return f.Contains == "" || strings.Contains(strings.ToLower(l.Message), strings.ToLower(f.Contains))
}

// Next gives what is wanted of the lines after a sequence number, as [Log.After] does.
// If there is none it waits until there is, or ctx ends, which is no error; then it
// waits a little longer, so that what comes at once is told together.
func (l *Log) Next(ctx context.Context, seq uint64, f Filter, together time.Duration) (lines []Line, last, missed uint64, err error) {
	for {
		lines, last, missed = l.After(seq)
		lines = slices.DeleteFunc(lines, func(x Line) bool { return !f.Wants(x) })
		if len(lines) > 0 || missed > 0 || ctx.Err() != nil {
			return lines, last, missed, nil
		}
		seq = last
		if err := l.Wait(ctx, seq); err != nil && ctx.Err() == nil {
			return nil, last, 0, err
		}
		pause(ctx, together)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
