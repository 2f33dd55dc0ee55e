package process

import (
	"testing"
	"time"
)

func TestLinesAboutProcesses(t *testing.T) {
	const rest = " 12 345 345 0 -1 4194304 1 2 3 4 150 50 10 -1 20 0 1 0 999 5000000 25 18446744073709551615 1 1"
	for line, want := range map[string]bool{
		"345 (sh) S" + rest:             true,
		"345 (a) b) S 1 2 (x) S" + rest: true,
		"345 (sh) S 1 2":                false,
		"345 sh S" + rest:               false,
		"":                              false,
	} {
		s, ok := parseStat(line)
		if ok != want || ok && (s.group != 345 || s.cpu != 2100*time.Millisecond || s.memory <= 0 || s.memory%25 != 0) {
			t.Errorf("%q: %+v %v", line, s, ok)
		}
	}
}

func FuzzLinesAboutProcesses(f *testing.F) {
	f.Add("345 (sh) S 1 345 345 0 -1 4194304 1 2 3 4 150 50 10 -1 20 0 1 0 999 5000000 25 1")
	f.Add("1 () )) S")
	f.Add("1 (a) S 1 -5 1 0 -1 1 1 1 1 1 9223372036854775807 9223372036854775807 -3 1 1 1 1 1 1 1 9223372036854775807 1")
	f.Fuzz(func(t *testing.T, line string) {
		if s, ok := parseStat(line); ok && (s.memory < 0 || s.cpu < 0 || s.group < 0) {
			t.Error(s)
		}
	})
}
