package archive

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/state"
)

// writer puts records into frames.
type writer struct {
	w      io.Writer
	sum    hash.Hash
	sealer seal.Sealer // may be nil
	digest string      // of the header
	number int         // of the next frame
	plain  []byte      // of the frame being filled
	tally  tally
}

// newWriter writes the header.
func newWriter(w io.Writer, o Options, keyset []byte) (*writer, Header, error) {
	h := Header{Format: Format, Version: Version, ID: rand.Text(), Created: o.Created.UTC(), Program: o.Program, Sealed: o.Sealer != nil, Keyset: keyset}
	line, err := json.Marshal(h)
	if err != nil {
		return nil, h, problem.Wrap(problem.Internal, "the backup's header cannot be written", err)
	}
	line = append(line, '\n')
	out := &writer{w: w, sum: sha256.New(), sealer: o.Sealer, digest: digestOf(line), tally: tally{}}
	return out, h, out.write(line)
}

func digestOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}

// write passes bytes on and counts them into the digest.
func (w *writer) write(p []byte) error {
	w.sum.Write(p)
	if _, err := w.w.Write(p); err != nil {
		return problem.Wrap(problem.Unavailable, "the backup cannot be written", err)
	}
	return nil
}

// put adds a document.
func (w *writer) put(doc state.Document) error {
	w.plain = append(w.plain, recordPut)
	w.plain = appendText(w.plain, []byte(doc.Key))
	w.plain = appendText(w.plain, doc.Value)
	w.tally.put(doc.Key, len(doc.Value))
	return w.flushIfFull()
}

// remove takes back a document added before.
func (w *writer) remove(key state.Key) error {
	w.plain = append(w.plain, recordDelete)
	w.plain = appendText(w.plain, []byte(key))
	w.tally.remove(key)
	return w.flushIfFull()
}

func appendText(b, text []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

func (w *writer) flushIfFull() error {
	if len(w.plain) < frameTarget {
		return nil
	}
	return w.flush(frameDocuments)
}

// flush seals and writes the frame.
func (w *writer) flush(kind byte) error {
	content := w.plain
	if w.sealer != nil {
		var err error
		if content, err = seal.Seal(w.sealer, w.plain, framePlace(w.digest, w.number, kind)); err != nil {
			return err
		}
	}
	w.number++
	w.plain = w.plain[:0]
	return w.frame(kind, content)
}

func (w *writer) frame(kind byte, content []byte) error {
	if len(content) > maxFrame {
		return problem.New(problem.Internal, "a frame of the backup is too large")
	}
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(content)))
	if err := w.write(head); err != nil {
		return err
	}
	return w.write(content)
}

// finish writes the end record and gives the digest.
func (w *writer) finish() (string, error) {
	sum := hex.EncodeToString(w.sum.Sum(nil))
	text, err := json.Marshal(end{Documents: len(w.tally), SHA256: sum})
	if err != nil {
		return "", problem.Wrap(problem.Internal, "the backup's end cannot be written", err)
	}
	return sum, w.frame(frameEnd, text)
}

// tally knows which documents an archive holds so far, and the size of each.
type tally map[state.Key]int

func (t tally) put(key state.Key, size int) { t[key] = len(key) + size }
func (t tally) remove(key state.Key)        { delete(t, key) }

func (t tally) bytes() int64 {
	var n int64
	for _, size := range t {
		n += int64(size)
	}
	return n
}
