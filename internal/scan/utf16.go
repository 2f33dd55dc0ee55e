package scan

import (
	"bytes"
	"encoding/binary"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// utf16Order tells the byte order of text that begins with a UTF-16 byte order
// mark, nil for any other text.
func utf16Order(head []byte) binary.ByteOrder {
	switch {
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}):
		return binary.LittleEndian
	case bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return binary.BigEndian
	default:
		return nil
	}
}

// utf16Reader turns UTF-16 into UTF-8; broken pairs become U+FFFD.
type utf16Reader struct {
	r     io.Reader
	order binary.ByteOrder
	in    []byte // raw bytes, those before inLen still to be decoded
	inLen int
	high  rune // first half of a pair, or 0
	out   []byte
	err   error
}

// newUTF16Reader reads text that begins with the byte order mark, which is
// left out.
func newUTF16Reader(r io.Reader, order binary.ByteOrder) *utf16Reader {
	u := &utf16Reader{r: r, order: order, in: make([]byte, 32<<10)}
	var mark [2]byte
	_, u.err = io.ReadFull(r, mark[:])
	return u
}

func (u *utf16Reader) Read(p []byte) (int, error) {
	for len(u.out) == 0 {
		if u.err != nil {
			return 0, u.err
		}
		u.fill()
	}
	n := copy(p, u.out)
	u.out = u.out[n:]
	return n, nil
}

// fill decodes the next bytes; an odd one at the end waits for its other half.
func (u *utf16Reader) fill() {
	n, err := u.r.Read(u.in[u.inLen:])
	u.inLen += n
	u.err = err
	even := u.inLen &^ 1
	u.out = u.out[:0]
	for i := 0; i < even; i += 2 {
		u.decode(rune(u.order.Uint16(u.in[i:])))
	}
	u.inLen = copy(u.in, u.in[even:u.inLen])
}

func (u *utf16Reader) decode(unit rune) {
	high := u.high
	u.high = 0
	if high != 0 {
		if r := utf16.DecodeRune(high, unit); r != utf8.RuneError {
			u.out = utf8.AppendRune(u.out, r)
			return
		}
		u.out = utf8.AppendRune(u.out, utf8.RuneError)
	}
	const firstHigh, firstLow = 0xd800, 0xdc00
	if unit >= firstHigh && unit < firstLow {
		u.high = unit
		return
	}
	u.out = utf8.AppendRune(u.out, unit) // a lone second half becomes U+FFFD here
}
