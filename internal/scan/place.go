package scan

import "bytes"

// place follows a text that comes in chunks and knows line and column of the
// offset it has reached.
type place struct {
	line, column int64  // of offset, from 1
	offset       int64  // where we are in the text
	held         []byte // the stretch of the text that is in memory
	base         int64  // offset of its first byte
}

// hold says what is in memory now: the rest of before and n bytes more.
func (p *place) hold(held []byte, n int) {
	p.base += int64(len(p.held) + n - len(held))
	p.held = held
}

// rest moves on until at most n bytes are ahead or passed but still wanted, and
// gives the last n bytes held.
func (p *place) rest(n int) []byte {
	first := max(0, len(p.held)-n)
	p.advance(p.base + int64(first))
	return p.held[first:]
}

// advance moves on to offset to, which is in memory. It never moves back.
func (p *place) advance(to int64) {
	if to <= p.offset {
		return
	}
	passed := p.held[p.offset-p.base : to-p.base]
	p.offset = to
	if ends := bytes.Count(passed, []byte{'\n'}); ends > 0 {
		p.line += int64(ends)
		p.column = 1
		passed = passed[bytes.LastIndexByte(passed, '\n')+1:]
	}
	p.column += characters(passed)
}

// characters counts the UTF-8 characters that begin in text; in text that is
// not UTF-8, the bytes that could begin one.
func characters(text []byte) int64 {
	n := 0
	for _, c := range text {
		if c&0xc0 != 0x80 {
			n++
		}
	}
	return int64(n)
}
