package audit

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/state"
)

const (
	block     = 500        // records read at once
	scanMost  = 20 * block // records looked at for one answer
	clockSkew = time.Hour  // events are in order of time up to this
)

// Filter says which events to list; the zero value of a field is no restriction.
type Filter struct {
	From, To  time.Time // of the event's time; To is not included
	Category  Category
	Principal string // object id or app id, in any case
	Scope     string // a resource id: events about it and what lies in it
	Action    string // in any case; a * at the end stands for any text
	Outcome   string // in any case; of events without one, "Succeeded"

	Correlation string // in any case

	Limit  int    // most events to give; 0 is 100
	Oldest bool   // oldest first, otherwise newest first
	After  uint64 // go on after this sequence, in the order asked for; see [Log.List]
}

// List gives events in the order of the chain. next is what to give as After for
// more; 0 when there are none. A list looks at a bounded number of events, so that
// it may give fewer than asked for, or none, although next is not 0.
func (l *Log) List(ctx context.Context, f Filter) (list []Entry, next uint64, err error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	first, last, err := l.bounds(ctx)
	if err != nil {
		return nil, 0, err
	}
	list = []Entry{}
	if f.Oldest {
		return l.ascend(ctx, f, max(first, f.After+1), last, list)
	}
	if f.After > 0 {
		last = min(last, f.After-1)
	}
	return l.descend(ctx, f, first, last, list)
}

// step is how many records to read at first; more follow in larger steps.
func (f Filter) step() uint64 { return uint64(min(max(f.Limit, 20), block)) }

// bounds gives the first and last sequence of the chain.
func (l *Log) bounds(ctx context.Context) (first, last uint64, err error) {
	head, err := l.Head(ctx)
	if err != nil {
		return 0, 0, err
	}
	anchor, _, err := l.anchor(ctx)
	return anchor.Sequence + 1, head.Sequence, err
}

func (l *Log) ascend(ctx context.Context, f Filter, from, last uint64, list []Entry) ([]Entry, uint64, error) {
	scanned, step := 0, f.step()
	for from <= last {
		records, err := l.read(ctx, from, min(from+step-1, last))
		if err != nil {
			return nil, 0, err
		}
		for _, r := range records {
			if !f.To.IsZero() && r.Event.Time.After(f.To.Add(clockSkew)) {
				return list, 0, nil
			}
			if list = f.take(list, r); len(list) == f.Limit && r.Sequence < last {
				return list, r.Sequence, nil
			}
		}
		from = min(from+step, last+1)
		if scanned, step = scanned+int(step), min(2*step, block); scanned >= scanMost && from <= last {
			return list, from - 1, nil
		}
	}
	return list, 0, nil
}

func (l *Log) descend(ctx context.Context, f Filter, first, last uint64, list []Entry) ([]Entry, uint64, error) {
	scanned, step := 0, f.step()
	for last >= first && last > 0 {
		from := first
		if last-first >= step {
			from = last - step + 1
		}
		records, err := l.read(ctx, from, last)
		if err != nil {
			return nil, 0, err
		}
		for i := len(records) - 1; i >= 0; i-- {
			r := records[i]
			if !f.From.IsZero() && r.Event.latest().Before(f.From.Add(-clockSkew)) {
				return list, 0, nil
			}
			if list = f.take(list, r); len(list) == f.Limit && r.Sequence > first {
				return list, r.Sequence, nil
			}
		}
		last = from - 1
		if scanned, step = scanned+int(step), min(2*step, block); scanned >= scanMost && last >= first {
			return list, from, nil
		}
	}
	return list, 0, nil
}

// read gives the records from..to that can be understood; verification tells of
// the others.
func (l *Log) read(ctx context.Context, from, to uint64) ([]record, error) {
	listing, err := l.store.List(ctx, Documents, state.Page{After: key(from - 1), Limit: int(to - from + 1)})
	if err != nil {
		return nil, err
	}
	list := make([]record, 0, len(listing.Documents))
	for _, doc := range listing.Documents {
		at := sequenceOf(doc.Key)
		if at > to {
			break
		}
		r, err := decode(doc)
		if err != nil || at == 0 {
			continue
		}
		r.Sequence = at
		list = append(list, r)
	}
	return list, nil
}

func (e Event) latest() time.Time {
	if e.Until.After(e.Time) {
		return e.Until
	}
	return e.Time
}

func (f Filter) take(list []Entry, r record) []Entry {
	if !f.matches(r.Event) || len(list) >= f.Limit {
		return list
	}
	return append(list, Entry{r.Sequence, r.Event})
}

func (f Filter) matches(e Event) bool {
	switch {
	case !f.From.IsZero() && e.latest().Before(f.From), !f.To.IsZero() && !e.Time.Before(f.To):
		return false
	case f.Category != "" && !strings.EqualFold(string(f.Category), string(e.Category)):
		return false
	case f.Principal != "" && !strings.EqualFold(f.Principal, e.Principal.ObjectID) && !strings.EqualFold(f.Principal, e.Principal.AppID):
		return false
	case f.Correlation != "" && !strings.EqualFold(f.Correlation, e.CorrelationID):
		return false
	case f.Outcome != "" && !strings.EqualFold(f.Outcome, cmp.Or(e.Outcome, "Succeeded")):
		return false
	}
	return inScope(f.Scope, e.Scope) && isAction(f.Action, e.Action)
}

func inScope(scope, of string) bool {
	scope, of = strings.ToLower(strings.TrimRight(scope, "/")), strings.ToLower(of)
	return scope == "" || of == scope || strings.HasPrefix(of, scope+"/")
}

func isAction(pattern, action string) bool {
	start, star := strings.CutSuffix(strings.ToLower(pattern), "*")
	action = strings.ToLower(action)
	return start == "" || action == start || star && strings.HasPrefix(action, start)
}
