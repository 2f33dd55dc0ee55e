package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/state"
)

// reader takes frames apart. Nothing it reads is trusted.
type reader struct {
	r      *bufio.Reader
	sum    hash.Hash
	header Header
	sealer seal.Sealer // nil: sealed frames are not opened
	digest string
	number int
	tally  tally
}

// record is one change on the way to what an archive holds.
type record struct {
	remove bool
	key    state.Key
	value  []byte
}

// newReader reads the header and gets the sealer. A nil opener leaves sealed
// frames closed; with one, frames must be sealed.
func newReader(r io.Reader, opener Opener) (*reader, error) {
	out := &reader{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New(), tally: tally{}}
	line, err := out.line()
	if err != nil {
		return nil, err
	}
	if out.header, err = parseHeader(line); err != nil {
		return nil, err
	}
	out.digest = digestOf(line)
	if opener == nil {
		return out, nil
	}
	if !out.header.Sealed { // anybody can have made it
		return nil, problem.New(problem.Invalid, "the backup is not encrypted").WithNext("read it without a key if you trust where it comes from")
	}
	if out.sealer, err = opener(out.header); err == nil && out.sealer == nil {
		err = problem.New(problem.Internal, "there is nothing to open the backup with")
	}
	return out, err
}

// line reads the header's line, its end included.
func (r *reader) line() ([]byte, error) {
	var line []byte
	for {
		part, err := r.r.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			r.sum.Write(line)
			return line, nil
		}
		if len(line) > maxHeader || errors.Is(err, io.EOF) {
			return nil, notABackup(nil)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, unreadable(err)
		}
	}
}

func parseHeader(line []byte) (Header, error) {
	var h Header
	if err := json.Unmarshal(line, &h); err != nil {
		return h, notABackup(err)
	}
	switch {
	case h.Format != Format || h.Version < 1:
		return h, notABackup(nil)
	case h.Version > Version:
		return h, problem.New(problem.Unsupported, fmt.Sprintf("the backup has format version %d; this program reads version %d", h.Version, Version)).
			WithNext(fmt.Sprintf("restore it with the version that made it, %q, or a later one", h.Program))
	}
	return h, nil
}

func notABackup(cause error) error {
	return problem.Wrap(problem.Invalid, "the file is no backup of Latchkey", cause).WithNext("give a file that the backup command made")
}

func unreadable(err error) error {
	return problem.Wrap(problem.Unavailable, "the backup cannot be read", err)
}

// all reads to the end of the file and hands records on in order. Only when it
// returns without an error are they known to be all of an undamaged archive.
func (r *reader) all(use func(record) error) (Summary, error) {
	for last := false; !last; r.number++ {
		kind, content, err := r.frame(maxFrame)
		if err != nil {
			return Summary{}, err
		}
		if kind != frameDocuments && kind != frameLast {
			return Summary{}, damaged("a part is missing or out of place")
		}
		last = kind == frameLast
		if err := r.documents(kind, content, use); err != nil {
			return Summary{}, err
		}
	}
	return r.end()
}

// frame reads one frame; it allocates no more than what is really there.
func (r *reader) frame(limit int) (kind byte, content []byte, err error) {
	var head [5]byte
	if err := r.full(head[:]); err != nil {
		return 0, nil, err
	}
	size := int(binary.BigEndian.Uint32(head[1:]))
	if size > limit {
		return 0, nil, damaged("a part is larger than any can be")
	}
	var b bytes.Buffer
	if n, err := io.CopyN(&b, r.r, int64(size)); n < int64(size) {
		return 0, nil, cutShort(err)
	}
	if head[0] != frameEnd {
		r.sum.Write(head[:])
		r.sum.Write(b.Bytes())
	}
	return head[0], b.Bytes(), nil
}

func (r *reader) full(p []byte) error {
	if _, err := io.ReadFull(r.r, p); err != nil {
		return cutShort(err)
	}
	return nil
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damaged("it ends too early")
	}
	return unreadable(err)
}

