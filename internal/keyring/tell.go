package keyring

import (
	"fmt"
	"log/slog"
	"time"
)

// tellRetired reports, once a minute per value and class of source, that a former value is in use that
// ends soon.
func (r *Ring) tellRetired(e *entry, req *Request, now time.Time) {
	if !r.toBeTold(e.terms, req, now) {
		return
	}
	r.emit([]Event{{
		Type: RetiredKeyUsed, Cause: Presented, From: classOf(req.Source), Level: slog.LevelInfo, Function: req.Function.function(), Kind: e.decision.Kind,
		Name: e.decision.Name, Retired: e.decision.Retired, Source: sourceText(req.Source),
		Text: fmt.Sprintf("a former value of %s key '%s' is still in use; it ends %s",
			e.decision.Kind, e.decision.Name, time.Unix(e.terms.expires, 0).UTC().Format(time.RFC3339)),
	}})
}

// tellRefused reports, once a minute per value and class of source, that a stored key was presented
// that does not work. The caller learns nothing of it.
func (r *Ring) tellRefused(req *Request, d Decision) {
	if d.Name == "" {
		return
	}
	e, _ := r.lookUp(req.Key, req.Function)
	if e == nil || e.terms == nil || !r.toBeTold(e.terms, req, r.cfg.Clock.Now()) {
		return
	}
	what := fmt.Sprintf("%s key '%s'", d.Kind, d.Name)
	if d.Retired != "" {
		what = fmt.Sprintf("a former value of %s, kept as '%s',", what, d.Retired)
	}
	r.emit([]Event{{
		Type: KeyRefused, Cause: Presented, From: classOf(req.Source), Level: slog.LevelWarn, Function: req.Function.function(), Kind: d.Kind,
		Name: d.Name, Retired: d.Retired, Reason: d.Reason, Source: sourceText(req.Source),
		Text: what + " was presented and refused: " + d.Reason.String(),
	}})
}

// toBeTold gives the report of this minute to exactly one caller.
func (r *Ring) toBeTold(t *terms, req *Request, now time.Time) bool {
	told := &t.told[classOf(req.Source)]
	at := int64(now.Sub(r.born)) + 1
	last := told.Load()
	since := at - last
	again := last == 0 || since >= int64(tellEvery) || since <= -int64(tellEvery) // the clock was set back
	return again && told.CompareAndSwap(last, at)
}

// function gives the function's name for events; "" for none.
func (s *Scope) function() string {
	if s == nil {
		return ""
	}
	return s.name
}
