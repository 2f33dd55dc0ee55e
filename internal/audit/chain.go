package audit

import (
	"encoding/json"
	"slices"
)

// chain checks events one after another.
type chain struct {
	report Report
	last   Mark // the former event; Hash "" when it is not known
}

func newChain(anchor Mark) *chain {
	return &chain{Report{Anchor: anchor, Faults: []Fault{}, Trusted: []Range{}}, anchor}
}

// add takes the event at a place of the chain, in its stored form.
func (c *chain) add(at uint64, text []byte) {
	c.report.Events++
	if at <= c.last.Sequence {
		c.fault(Reordered, at, at)
		return
	}
	linked := at == c.last.Sequence+1
	if !linked {
		c.fault(Missing, c.last.Sequence+1, at-1)
	}
	var r record
	err := json.Unmarshal(text, &r)
	switch {
	case err != nil:
		c.fault(Changed, at, at)
	case r.Sequence != at:
		c.fault(Reordered, at, at)
	case linked && r.Previous != c.last.Hash:
		c.blame(at)
	}
	c.last = Mark{Sequence: at, Hash: hashOf(text)}
}

// blame says that the event before at is not the one that at vouches for. Before
// the first there is none: then it is the first itself.
func (c *chain) blame(at uint64) {
	if at-1 > c.report.Anchor.Sequence {
		at--
	}
	c.fault(Changed, at, at)
}

// end compares the last event with the head.
func (c *chain) end(head Mark, surplus uint64) Report {
	if c.last.Sequence < head.Sequence {
		c.fault(Missing, c.last.Sequence+1, head.Sequence)
	} else if head.Hash != "" && c.last.Sequence > c.report.Anchor.Sequence && head.Hash != c.last.Hash {
		c.fault(Changed, c.last.Sequence, c.last.Sequence)
	}
	if head.Hash == "" && (c.report.Events > 0 || c.report.Anchor.Sequence > 0 || surplus > 0) {
		c.fault(NoHead, c.last.Sequence+1, c.last.Sequence+1)
	} else if surplus > 0 {
		c.fault(Surplus, surplus, surplus)
	}
	c.report.Head = head
	c.trust(c.last.Sequence)
	c.report.Intact = len(c.report.Faults) == 0
	return c.report
}

func (c *chain) fault(kind FaultKind, from, through uint64) {
	f := &c.report.Faults
	if n := len(*f); n > 0 && (*f)[n-1].From <= from && (*f)[n-1].Through >= through {
		return // told already, as another kind
	}
	if len(*f) >= maxFaults {
		c.report.More = true
		return
	}
	*f = append(*f, Fault{kind, from, through})
}

// trust fills in the parts that no fault touches.
func (c *chain) trust(through uint64) {
	faults := slices.Clone(c.report.Faults)
	slices.SortFunc(faults, func(a, b Fault) int { return int(min(max(int64(a.From-b.From), -1), 1)) })
	next := c.report.Anchor.Sequence + 1
	for _, f := range faults {
		if until := min(f.From-1, through); f.From > next && until >= next {
			c.report.Trusted = append(c.report.Trusted, Range{next, until})
		}
		next = max(next, f.Through+1)
	}
	if next <= through && !c.report.More {
		c.report.Trusted = append(c.report.Trusted, Range{next, through})
	}
}
