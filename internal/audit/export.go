package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// exportVersion is that of the export's form.
const exportVersion = 1

// header is the first line of an export.
type header struct {
	Version int  `json:"latchkeyAuditExport"`
	Anchor  Mark `json:"anchor"`
	Head    Mark `json:"head"`
}

// maxLine is more than any stored event has.
const maxLine = state.MaxValue + 1

// Export writes the whole chain as JSON lines: a header with the chain's ends, then
// every event in the exact form whose hash the next one has. [VerifyExport] checks
// it without the store.
func (l *Log) Export(ctx context.Context, w io.Writer) error {
	anchor, _, err := l.anchor(ctx)
	if err != nil {
		return err
	}
	head, err := l.Head(ctx)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	if err := json.NewEncoder(out).Encode(header{exportVersion, anchor, head}); err != nil {
		return err
	}
	err = l.walk(ctx, anchor.Sequence, head.Sequence, func(_ uint64, text []byte) error {
		// Only a damaged event has a line break; it stays one line and stays damaged.
		_, err := out.Write(append(bytes.ReplaceAll(text, []byte("\n"), []byte(" ")), '\n'))
		return err
	})
	if err != nil {
		return err
	}
	return out.Flush()
}

// VerifyExport checks an export as [Log.Verify] checks the chain. problem.Invalid
// for what is no export.
func VerifyExport(r io.Reader) (Report, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	if !lines.Scan() {
		return Report{}, errors.Join(problem.New(problem.Invalid, "the file is empty or its first line is too long: this is no audit export"), lines.Err())
	}
	var h header
	if err := json.Unmarshal(lines.Bytes(), &h); err != nil || h.Version != exportVersion {
		return Report{}, problem.New(problem.Invalid, fmt.Sprintf("the first line is not the header of an audit export of version %d", exportVersion))
	}
	c := newChain(h.Anchor)
	for lines.Scan() {
		c.add(c.place(lines.Bytes()), lines.Bytes())
	}
	if err := lines.Err(); err != nil {
		return Report{}, problem.Wrap(problem.Invalid, "the export cannot be read to its end", err)
	}
	return c.end(h.Head, 0), nil
}

// place says where an exported event belongs: where it says it does, unless that
// cannot be.
func (c *chain) place(text []byte) uint64 {
	var r record
	if err := json.Unmarshal(text, &r); err != nil || r.Sequence == 0 {
		return c.last.Sequence + 1
	}
	return r.Sequence
}

// Trim removes events from before a time from the beginning of the chain, never
// the last one, and leaves an anchor, so that the rest can be verified. It gives
// how many it removed, and appends an event that says so. It stops with
// problem.Undecryptable before an event that is damaged: that is evidence.
func (l *Log) Trim(ctx context.Context, before time.Time) (removed uint64, err error) {
	for {
		n, err := l.trimSome(ctx, before)
		if errors.Is(err, state.ErrConflict) {
			continue // another node trims too
		}
		if err != nil {
			return removed, err
		}
		if n == 0 {
			break
		}
		removed += n
	}
	if removed == 0 {
		return 0, nil
	}
	return removed, l.Append(ctx, Event{
		Category: System, Action: "Latchkey.Audit/trimmed",
		Details: map[string]string{"events": fmt.Sprint(removed), "before": before.UTC().Format(time.RFC3339)},
	})
}

// trimSome removes one write's worth of events.
func (l *Log) trimSome(ctx context.Context, before time.Time) (uint64, error) {
	anchor, rev, err := l.anchor(ctx)
	if err != nil {
		return 0, err
	}
	head, err := l.Head(ctx)
	if err != nil {
		return 0, err
	}
	listing, err := l.store.List(ctx, Documents, state.Page{After: key(anchor.Sequence), Limit: state.MaxOps - 1})
	if err != nil {
		return 0, err
	}
	var ops []state.Op
	for _, doc := range listing.Documents {
		r, err := decode(doc)
		if err != nil || r.Sequence != anchor.Sequence+1 || r.Previous != anchor.Hash {
			return 0, problem.New(problem.Undecryptable, fmt.Sprintf("audit event %d was changed or removed; the log is not trimmed beyond it", anchor.Sequence+1)).
				WithNext("export the log, and find out what happened")
		}
		if r.Sequence >= head.Sequence || !r.Event.Time.Before(before) {
			break
		}
		anchor = Mark{Sequence: r.Sequence, Hash: hashOf(doc.Value), Time: l.clock.Now().UTC()}
		ops = append(ops, state.Delete(doc.Key, doc.Revision))
	}
	if len(ops) == 0 {
		return 0, nil
	}
	text, err := json.Marshal(anchor)
	if err != nil {
		return 0, err
	}
	_, err = l.store.Write(ctx, append(ops, state.Put(anchorKey, text, rev))...)
	return uint64(len(ops)), err
}
