package state_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/state"
)

func TestCheckCondition(t *testing.T) {
	for _, tt := range []struct {
		cond, have state.Revision
		holds      bool
	}{
		{state.Any, state.Absent, true}, {state.Any, 7, true},
		{state.Absent, state.Absent, true}, {state.Absent, 7, false},
		{7, 7, true}, {7, 8, false}, {7, 6, false}, {7, state.Absent, false},
	} {
		err := state.CheckCondition(state.Check("/the/key", tt.cond), tt.have)
		if tt.holds != (err == nil) || err != nil && (!errors.Is(err, state.ErrConflict) || !strings.Contains(err.Error(), "/the/key")) {
			t.Errorf("if %d, has %d: %v", tt.cond, tt.have, err)
		}
	}
}

func TestErrorsDoNotCarryLongKeys(t *testing.T) {
	long := state.Key("no key " + strings.Repeat("k", 900))
	for _, err := range []error{state.CheckKey(long), state.CheckPrefix(long)} {
		if err == nil || len(err.Error()) > 300 {
			t.Errorf("got %v", err)
		}
	}
}

// FuzzCheckKey holds every key that is accepted to the rules in the words of the
// contract, and wants prefixes to be keys with a slash.
func FuzzCheckKey(f *testing.F) {
	for _, s := range []string{"", "/", "/a", "/a/b", "a", "/a/", "//", "/a//b", "/\x00", "/ä", "/\xff", "/" + strings.Repeat("k", 1023)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		good := len(s) <= state.MaxKey && utf8.ValidString(s) && strings.HasPrefix(s, "/")
		for _, seg := range strings.Split(s, "/")[1:] {
			good = good && seg != ""
		}
		for _, r := range s {
			good = good && r >= ' ' && (r < 0x7f || r > 0x9f)
		}
		if err := state.CheckKey(state.Key(s)); good != (err == nil) {
			t.Errorf("key %q: %v", s, err)
		}
		if err := state.CheckPrefix(state.Key(s + "/")); (good || s == "") != (err == nil) {
			t.Errorf("prefix %q: %v", s+"/", err)
		}
	})
}
