// Package archive owns the backup of a whole store as one file, and putting it
// back into an empty one, of the same kind or another. Documents are taken as the
// store below the encryption has them, so their values stay sealed; what holds
// them (names, order, number) is sealed as well when a sealer is given, and the
// encrypted keyset goes along in the header: the file and the key-encryption key
// are all that a new machine needs. Leases are left out, and revisions: after a
// restore all documents are there, but their revisions are new.
//
// It deliberately does not know what the documents mean, where the file lies, or
// how the keyset is opened.
//
// # The file
//
// A line of JSON, the [Header]. Then frames: a byte that tells the kind, the
// length as 4 bytes, big-endian, and that many bytes. Frames of kind "D" hold
// documents; the last of these is of kind "L". What they hold is sealed frame by
// frame, for a place that names the header's digest, the frame's number and its
// kind, so that frames cannot be changed, moved, left out or taken from another
// file. A frame of kind "E" ends the file: JSON in clear with the number of
// documents and the SHA-256 of all bytes before that frame, so that damage is
// found without any key too.
//
// A frame of documents is a sequence of records: a byte, "+" for a document or
// "-" for one that is to be removed again, the key and, after "+", the value,
// both with their length before them as a varint. A later record of the same key
// takes the place of an earlier one: documents that changed while the backup was
// made come twice.
package archive

import (
	"fmt"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/state"
)

// Format and Version begin every archive. Readers refuse later versions.
const (
	Format  = "latchkey-backup"
	Version = 1
)

// RestoringKey is a document that is there while a restore is under way: a store
// that has it is not complete and must not be used.
const RestoringKey state.Key = "/platform/restoring"

// Header tells what an archive is. It is readable without a key, and cannot be
// changed unnoticed if the archive is sealed.
type Header struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	ID      string    `json:"id"` // random
	Created time.Time `json:"created"`
	Program string    `json:"program"`          // version of the program that made it
	Sealed  bool      `json:"sealed"`           // the frames are sealed
	Keyset  []byte    `json:"keyset,omitempty"` // the encrypted keyset they are sealed with
}

// Options say how a backup is made.
type Options struct {
	Created time.Time
	Program string      // version of the program
	Sealer  seal.Sealer // seals the frames; nil leaves the names of documents readable
	Keyset  state.Key   // the document with the sealer's encrypted keyset; "" if it is kept elsewhere
}

// Summary tells what an archive holds.
type Summary struct {
	Header    Header
	Documents int
	Bytes     int64  // of all keys and values; 0 if the archive was not opened
	SHA256    string // of all bytes before the end record, in hexadecimal
}

// Opener gives the sealer that opens an archive, usually by opening the header's
// keyset with the key-encryption key. It may be called more than once.
type Opener func(Header) (seal.Sealer, error)

// Kinds of frames.
const (
	frameDocuments = 'D'
	frameLast      = 'L'
	frameEnd       = 'E'
)

// Kinds of records.
const (
	recordPut    = '+'
	recordDelete = '-'
)

// Sizes of an archive's parts, in bytes.
const (
	frameTarget = 256 << 10 // a frame is complete when it has as much
	maxFrame    = 4 << 20   // no frame is larger, sealed
	maxHeader   = 2 << 20
	maxEnd      = 1 << 10
)

// end is the content of the end record.
type end struct {
	Documents int    `json:"documents"`
	SHA256    string `json:"sha256"`
}

// framePlace is what a frame is sealed for.
func framePlace(headerDigest string, number int, kind byte) string {
	return fmt.Sprintf("latchkey backup v1 %s %d %c", headerDigest, number, kind)
}

func damaged(why string) *problem.Error {
	return problem.New(problem.Undecryptable, "the backup is damaged: "+why).
		WithNext("use another copy of the file; nothing was changed")
}
