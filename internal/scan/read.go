package scan

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/latchkey/latchkey/azfkey"
)

const (
	chunkSize = 1 << 20
	sniffSize = 8 << 10
	// carrySize is how much of the last chunk stays in front of the next one:
	// more than what a key that is reported late can reach back.
	carrySize = 256
)

// hit is a key in a file, raw. It exists only between worker and collector.
type hit struct {
	line, column int64
	match        azfkey.Match
}

// reading is a worker's state, reused from file to file.
type reading struct {
	binary bool
	head   [sniffSize]byte
	buf    []byte // carry, then chunk
}

func newReading(opts Options) *reading {
	return &reading{binary: opts.Binary, buf: make([]byte, carrySize+chunkSize)}
}

// scan reads r to its end and calls send for each key; send returns false to
// stop. It returns the event that ends the file.
func (rd *reading) scan(ctx context.Context, r io.Reader, send func(event) bool) event {
	counted := &countingReader{r: r}
	text, err := rd.text(counted)
	if err == nil && text == nil {
		return event{skipped: skippedBinary}
	}
	if err == nil {
		err = rd.search(ctx, text, send)
	}
	return event{ended: true, bytes: counted.n, err: err}
}

// text looks at the start of r and gives a reader of its text, nil if it is
// not text. UTF-16 with a byte order mark (what some Windows tools write) is
// text despite its NUL bytes.
func (rd *reading) text(r io.Reader) (io.Reader, error) {
	n, err := io.ReadFull(r, rd.head[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	head := rd.head[:n]
	all := io.MultiReader(bytes.NewReader(head), r)
	if order := utf16Order(head); order != nil {
		return newUTF16Reader(all, order), nil
	}
	if !rd.binary && bytes.IndexByte(head, 0) >= 0 {
		return nil, nil
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) { // a UTF-8 byte order mark is no character of line 1
		all = io.MultiReader(bytes.NewReader(head[3:]), r)
	}
	return all, nil
}

// search finds the keys in text. Each chunk is read behind the end of the last
// one, so that the place of a key that is split over chunks is at hand.
func (rd *reading) search(ctx context.Context, text io.Reader, send func(event) bool) error {
	s := search{send: send, place: place{line: 1, column: 1}}
	carry := 0
	for !s.stopped && ctx.Err() == nil {
		n, err := io.ReadFull(text, rd.buf[carry:carry+len(rd.buf)-carrySize])
		s.place.hold(rd.buf[:carry+n], n)
		s.finder.Feed(rd.buf[carry:carry+n], s.found)
		if err != nil {
			s.finder.Close(s.found)
			return endOfText(err)
		}
		carry = copy(rd.buf, s.place.rest(carrySize))
	}
	return nil
}

// search is the state of the search in one file.
type search struct {
	finder  azfkey.Finder
	place   place
	send    func(event) bool
	stopped bool
}

func (s *search) found(m azfkey.Match) {
	s.place.advance(m.Start)
	h := &hit{line: s.place.line, column: s.place.column, match: m}
	s.stopped = s.stopped || !s.send(event{hit: h})
}

func endOfText(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// countingReader counts what is read from a file.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
