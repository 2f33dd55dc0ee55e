package keystore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// Copier is the optional power to keep copies of documents that cannot be used,
// beside them and as they were stored. The stock host's copies are among them.
type Copier interface {
	// Preserve keeps a copy of a document unless there is one of the same content,
	// and gives its name and the revision of what was copied, for [DeleteAt] to remove
	// that and nothing else. The document stays as it is. It returns ErrNotFound
	// without a document, and ErrConflict when there are [MaxCopies] of it already.
	Preserve(ctx context.Context, doc Doc) (name string, rev Revision, err error)
	// Copies gives the names of the copies of a document, sorted.
	Copies(ctx context.Context, doc Doc) ([]string, error)
	// LoadCopy reads a copy as Load reads the document.
	LoadCopy(ctx context.Context, doc Doc, name string) (Document, error)
}

// CopyRemover is the optional power to remove copies that nobody needs.
type CopyRemover interface {
	// RemoveCopy removes a copy of a document for good; ErrNotFound if there is none of
	// that name. The document itself stays as it is.
	RemoveCopy(ctx context.Context, doc Doc, name string) error
}

// MaxCopies is how many copies of a document there may be: the stock host, too, takes
// more for a sign that something else is wrong.
const MaxCopies = 10

// CopyName names the copy of a document with this content.
func CopyName(doc Doc, content []byte) string {
	sum := sha256.Sum256(content)
	return string(doc) + snapshot + hex.EncodeToString(sum[:8]) + extension
}

const snapshot, extension = ".snapshot.", ".json"

// IsCopy reports whether a name is that of a copy of a document.
func IsCopy(doc Doc, name string) bool {
	rest, ok := strings.CutPrefix(name, string(doc)+snapshot)
	return ok && strings.HasSuffix(rest, extension) && len(rest) > len(extension) && !strings.ContainsAny(rest, `/\`)
}

// CheckCopy returns ErrInvalid for a name that no copy of a document has.
func CheckCopy(doc Doc, name string) error {
	if IsCopy(doc, name) {
		return nil
	}
	return problem.New(ErrInvalid, fmt.Sprintf("%q is not the name of a copy of key document %q", clip(name), string(doc))).
		WithNext("copies are called " + string(doc) + snapshot + "{…}" + extension)
}

// Uncopied is what a store without [Copier] may have, to say how a document is
// brought back there.
type Uncopied interface {
	// WithoutCopies says why there are no copies, and what to do instead.
	WithoutCopies() (why, next string)
}

// NoCopies is the problem.Unsupported of a store that keeps no copies.
func NoCopies(s Store) error {
	why, next := "", "its documentation in docs/stores says how keys are restored there"
	if u, ok := s.(Uncopied); ok {
		why, next = u.WithoutCopies()
		why = ": " + why
	}
	return problem.New(problem.Unsupported, s.String()+" keeps no copies of documents"+why).WithNext(next)
}

// TooManyCopies is what Preserve returns for one more than MaxCopies.
func TooManyCopies(doc Doc, where string) error {
	return problem.New(ErrConflict, fmt.Sprintf("there are %d copies of key document %q in %s; no further one is kept", MaxCopies, string(doc), where)).
		WithNext("remove those that nobody needs")
}

// NoCopy is the ErrNotFound that LoadCopy returns for an absent copy.
func NoCopy(name, where string) error {
	return problem.New(ErrNotFound, fmt.Sprintf("there is no copy %q in %s", clip(name), where))
}
