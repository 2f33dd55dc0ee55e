package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// Keys of the state.
const (
	Documents state.Key = "/audit/"       // one per event, by its sequence with 20 digits
	headKey   state.Key = "/audit-head"   // the last event
	anchorKey state.Key = "/audit-anchor" // the last event that was trimmed
)

// record is an event as it is stored. Its bytes are the JSON that encoding/json
// makes of it, and the hash is taken of exactly these bytes.
type record struct {
	Sequence uint64 `json:"seq"`
	Previous string `json:"prev"` // hash of the former event, "" for the very first
	Event    Event  `json:"event"`
}

// Mark names a place in the chain: an event by its sequence, and its hash. Whoever
// keeps a mark elsewhere can tell later whether the chain up to it was replaced.
type Mark struct {
	Sequence uint64    `json:"sequence"`
	Hash     string    `json:"hash"`
	Time     time.Time `json:"time,omitzero"`
}

// Entry is an event with its place in the chain.
type Entry struct {
	Sequence uint64 `json:"sequence"`
	Event
}

func key(sequence uint64) state.Key { return Documents + state.Key(fmt.Sprintf("%020d", sequence)) }

// sequenceOf reads the sequence in a key; 0 if there is none.
func sequenceOf(k state.Key) uint64 {
	n, err := strconv.ParseUint(string(k[len(Documents):]), 10, 64)
	if err != nil || key(n) != k {
		return 0
	}
	return n
}

func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func decode(doc state.Document) (record, error) {
	var r record
	if err := json.Unmarshal(doc.Value, &r); err != nil {
		return r, problem.Wrap(problem.Undecryptable, fmt.Sprintf("audit event %q cannot be understood", doc.Key), err)
	}
	return r, nil
}