// documents opens a frame and hands its records on.
func (r *reader) documents(kind byte, content []byte, use func(record) error) error {
	if r.header.Sealed {
		if r.sealer == nil {
			return nil
		}
		plain, _, err := seal.Open(r.sealer, content, framePlace(r.digest, r.number, kind))
		if err != nil {
			return cannotOpen(err)
		}
		content = plain
	}
	for len(content) > 0 {
		rec, rest, err := parseRecord(content)
		if err == nil {
			err = r.count(rec)
		}
		if err == nil {
			err = use(rec)
		}
		if err != nil {
			return err
		}
		content = rest
	}
	return nil
}

func cannotOpen(err error) error {
	kind := problem.Undecryptable
	if problem.KindOf(err) == problem.Unavailable {
		kind = problem.Unavailable
	}
	return problem.Wrap(kind, "the backup cannot be decrypted: it is damaged, or its keys are others", err).
		WithNext("give the key-encryption key that was in use when the backup was made, or use another copy of the file")
}

func parseRecord(b []byte) (record, []byte, error) {
	kind := b[0]
	if kind != recordPut && kind != recordDelete {
		return record{}, nil, damaged("a record is malformed")
	}
	key, rest, ok := text(b[1:])
	rec := record{remove: kind == recordDelete, key: state.Key(key)}
	if ok && !rec.remove {
		rec.value, rest, ok = text(rest)
	}
	if !ok || len(rec.value) > state.MaxValue {
		return record{}, nil, damaged("a record is malformed")
	}
	return rec, rest, nil
}

// text takes what is behind its length.
func text(b []byte) (content, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	b = b[n:]
	return b[:size:size], b[size:], true
}

// count checks a record against those before it.
func (r *reader) count(rec record) error {
	if err := state.CheckKey(rec.key); err != nil || isLease(rec.key) || rec.key == RestoringKey {
		return damaged("it has a document that no backup has")
	}
	_, known := r.tally[rec.key]
	switch {
	case rec.remove && !known:
		return damaged("it removes a document that it does not have")
	case rec.remove:
		r.tally.remove(rec.key)
	default:
		r.tally.put(rec.key, len(rec.value))
	}
	return nil
}

// end checks the end record and that nothing follows it.
func (r *reader) end() (Summary, error) {
	sum := hex.EncodeToString(r.sum.Sum(nil))
	kind, content, err := r.frame(maxEnd)
	if err != nil {
		return Summary{}, err
	}
	var e end
	if kind != frameEnd || json.Unmarshal(content, &e) != nil {
		return Summary{}, damaged("its end record is missing")
	}
	if e.SHA256 != sum {
		return Summary{}, damaged("its content is not what was written")
	}
	opened := !r.header.Sealed || r.sealer != nil
	if opened && e.Documents != len(r.tally) || e.Documents < 0 {
		return Summary{}, damaged("it does not have as many documents as it says")
	}
	if _, err := r.r.ReadByte(); err == nil {
		return Summary{}, damaged("something follows its end")
	} else if !errors.Is(err, io.EOF) {
		return Summary{}, unreadable(err)
	}
	return Summary{Header: r.header, Documents: e.Documents, Bytes: r.tally.bytes(), SHA256: sum}, nil
}

// Inspect reads a whole archive and tells what it holds. Without an opener a
// sealed one is checked for damage, but not for what somebody did on purpose;
// with one, an archive that is not sealed is refused (problem.Invalid). It returns problem.Undecryptable for damage or the wrong keys, problem.Invalid
// for what is no archive, problem.Unsupported for one of a later version, and
// problem.Unavailable if r fails.
func Inspect(r io.Reader, opener Opener) (Summary, error) {
	in, err := newReader(r, opener)
	if err != nil {
		return Summary{}, err
	}
	return in.all(func(record) error { return nil })
}
