package keyring

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/latchkey/latchkey/internal/accesskey"
)

// weakBelow is the length below which a value may be within reach of guessing:
// it was chosen by a person, as generated keys have 56 characters.
const weakBelow = 32

// Request is a presented key with what is needed to judge it.
type Request struct {
	Key      string     // as presented; "" when nothing was
	Function *Scope     // the routed function; nil when there is none
	Method   string     // HTTP method, in upper case; "" is a method that no key is limited to
	Source   netip.Addr // where the request comes from; the zero Addr is a source like any other
}

// Authorize decides what a presented key opens. A key in force is recognised
// without locks, allocations or waiting, in the same time however many keys
// there are. A key that matches nothing may make the ring ask the store, at
// most until ctx ends: for a document not read so far, and once a minute per
// document whatever callers do, since somebody else may have changed it. Only
// the caller that caused such a re-read waits for it.
//
// Order: master, system keys, host function keys, keys of the function, each in
// stored order; the first match names the key. Values are compared exactly.
//
// Wrong keys are charged to their source. One that has used up its budget gets
// Throttled with every further wrong key, and values shorter than 32 characters
// are not looked at until it has budget again; longer ones still work.
//
// A stored key that is disabled, out of its time or not for this request is
// treated as a wrong one, so that a caller cannot tell it from one; the decision
// names it for the operator. One that has used up its rate or quota is Throttled.
// Of keys with the same value the first decides, whatever the others allow.
//
// The answer is Unavailable, never a plain no, when keys that could match are
// not readable and were never read.
func (r *Ring) Authorize(ctx context.Context, req Request) Decision {
	d := r.evaluate(&req)
	if d.final() {
		return d
	}
	return r.reconsider(ctx, req, d)
}

// final reports whether asking the store again would not change a decision.
func (d *Decision) final() bool {
	switch d.Reason {
	case Matched, NoKey, NotEvaluated, RateExceeded, QuotaExceeded:
		return true
	}
	return false
}

// Match decides by the keys held right now and the time, without asking the
// store, waiting or counting anything. What depends on more of a request is left
// out: methods, addresses, rate and quota. It neither locks nor allocates.
func (r *Ring) Match(presented string, function *Scope) Decision {
	e, d := r.lookUp(presented, function)
	if e == nil {
		return d
	}
	if t := e.terms; t != nil && e.decision.Reason == Matched {
		if reason := t.standing(r.cfg.Clock.Now().Unix()); reason != Matched {
			return e.refused(reason)
		}
		if t.strict && !r.cfg.Format.Identifiable(e.decision.Kind, presented) {
			return Decision{Reason: NotIdentifiable}
		}
	}
	return e.decision
}

// lookUp finds what is held of a presented value, or decides that it need not.
func (r *Ring) lookUp(presented string, function *Scope) (*entry, Decision) {
	switch {
	case presented == "":
		return nil, Decision{}
	case len(presented) > MaxValue:
		return nil, Decision{Reason: TooLong}
	}
	snap := r.snap.Load()
	d := r.hasher.sum(presented)
	e := snap.match(&d, function.slot())
	if snap.hashed && e.decision.Reason != Matched && len(presented) <= accesskey.MaxValueLen {
		e = snap.matchHashed(presented, function.slot(), e)
	}
	return e, Decision{}
}

// slot gives the scope's index in the tables; that of no function has no keys.
func (s *Scope) slot() uint64 {
	if s == nil {
		return 0
	}
	return s.index
}

func (r *Ring) evaluate(req *Request) Decision {
	if req.Key != "" && len(req.Key) < weakBelow {
		if wait := r.limiter.Wait(req.Source); wait > 0 {
			return Decision{Reason: NotEvaluated, Throttled: true, RetryAfter: wait}
		}
	}
	e, d := r.lookUp(req.Key, req.Function)
	if e == nil {
		return d
	}
	return r.apply(e, req)
}

// reconsider judges a key again after asking the store where that may help, and
// charges it to its source if it stays wrong.
func (r *Ring) reconsider(ctx context.Context, req Request, d Decision) Decision {
	if d.Reason != TooLong && r.catchUp(ctx, req.Function) {
		if d = r.evaluate(&req); d.final() {
			return d
		}
	}
	if d.Reason != TooLong && !r.complete(req.Function) {
		return Decision{Reason: StoreUnavailable}
	}
	r.tellRefused(&req, d)
	return r.charge(req.Source, d)
}

// catchUp asks the store for the host document and the function's where they
// are not known or due to be read again, and reports whether it asked.
func (r *Ring) catchUp(ctx context.Context, function *Scope) bool {
	snap := r.snap.Load()
	now := r.cfg.Clock.Now().Sub(r.born)
	var flights [2]*flight
	for i, s := range [...]*Scope{r.home, function} {
		switch {
		case s == nil:
		case !snap.has(s.index):
			flights[i] = r.beginFirst(s)
		case s.claimReread(now, r.cfg.Limits.RereadEvery):
			flights[i] = r.begin(s, Reread)
		}
	}
	return waitFor(ctx, flights) || r.snap.Load() != snap
}

func waitFor(ctx context.Context, flights [2]*flight) bool {
	asked := false
	for _, f := range flights {
		if f != nil {
			_ = f.wait(ctx) // the failure is in the ring's health; the snapshot says what is known
			asked = true
		}
	}
	return asked
}

// claimReread gives the re-read of this period to exactly one caller.
func (s *Scope) claimReread(now, every time.Duration) bool {
	last := s.reread.Load()
	return now-time.Duration(last) > every && s.reread.CompareAndSwap(last, int64(now))
}

// complete reports whether all keys that could decide are known.
func (r *Ring) complete(function *Scope) bool {
	snap := r.snap.Load()
	return snap.has(r.home.index) && (function == nil || snap.has(function.index))
}

// charge books a wrong key on its source.
func (r *Ring) charge(source netip.Addr, d Decision) Decision {
	wait, tell := r.limiter.Spend(source)
	d.Throttled, d.RetryAfter = wait > 0, wait
	if tell {
		r.emit([]Event{{
			Type: SourceThrottled, Cause: Presented, Level: slog.LevelWarn, Source: sourceText(source),
			Text: "a source presents too many wrong keys; its wrong keys are throttled and short values from it are not looked at",
		}})
	}
	return d
}
