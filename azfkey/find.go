package azfkey

import (
	"bytes"
	"fmt"
	"strings"
)

// How far around the signature's first character the decision looks.
const (
	escapeLen  = len(`\u003d`)                  // the longest escape sequence before a key
	leftReach  = anchorAt + escapeLen           // bytes before
	rightReach = unpaddedLen - anchorAt + 2 + 1 // bytes from it on: rest, padding, one more
	border     = leftReach + rightReach         // what two pieces of a text must share
)

// Match is a key found in a text. Printing it in any way shows it masked.
type Match struct {
	Start int64 // offset of the key's first byte in the text
	End   int64 // offset after its last byte, "==" included where it is there
	Kind  Kind
	key   string
}

// Key gives the key itself, padded as the app knows it even where the text has
// it without padding. Handle it as the secret it is.
func (m Match) Key() string { return m.key }

// Format keeps the key out of everything that package fmt prints.
func (m Match) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "%s key %s at %d", m.Kind, Mask(m.key), m.Start)
}

// Find gives the keys in a text, in order. It keeps no reference to text.
func Find(text []byte) []Match {
	var all []Match
	w := window{text: text}
	w.search(0, len(text), func(m Match) { all = append(all, m) })
	return all
}

// Redact gives text with every key in it masked; text itself if there is none.
func Redact(text string) string {
	matches := Find([]byte(text))
	if len(matches) == 0 {
		return text
	}
	var b strings.Builder
	done := int64(0)
	for _, m := range matches {
		b.WriteString(text[done:m.Start])
		b.WriteString(Mask(m.key))
		done = m.End
	}
	b.WriteString(text[done:])
	return b.String()
}

// Finder finds keys in a text that arrives in pieces of any size, keys split
// over pieces included. It finds exactly what [Find] finds in the whole text and
// uses constant memory. The zero Finder is ready for use; it is not safe for
// concurrent use.
type Finder struct {
	tail  [2 * border]byte // the end of what came so far, with room for the next piece's head
	held  int              // bytes of tail in use, at most border
	total int64            // bytes seen
	next  int64            // offset before which every signature has been judged
}

// Feed takes the next piece and calls found, in order, for each key that is
// now certain. A key at the very end of a piece is certain only with the next
// piece or [Finder.Close]. Offsets count from the start of the text. Feed keeps
// no reference to piece.
func (f *Finder) Feed(piece []byte, found func(Match)) {
	head := piece[:min(len(piece), border)]
	joined := append(f.tail[:f.held], head...)
	f.judge(window{text: joined, base: f.total - int64(f.held)}, rightReach-1, found)
	f.judge(window{text: piece, base: f.total}, rightReach-1, found)
	f.total += int64(len(piece))
	f.hold(joined, piece)
}

// Close ends the text: it calls found for a key at its very end and makes the
// Finder ready for another text.
func (f *Finder) Close(found func(Match)) {
	f.judge(window{text: f.tail[:f.held], base: f.total - int64(f.held)}, 0, found)
	*f = Finder{}
}

// judge looks at the signatures not judged yet, except those that begin in the
// last open bytes of the window: what follows them is still to come.
func (f *Finder) judge(w window, open int, found func(Match)) {
	from, to := f.next-w.base, len(w.text)-open
	if from >= int64(to) {
		return
	}
	w.search(int(from), to, found)
	f.next = w.base + int64(to)
}

// hold keeps the last bytes of the text as context for the next piece.
func (f *Finder) hold(joined, piece []byte) {
	end := joined
	if len(piece) > border {
		end = piece
	}
	if len(end) > border {
		end = end[len(end)-border:]
	}
	f.held = copy(f.tail[:], end)
}

// window is a stretch of a text that begins at offset base of the text. Unless
// base is 0, leftReach bytes come before every signature that is looked at.
type window struct {
	text []byte
	base int64
}

// search calls found for each key whose signature begins in text[from:to].
func (w window) search(from, to int, found func(Match)) {
	limit := min(to+len(anchor)-1, len(w.text))
	for from < limit {
		i := bytes.Index(w.text[from:limit], []byte(anchor))
		if i < 0 {
			return
		}
		if m, ok := w.at(from + i); ok {
			found(m)
		}
		from += i + 1
	}
}

// at judges the signature at text[i].
func (w window) at(i int) (Match, bool) {
	start, end := i-anchorAt, i-anchorAt+unpaddedLen
	if start < 0 || end > len(w.text) || !w.freeBefore(start) {
		return Match{}, false
	}
	raw := w.text[start:end]
	if bytes.HasPrefix(w.text[end:], []byte(padding)) {
		end += len(padding)
	}
	if end < len(w.text) && isWord(w.text[end]) {
		return Match{}, false
	}
	if strings.IndexByte(lastChars, raw[unpaddedLen-1]) < 0 {
		return Match{}, false
	}
	var key [Size]byte
	if !decodeRaw(&key, raw) {
		return Match{}, false
	}
	kind, ok := kindOf(&key)
	if !ok {
		return Match{}, false
	}
	return Match{w.base + int64(start), w.base + int64(end), kind, string(raw) + padding}, true
}

// freeBefore reports whether a key can begin at text[start].
func (w window) freeBefore(start int) bool {
	if start == 0 {
		return w.base == 0
	}
	return !isWord(w.text[start-1]) || endsInEscape(w.text[:start])
}

// endsInEscape reports whether the text ends in an escape sequence of a URL
// (also one encoded twice) or of a string literal, so that its last letter or
// digit does not belong to what follows.
func endsInEscape(text []byte) bool {
	return endsIn(text, `\`, 1, "abfnrtv0") ||
		endsIn(text, `%`, 2, hexDigits) || endsIn(text, `%25`, 2, hexDigits) ||
		endsIn(text, `\x`, 2, hexDigits) || endsIn(text, `\u`, 4, hexDigits)
}

const hexDigits = "0123456789abcdefABCDEF"

// endsIn reports whether text ends in lead followed by n characters of set.
func endsIn(text []byte, lead string, n int, set string) bool {
	if !bytes.HasSuffix(text[:max(0, len(text)-n)], []byte(lead)) {
		return false
	}
	for _, c := range text[len(text)-n:] {
		if strings.IndexByte(set, c) < 0 {
			return false
		}
	}
	return true
}
