package archive

import (
	"bytes"
	"crypto/sha256"

	"github.com/latchkey/latchkey/internal/state"
)

// Finished adds the right end to what is before it.
func Finished(file []byte, documents int) []byte {
	var b bytes.Buffer
	w := &writer{w: &b, sum: sha256.New(), tally: tally{}}
	for i := range min(documents, 1000) {
		w.tally[state.Key(rune(i))] = 0
	}
	_ = w.write(file)
	_, _ = w.finish()
	return b.Bytes()
}

// Unfinished takes the end off a good file.
func Unfinished(file []byte) []byte {
	return file[:bytes.LastIndex(file, []byte("E\x00\x00"))]
}
