package cli

import (
	"testing"
	"time"
)

func TestParseDays(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"5d": 120 * time.Hour, "36h": 36 * time.Hour, "1d12h": 36 * time.Hour, "90m": 90 * time.Minute, "1s": time.Second,
		"": 0, "0d": 0, "-1h": 0, "d": 0, "5": 0, "5days": 0, "-5d": 0, "99999d": 0, "1d-1h": 0,
	} {
		got, err := parseDays(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}
