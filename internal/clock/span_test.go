package clock_test

import (
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestSpansHaveDays(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90d": 90 * 24 * time.Hour, "1d12h": 36 * time.Hour, "36h": 36 * time.Hour, "1.5s": 1500 * time.Millisecond,
		"": 0, "0d": 0, "d": 0, "-1h": 0, "2d-1h": 0, "-2d": 0, "1h2d": 0, "1w": 0, "5": 0, "5days": 0, "90m": 90 * time.Minute, "99999d": 0, "16383d2540400h": 0,
	} {
		got, err := clock.ParseSpan(text)
		if got != want || (want == 0) != (problem.KindOf(err) == problem.Invalid) {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}
