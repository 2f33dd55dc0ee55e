package keyring

import (
	"context"
	"log/slog"
	"net/netip"
	"time"
)

// weakBelow is the length below which a value may be within reach of guessing:
// it was chosen by a person, as generated keys have 56 characters.
const weakBelow = 32

// Request is a presented key with what is needed to judge it.
type Request struct {
	Key      string     // as presented; "" when nothing was
	Function *Scope     // the routed function; nil when there is none
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
// The answer is Unavailable, never a plain no, when keys that could match are
// not readable and were never read.
func (r *Ring) Authorize(ctx context.Context, req Request) Decision {
	d := r.evaluate(req)
	if d.Reason == Matched || d.Reason == NoKey || d.Reason == NotEvaluated {
		return d
	}
	return r.reconsider(ctx, req, d)
}

// Match decides by the keys held right now, without asking the store, waiting
// or counting wrong keys. It neither locks nor allocates.
func (r *Ring) Match(presented string, function *Scope) Decision {
	switch {
	case presented == "":
		return Decision{}
	case len(presented) > MaxValue:
		return Decision{Reason: TooLong}
	}
	d := r.hasher.sum(presented)
	return r.snap.Load().match(&d, function.slot())
}

// slot gives the scope's index in the tables; that of no function has no keys.
func (s *Scope) slot() uint64 {
	if s == nil {
		return 0
	}
	return s.index
}

func (r *Ring) evaluate(req Request) Decision {
	if req.Key != "" && len(req.Key) < weakBelow {
		if wait := r.limiter.Wait(req.Source); wait > 0 {
			return Decision{Reason: NotEvaluated, Throttled: true, RetryAfter: wait}
		}
	}
	return r.Match(req.Key, req.Function)
}

// reconsider judges a key again after asking the store where that may help, and
// charges it to its source if it stays wrong.
func (r *Ring) reconsider(ctx context.Context, req Request, d Decision) Decision {
	if d.Reason != TooLong && r.catchUp(ctx, req.Function) {
		if d = r.evaluate(req); d.Reason == Matched || d.Reason == NotEvaluated {
			return d
		}
	}
	if d.Reason != TooLong && !r.complete(req.Function) {
		return Decision{Reason: StoreUnavailable}
	}
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
			Type: SourceThrottled, Level: slog.LevelWarn, Source: sourceText(source),
			Text: "a source presents too many wrong keys; its wrong keys are throttled and short values from it are not looked at",
		}})
	}
	return d
}
