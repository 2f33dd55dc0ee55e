package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// FaultKind says what is wrong with a part of the chain.
type FaultKind string

// Kinds of faults.
const (
	Changed   FaultKind = "Changed"   // the event is not what the one after it vouches for
	Missing   FaultKind = "Missing"   // there is no event of that sequence
	Reordered FaultKind = "Reordered" // the event has another place
	Surplus   FaultKind = "Surplus"   // there is an event after the last one
	NoHead    FaultKind = "NoHead"    // what the last event is, is not known
)

// Fault is one thing that is wrong, from a sequence through another.
type Fault struct {
	Kind    FaultKind `json:"kind"`
	From    uint64    `json:"from"`
	Through uint64    `json:"through"`
}

// Range is a part of the chain.
type Range struct {
	From    uint64 `json:"from"`
	Through uint64 `json:"through"`
}

// Report is the result of a verification.
type Report struct {
	Intact bool    `json:"intact"`
	Events uint64  `json:"events"` // looked at
	Anchor Mark    `json:"anchor"` // what the chain begins after
	Head   Mark    `json:"head"`   // what it ends with; keep it elsewhere to prove later that nothing before it was replaced
	Faults []Fault `json:"faults"` // at most 1000, in order
	More   bool    `json:"more,omitempty"`
	// Trusted are the parts without a fault. The last of them, if it ends with the
	// head, is vouched for by the head; the others are whole in themselves, but
	// nothing after them vouches for them.
	Trusted []Range `json:"trusted"`
}

const maxFaults = 1000

// Verify reads the whole chain up to its present end and says what is wrong with
// it. progress, which may be nil, is told how many of how many events are done.
// The error is only about reading.
func (l *Log) Verify(ctx context.Context, progress func(done, total uint64)) (Report, error) {
	for {
		report, anchor, err := l.verifyOnce(ctx, progress)
		if err != nil {
			return Report{}, err
		}
		begun, err := l.begunSince(ctx, report)
		if err != nil {
			return Report{}, err
		}
		now, _, err := l.anchor(ctx)
		if err != nil || now.Sequence == anchor.Sequence && !begun {
			return report, err
		}
	}
}

// begunSince reports whether the head was missing only because the very first
// event was appended during the verification.
func (l *Log) begunSince(ctx context.Context, r Report) (bool, error) {
	if r.Head.Hash != "" || r.Intact {
		return false, nil
	}
	head, err := l.Head(ctx)
	return head.Hash != "", err
}

// verifyOnce is right unless the log is begun or trimmed meanwhile.
func (l *Log) verifyOnce(ctx context.Context, progress func(done, total uint64)) (Report, Mark, error) {
	anchor, _, err := l.anchor(ctx)
	if err != nil {
		return Report{}, anchor, err
	}
	head, err := l.Head(ctx)
	if err != nil {
		return Report{}, anchor, err
	}
	c, through := newChain(anchor), head.Sequence
	if head.Hash == "" { // nothing yet, or the head was taken away: look at what there is
		if through, err = l.last(ctx); err != nil {
			return Report{}, anchor, err
		}
	}
	err = l.walk(ctx, anchor.Sequence, through, func(at uint64, text []byte) error {
		c.add(at, text)
		if progress != nil && c.report.Events%block == 0 {
			progress(c.report.Events, max(head.Sequence-min(head.Sequence, anchor.Sequence), c.report.Events))
		}
		return nil
	})
	if err != nil {
		return Report{}, anchor, err
	}
	surplus, err := l.surplus(ctx, &head)
	if err != nil {
		return Report{}, anchor, err
	}
	if progress != nil {
		progress(c.report.Events, c.report.Events)
	}
	return c.end(head, surplus), anchor, nil
}

// Head gives the end of the chain, the zero Mark if there is nothing; the
// sequence is that of the anchor if nothing was appended since.
func (l *Log) Head(ctx context.Context) (head Mark, err error) {
	doc, err := l.store.Get(ctx, headKey)
	if errors.Is(err, state.ErrNotFound) {
		return Mark{}, nil
	}
	if err != nil {
		return head, err
	}
	if err := json.Unmarshal(doc.Value, &head); err != nil {
		return head, problem.Wrap(problem.Undecryptable, fmt.Sprintf("document %q cannot be understood", headKey), err)
	}
	return head, nil
}

// surplus gives the sequence of an event after the head that no node is just
// appending, 0 if there is none.
func (l *Log) surplus(ctx context.Context, head *Mark) (uint64, error) {
	listing, err := l.store.List(ctx, Documents, state.Page{After: key(head.Sequence), Limit: 1, KeysOnly: true})
	if err != nil || len(listing.Documents) == 0 {
		return 0, err
	}
	now, err := l.Head(ctx)
	if err != nil || now.Sequence > head.Sequence {
		return 0, err
	}
	return max(sequenceOf(listing.Documents[0].Key), 1), nil
}

// walk gives the stored form of all events after one sequence through another.
func (l *Log) walk(ctx context.Context, after, through uint64, visit func(at uint64, text []byte) error) error {
	from := key(after)
	for {
		listing, err := l.store.List(ctx, Documents, state.Page{After: from, Limit: block})
		if err != nil {
			return err
		}
		for _, doc := range listing.Documents {
			at := sequenceOf(doc.Key)
			if at > through {
				return nil
			}
			if err := visit(at, doc.Value); err != nil {
				return err
			}
			from = doc.Key
		}
		if !listing.More {
			return nil
		}
	}
}
