package funcapp

import (
	"bytes"
	"sort"
	"unicode/utf8"
)

// blankExtras replaces comments and trailing commas by spaces. Everything else,
// line breaks included, keeps its place. Text that is no JSON comes out as some
// other text that is no JSON.
func blankExtras(data []byte) []byte {
	b := blanker{src: data, out: bytes.Clone(data), comma: -1}
	for b.i < len(data) {
		b.step()
	}
	return b.out
}

// blanker is the state of one pass.
type blanker struct {
	src, out []byte
	i        int
	comma    int  // place of a comma with nothing but space after it, -1 when none
	last     byte // last significant byte before i
}

func (b *blanker) step() {
	switch c := b.src[b.i]; {
	case c == '"':
		b.skipString()
	case c == '/' && b.i+1 < len(b.src) && b.src[b.i+1] == '/':
		b.blank(bytes.IndexByte(b.src[b.i:], '\n'))
	case c == '/' && b.i+1 < len(b.src) && b.src[b.i+1] == '*':
		b.blockComment()
	case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		b.i++
	default:
		b.punctuation(c)
	}
}

// punctuation takes one significant byte and drops a comma that closes nothing
// but follows a value.
func (b *blanker) punctuation(c byte) {
	if (c == '}' || c == ']') && b.comma >= 0 {
		b.out[b.comma] = ' '
	}
	b.comma = -1
	if c == ',' && b.last != 0 && bytes.IndexByte([]byte("[{,:"), b.last) < 0 {
		b.comma = b.i
	}
	b.last = c
	b.i++
}

func (b *blanker) skipString() {
	b.comma, b.last = -1, '"'
	for b.i++; b.i < len(b.src); b.i++ {
		switch b.src[b.i] {
		case '\\':
			b.i++
		case '"':
			b.i++
			return
		}
	}
}

func (b *blanker) blockComment() {
	end := bytes.Index(b.src[b.i+2:], []byte("*/"))
	if end < 0 { // not closed: leave it, the JSON check names the line
		b.punctuation('/')
		b.i = len(b.src)
		return
	}
	b.blank(end + 4)
}

// blank overwrites n bytes (negative: all that is left) but keeps line breaks.
func (b *blanker) blank(n int) {
	end := b.i + n
	if n < 0 {
		end = len(b.src)
	}
	for ; b.i < end; b.i++ {
		if b.out[b.i] != '\n' && b.out[b.i] != '\r' {
			b.out[b.i] = ' '
		}
	}
}

// lineIndex holds the offset of every line break.
type lineIndex []int

func newLineIndex(text []byte) lineIndex {
	var x lineIndex
	for i, c := range text {
		if c == '\n' {
			x = append(x, i)
		}
	}
	return x
}

// at gives the 1-based line of an offset.
func (x lineIndex) at(offset int) int { return sort.SearchInts(x, offset) + 1 }

func lineOf(text []byte, offset int) int {
	return bytes.Count(text[:min(offset, len(text))], []byte{'\n'}) + 1
}

func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return len(data)
}
