package keyring_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
)

func TestHowLongKeysOfFunctionsThatAreGoneAreKept(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "1h": time.Hour, " 7D ": 7 * 24 * time.Hour, "90m": 90 * time.Minute, "3650d": 3650 * 24 * time.Hour} {
		if got, keep, err := keyring.ParseGoneKept(text); got != want || keep || err != nil {
			t.Errorf("%q: %v %v %v", text, got, keep, err)
		}
	}
	if _, keep, err := keyring.ParseGoneKept("Keep"); !keep || err != nil {
		t.Errorf("keep: %v %v", keep, err)
	}
	for _, text := range []string{"0", "0d", "59m", "-7d", "3651d", "99999d", "1.5d", "forever", "d", "7 d"} {
		if _, _, err := keyring.ParseGoneKept(text); !errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), keyring.GoneKeptSetting) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
