package keyring

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
)

// terms is what a key is subject to besides its value, prepared for the way of a
// request. A plain key whose uses are not counted has none.
type terms struct {
	limited    bool // some limit below may refuse a request
	unreadable bool // the metadata cannot be understood: nothing is allowed
	disabled   bool
	notBefore  int64 // Unix seconds; 0: none
	expires    int64 // Unix seconds; 0: none
	methods    []string
	functions  []keystore.Doc
	nets       []netip.Prefix
	rate       accesskey.Rate
	quota      accesskey.Quota
	strict     bool // the presented value must be identifiable; it is not known otherwise

	ledger *ledger                       // nil without rate and quota
	tally  *tally                        // nil where uses are not counted
	told   [len(classNames)]atomic.Int64 // when use was last reported, since the ring's birth, by class of source
}

// limitsOf prepares the restrictions of a key.
func limitsOf(m accesskey.Meta, err error) *terms {
	t := &terms{
		limited: err != nil || m.Restricts(), unreadable: err != nil, disabled: m.Disabled,
		notBefore: unix(m.NotBefore), expires: unix(m.Expires),
		methods: m.Methods, nets: m.CIDRs, rate: m.Rate, quota: m.Quota,
	}
	for _, f := range m.Functions {
		t.functions = append(t.functions, keystore.FunctionDoc(f))
	}
	return t
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// refuses gives the reason for which the key does not open a request, Matched if
// there is none. It counts nothing.
func (t *terms) refuses(req *Request, now time.Time) Reason {
	if reason := t.standing(now.Unix()); reason != Matched {
		return reason
	}
	switch {
	case len(t.functions) > 0 && (req.Function == nil || !slices.Contains(t.functions, req.Function.doc)):
		return FunctionNotAllowed
	case len(t.methods) > 0 && !slices.Contains(t.methods, req.Method):
		return MethodNotAllowed
	case len(t.nets) > 0 && !within(t.nets, req.Source):
		return SourceNotAllowed
	}
	return Matched
}

// standing gives the reason for which the key opens nothing at a time.
func (t *terms) standing(now int64) Reason {
	switch {
	case t.unreadable:
		return MetadataUnreadable
	case t.disabled:
		return KeyDisabled
	case t.notBefore != 0 && now < t.notBefore:
		return NotYetValid
	case t.expires != 0 && now >= t.expires:
		return KeyExpired
	}
	return Matched
}

func within(nets []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range nets {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// apply turns the key that was found into the decision about a request: it asks
// its limits, takes the use from its rate and quota, and counts it.
func (r *Ring) apply(e *entry, req *Request) Decision {
	t := e.terms
	if t == nil || e.decision.Reason != Matched {
		return e.decision
	}
	now := r.cfg.Clock.Now()
	if t.limited {
		if d := r.limit(e, req, now); d.Reason != Matched {
			return d
		}
	}
	if t.tally != nil {
		t.tally.hit(now, req.Source)
	}
	if e.decision.Retired != "" {
		r.tellRetired(e, req, now)
	}
	return e.decision
}

// limit gives the decision of a key's limits; its Reason is Matched if they allow
// the request.
func (r *Ring) limit(e *entry, req *Request, now time.Time) Decision {
	t := e.terms
	if t.strict && !r.cfg.Format.Identifiable(e.decision.Kind, req.Key) {
		return Decision{Reason: NotIdentifiable}
	}
	reason := t.refuses(req, now)
	if reason != Matched {
		return e.refused(reason)
	}
	if t.ledger == nil {
		return e.decision
	}
	if wait := t.ledger.spendRate(t.rate, now.Sub(r.born)); wait > 0 {
		return e.exhausted(RateExceeded, wait)
	}
	if wait := t.ledger.spendQuota(t.quota, now); wait > 0 {
		return e.exhausted(QuotaExceeded, wait)
	}
	return e.decision
}

// refused names the key for the operator and opens nothing.
func (e *entry) refused(reason Reason) Decision {
	return Decision{Kind: e.decision.Kind, Name: e.decision.Name, Retired: e.decision.Retired, Reason: reason}
}

func (e *entry) exhausted(reason Reason, wait time.Duration) Decision {
	d := e.refused(reason)
	d.Throttled, d.RetryAfter = true, wait
	return d
}
