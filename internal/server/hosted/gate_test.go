package hosted

import (
	"errors"
	"testing"

	"github.com/latchkey/latchkey/internal/problem"
)

func TestTheServerBoundsBodiesThatAppsAskFor(t *testing.T) {
	for name, c := range map[string]struct {
		setting string
		most    int64
		want    int64
		clamped bool
		err     error
	}{
		"nothing said":                  {"", 0, defaultBody, false, nil},
		"less than the server allows":   {"1000", 2000, 1000, false, nil},
		"as much as it allows":          {"2000", 2000, 2000, false, nil},
		"more than it allows":           {"2001", 2000, 2000, true, nil},
		"a default above the bound":     {"", 2000, 2000, false, nil},
		"more, and the server has none": {"9000000000", 0, 9_000_000_000, false, nil},
		"not a number":                  {"much", 2000, 0, false, problem.Invalid},
		"nothing allowed":               {"0", 2000, 0, false, problem.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			got, clamped, err := bodyLimit(Settings{bodySetting: c.setting}, c.most)
			if got != c.want || clamped != c.clamped || !errors.Is(err, c.err) {
				t.Errorf("%d, clamped %v, %v; want %d, %v, %v", got, clamped, err, c.want, c.clamped, c.err)
			}
		})
	}
}
