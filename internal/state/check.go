package state

import (
	"context"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/problem"
)

// LeasePrefix is where stores keep leases, each as a document of the lease's name.
// They are read, listed and watched as all documents are; only stores write them.
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

// CheckList returns ErrInvalid for what cannot be listed.
func CheckList(prefix Key, page Page) error {
	if page.Limit < 0 {
		return problem.New(ErrInvalid, fmt.Sprintf("a list of at most %d documents makes no sense", page.Limit))
	}
	return CheckPrefix(prefix)
}

// CheckOps returns ErrInvalid or ErrTooLarge for what cannot be one write.
func CheckOps(ops []Op) error {
	switch {
	case len(ops) == 0:
		return problem.New(ErrInvalid, "a write needs an operation")
	case len(ops) > MaxOps:
		return problem.New(ErrTooLarge, fmt.Sprintf("a write has at most %d operations, not %d", MaxOps, len(ops)))
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

// CheckCondition returns ErrConflict, naming the key, if the condition of an
// operation does not hold for a document that has the given revision, [Absent] for
// one that does not exist.
func CheckCondition(op Op, have Revision) error {
	switch {
	case op.If == Any || op.If == have:
		return nil
	case op.If == Absent:
		return problem.New(ErrConflict, fmt.Sprintf("document %q exists already", op.Key))
	case have == Absent:
		return problem.New(ErrConflict, fmt.Sprintf("document %q does not exist any more", op.Key))
	}
	return problem.New(ErrConflict, fmt.Sprintf("document %q was changed in the meantime", op.Key))
}

// Alive returns an error, problem.Timeout around the context's own, when ctx has
// ended: nothing was done then.
func Alive(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return problem.Wrap(problem.Timeout, "the store was not asked in time", err)
	}
	return nil
}

// Missing gives the ErrNotFound of a document.
func Missing(key Key) error {
	return problem.New(ErrNotFound, fmt.Sprintf("there is no document %q", key))
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
