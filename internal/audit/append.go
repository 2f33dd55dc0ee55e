package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// tail is what the owner knows of the end of the chain.
type tail struct {
	known    bool
	head     Mark
	revision state.Revision // of the head's document
}

// appendTries bounds how often a batch is made again because other nodes append.
const appendTries = 100

// append writes events in one write. What others append at the same time comes
// before or after all of them.
func (l *Log) append(events []Event) error {
	ctx, cancel := context.WithTimeout(l.ctx, writeWithin)
	defer cancel()
	for range appendTries {
		if err := l.find(ctx); errors.Is(err, state.ErrConflict) {
			continue
		} else if err != nil {
			return err
		}
		ops, head, err := l.tail.extend(events)
		if err != nil {
			return err
		}
		rev, err := l.store.Write(ctx, ops...)
		if err != nil && !errors.Is(err, state.ErrConflict) {
			rev, err = l.recheck(ctx, head, err)
		}
		if err == nil {
			l.tail = tail{true, head, rev}
			return nil
		}
		l.tail.known = false
		if !errors.Is(err, state.ErrConflict) {
			return err
		}
	}
	return problem.New(problem.Unavailable, "other nodes kept appending to the audit log").WithNext("try again")
}

// extend gives the operations that put events at the end of the chain.
func (t tail) extend(events []Event) ([]state.Op, Mark, error) {
	head, ops := t.head, make([]state.Op, 0, len(events)+1)
	for _, e := range events {
		text, err := json.Marshal(record{head.Sequence + 1, head.Hash, e})
		if err != nil {
			return nil, head, problem.Wrap(problem.Invalid, "an audit event cannot be written", err)
		}
		head = Mark{Sequence: head.Sequence + 1, Hash: hashOf(text)}
		ops = append(ops, state.Put(key(head.Sequence), text, state.Absent))
	}
	text, err := json.Marshal(head)
	return append(ops, state.Put(headKey, text, t.revision)), head, err
}

// recheck finds out whether a write happened whose answer was lost.
func (l *Log) recheck(ctx context.Context, head Mark, cause error) (state.Revision, error) {
	doc, err := l.store.Get(ctx, key(head.Sequence))
	if err != nil || hashOf(doc.Value) != head.Hash {
		return 0, cause
	}
	now, err := l.store.Get(ctx, headKey)
	if err != nil {
		return 0, cause
	}
	l.log.Info("audit events were written although the store's answer was lost", "through", head.Sequence)
	if now.Revision != doc.Revision { // others went on: the next batch reads the head
		return 0, nil
	}
	return now.Revision, nil
}

// find reads the end of the chain if it is not known.
func (l *Log) find(ctx context.Context) error {
	if l.tail.known && l.tail.revision != 0 {
		return nil
	}
	doc, err := l.store.Get(ctx, headKey)
	if errors.Is(err, state.ErrNotFound) {
		l.tail, err = l.begin(ctx)
		return err
	}
	if err != nil {
		return err
	}
	var head Mark
	if err := json.Unmarshal(doc.Value, &head); err != nil {
		return problem.Wrap(problem.Undecryptable, fmt.Sprintf("document %q cannot be understood", headKey), err)
	}
	l.tail = tail{true, head, doc.Revision}
	return nil
}

// begin gives the end of a chain that has no head: nothing, or, where the head was
// taken away, the last event there is. It goes on there, as a log that does not
// work would stop everything, and verification finds the chain whole; so the loss
// is logged, and known from the event that follows. ErrConflict when another node
// was faster.
func (l *Log) begin(ctx context.Context) (tail, error) {
	anchor, _, err := l.anchor(ctx)
	if err != nil {
		return tail{}, err
	}
	at, err := l.last(ctx)
	if err != nil {
		return tail{}, err
	}
	if at == 0 {
		return tail{known: true, head: Mark{Sequence: anchor.Sequence, Hash: anchor.Hash}}, nil
	}
	last, err := l.store.Get(ctx, key(at))
	if err != nil {
		return tail{}, err
	}
	switch now, err := l.Head(ctx); {
	case err != nil:
		return tail{}, err
	case now.Hash != "":
		return tail{}, problem.New(state.ErrConflict, "another node began the audit log just now")
	}
	l.log.Error("the head of the audit log is missing; later events may have been removed", "last", at)
	found := tail{known: true, head: Mark{Sequence: at, Hash: hashOf(last.Value)}}
	ops, head, err := found.extend([]Event{l.complete(Event{
		Category: System, Action: "Latchkey.Audit/headLost", Reason: "the head of the audit log was missing; events after the former one may have been removed",
	})})
	if err != nil {
		return tail{}, err
	}
	rev, err := l.store.Write(ctx, ops...)
	return tail{true, head, rev}, err
}

// last gives the highest sequence that there is, 0 for none, without the head.
func (l *Log) last(ctx context.Context) (uint64, error) {
	keys, err := l.store.List(ctx, Documents, state.Page{KeysOnly: true})
	if err != nil {
		return 0, err
	}
	for i := len(keys.Documents) - 1; i >= 0; i-- {
		if at := sequenceOf(keys.Documents[i].Key); at > 0 { // others are none of ours
			return at, nil
		}
	}
	return 0, nil
}

// anchor reads where the chain begins: the last event that was trimmed, or the
// zero Mark.
func (l *Log) anchor(ctx context.Context) (m Mark, rev state.Revision, err error) {
	doc, err := l.store.Get(ctx, anchorKey)
	if errors.Is(err, state.ErrNotFound) {
		return Mark{}, state.Absent, nil
	}
	if err != nil {
		return Mark{}, 0, err
	}
	if err := json.Unmarshal(doc.Value, &m); err != nil {
		return m, 0, problem.Wrap(problem.Undecryptable, fmt.Sprintf("document %q cannot be understood", anchorKey), err)
	}
	return m, doc.Revision, nil
}
