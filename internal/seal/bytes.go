package seal

import "github.com/latchkey/latchkey/internal/problem"

// Binary is what sealers may offer besides: the same for values of bytes, which
// saves the third that text takes more. What one form sealed only that form opens.
type Binary interface {
	// SealBytes is Seal for bytes; the result is Overhead bytes longer at most.
	SealBytes(plain []byte, place string) ([]byte, error)
	// OpenBytes is Open for what SealBytes gave.
	OpenBytes(sealed []byte, place string) (plain []byte, stale bool, err error)
}

// Overhead is by how many bytes a sealed value may be longer than the plain one
// when the sealer is [Binary], the mark of [Seal] included.
const Overhead = 64

// binaryMark begins values sealed as bytes. Sealed text never begins with it.
const binaryMark = 0x01

// Seal gives the sealed form of plain for stores of bytes: binary if the sealer
// can, else its text. It refuses a sealer that hides nothing (problem.Internal).
func Seal(s Sealer, plain []byte, place string) ([]byte, error) {
	if !s.Seals() {
		return nil, problem.New(problem.Internal, "the value would be stored in clear")
	}
	b, ok := s.(Binary)
	if !ok {
		text, err := s.Seal(string(plain), place)
		return []byte(text), err
	}
	raw, err := b.SealBytes(plain, place)
	if err != nil {
		return nil, err
	}
	return append([]byte{binaryMark}, raw...), nil
}

// Open undoes [Seal] with the kinds of the sealer's Open. The plain value is
// never nil without an error.
func Open(s Sealer, sealed []byte, place string) (plain []byte, stale bool, err error) {
	if len(sealed) == 0 || sealed[0] != binaryMark {
		text, stale, err := s.Open(string(sealed), place)
		if err != nil {
			return nil, false, err
		}
		return []byte(text), stale, nil
	}
	b, ok := s.(Binary)
	if !ok {
		return nil, false, problem.New(problem.Undecryptable, "the value was sealed in a form that this encryption does not have")
	}
	plain, stale, err = b.OpenBytes(sealed[1:], place)
	if err == nil && plain == nil {
		plain = []byte{}
	}
	return plain, stale, err
}
