package state

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/problem"
)

// LeasePrefix is where stores keep leases; documents cannot be written there.
const LeasePrefix Key = "/leases/"

// CheckKey returns ErrInvalid, or ErrTooLarge, for what cannot be a key.
func CheckKey(key Key) error {
	s := string(key)
	switch {
	case len(s) > MaxKey:
		return problem.New(ErrTooLarge, fmt.Sprintf("a key of %d bytes is over the limit of %d", len(s), MaxKey))
	case len(s) < 2 || s[0] != '/' || s[len(s)-1] == '/' || strings.Contains(s, "//"):
		return problem.New(ErrInvalid, fmt.Sprintf("%q is no key: it must be a path of segments that are not empty", clip(s)))
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return problem.New(ErrInvalid, fmt.Sprintf("%q is no key: it must be text without control characters", clip(s)))
	}
	return nil
}

// CheckPrefix returns ErrInvalid for what cannot be a prefix of a list or watch.
func CheckPrefix(prefix Key) error {
	if prefix == "/" {
		return nil
	}
	if !strings.HasSuffix(string(prefix), "/") {
		return problem.New(ErrInvalid, fmt.Sprintf("%q is no prefix: it must end in a slash", clip(string(prefix))))
	}
	return CheckKey(prefix[:len(prefix)-1])
}

// CheckOps returns ErrInvalid or ErrTooLarge for what cannot be one write.
func CheckOps(ops []Op) error {
	if len(ops) == 0 || len(ops) > MaxOps {
		return problem.New(ErrTooLarge, fmt.Sprintf("a write has 1 to %d operations, not %d", MaxOps, len(ops)))
	}
	total, seen := 0, make(map[Key]bool, len(ops))
	for _, op := range ops {
		if err := checkOp(op); err != nil {
			return err
		}
		if seen[op.Key] {
			return problem.New(ErrInvalid, fmt.Sprintf("key %q occurs twice in one write", op.Key))
		}
		seen[op.Key] = true
		if total += len(op.Value); total > MaxValue {
			return problem.New(ErrTooLarge, fmt.Sprintf("the write, up to %q, is over the limit of %d bytes", op.Key, MaxValue))
		}
	}
	return nil
}

func checkOp(op Op) error {
	if err := CheckKey(op.Key); err != nil {
		return err
	}
	if op.Kind != OpCheck && strings.HasPrefix(string(op.Key), string(LeasePrefix)) {
		return problem.New(ErrInvalid, fmt.Sprintf("key %q is among the leases", op.Key))
	}
	if op.If < Any || op.Kind > OpDelete || (op.Kind != OpPut && op.Value != nil) {
		return problem.New(ErrInvalid, fmt.Sprintf("the operation on %q is malformed", op.Key))
	}
	return nil
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
