// Package scan owns the search for leaked access keys in files and streams, and
// the reports about them. It finds identifiable keys (see package azfkey): those
// that carry the mark and a right checksum. Older keys and keys chosen by people
// look like any other text and are not found; neither is anything inside
// compressed or encrypted files, git's object store included (scan the output of
// "git log -p" instead).
//
// Files are read once, in pieces, so that memory use depends neither on the size
// of a file nor on the length of a line. No key leaves the package except to the
// caller's Identify function: findings and reports carry the masked form, and
// neither a hash nor a line of context from which more could be learned.
//
// It deliberately does not know which keys exist or where they are stored: the
// caller tells, through Identify, what a found key opens.
package scan

import (
	"context"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/accesskey"
)

// Options say what to scan and how. The zero value scans nothing.
type Options struct {
	// Paths are files and folders. A symbolic link named here is followed; links
	// met inside a folder are not: what they point to is scanned if it is there.
	Paths []string

	// Git also scans folders called .git.
	Git bool

	// Binary also scans files that have a NUL byte in their first 8 KiB.
	Binary bool

	// Workers is how many files are read at a time; 0 means one per CPU.
	Workers int

	// Identify tells what a key opens; nil or no answer means it is not known.
	// value is the key as an app knows it. Calls are sequential, one per finding.
	Identify func(value string) []Owner

	// Problem hears of files and folders that could not be read, or not to the
	// end; the scan goes on. May be nil. Calls are sequential and in order with
	// the findings.
	Problem func(path string, err error)
}

// Owner is a known key that has the found value.
type Owner struct {
	App      string
	Function string // empty unless Kind is Function
	Name     string // name of the key
	Kind     accesskey.Kind
}

// Finding is one place where a key stands.
type Finding struct {
	File      string // path as given, joined with what was found below it; keys in it masked
	Line      int64  // from 1
	Column    int64  // of the first character, in Unicode characters from 1
	EndColumn int64  // of the character after the last
	Kind      azfkey.Kind
	Masked    string
	Owners    []Owner // what the key opens, as far as known
}

// Stats count what a scan did.
type Stats struct {
	Files    int64 // scanned, at least in part
	Bytes    int64 // read from them
	Findings int64
	Binary   int64 // files skipped because they are not text
	Special  int64 // pipes, sockets and devices skipped
	Links    int64 // symbolic links not followed
	Problems int64 // files and folders that could not be read, or not to the end
}

// Scan searches all of opts.Paths and calls emit for each finding, in an order
// that depends only on the paths and the files: paths as given, names in a
// folder sorted. Calls are sequential, made by the caller's goroutine while
// others read on. An error of emit ends the scan and is returned; so does the end
// of ctx. A path that does not exist fails the scan with problem.NotFound before
// anything is read. No goroutine outlives the call.
func Scan(ctx context.Context, opts Options, emit func(Finding) error) (Stats, error) {
	roots, err := resolve(opts.Paths)
	if err != nil {
		return Stats{}, err
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	group, inner := errgroup.WithContext(inner)
	s := newScanner(opts)
	group.Go(func() error { return s.walkAll(inner, roots) })
	for range s.workers {
		group.Go(func() error { return s.work(inner) })
	}
	c := collector{opts: opts, emit: emit}
	err = c.collect(inner, s.order)
	cancel() // if the collector gave up, the others have nothing left to do
	return c.stats, firstError(err, group.Wait(), ctx.Err())
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Reader searches one stream, called name in findings. It is for text that is
// not in files, for example the output of "git log -p"; binary streams are
// scanned as well. opts.Paths does not matter. ctx is looked at between reads, so
// a read that blocks is the caller's to end.
func Reader(ctx context.Context, name string, r io.Reader, opts Options, emit func(Finding) error) (Stats, error) {
	opts.Binary = true
	c := collector{opts: opts, emit: emit}
	j := &job{show: name}
	var failed error
	last := newReading(opts).scan(ctx, r, func(e event) bool {
		failed = c.take(j, e)
		return failed == nil
	})
	if failed == nil {
		failed = c.take(j, last)
	}
	return c.stats, firstError(failed, ctx.Err())
}
