package reference

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/app"
)

const (
	// maxValues bounds the bytes of all values of an app as JSON, so that its document fits
	// in one write of the state.
	maxValues = 512 << 10
	// maxWhy bounds the bytes of what a failure says.
	maxWhy = 500
	// maxLag is how far the stored time of the last attempt may lag.
	maxLag = time.Hour
)

// merge puts what came of a pass into what is known; dirty says that it must be
// stored. It may run more than once, on what others wrote meanwhile.
func (p *pass) merge(old document) (next document, events []Event, dirty bool) {
	next = old
	next.App = p.app.ID.String()
	next.settle(p.app.App) // stored with the next change: it can be told again at any time
	fresh := p.app.Generation > next.Generation
	next.Records, next.History = make(map[string]record, len(p.targets)), make(map[string][]Change, len(p.targets))
	room, changed := maxValues, false
	for _, t := range p.targets {
		was, known := old.Records[t.key]
		rec := p.mergeOne(t, was, &room)
		next.Records[t.key] = rec
		changed = changed || known && was.Text == rec.Text && was.Value != rec.Value
		dirty = dirty || !known || differs(was, rec)
		history := old.History[t.key]
		if e, is := p.event(t, was, rec); is {
			events, history = append(events, e), remember(history, e)
		}
		if len(history) > 0 {
			next.History[t.key] = forget(history, len(p.targets))
		}
	}
	dirty = dirty || len(next.Records) != len(old.Records)
	if p.whole && (fresh || next.Identity != identityMark(p.app.App)) {
		next.Generation, next.Identity, dirty = max(next.Generation, p.app.Generation), identityMark(p.app.App), true
	}
	switch {
	case p.whole && fresh && !p.damaged: // no copy of this generation has values yet
		next.Touch = false
	case (changed || p.damaged) && p.app.Wanted():
		next.Touch, dirty = true, true
	}
	return next, events, p.mergeStopped(&next) || dirty
}

// mergeStopped notes since when the app is stopped, for the quirk.
func (p *pass) mergeStopped(next *document) (changed bool) {
	stopped := p.r.cfg.StoppedTokenExpiry && p.app.State == app.Stopped
	switch {
	case stopped && next.Stopped.IsZero():
		next.Stopped = p.began
	case !stopped && !next.Stopped.IsZero():
		next.Stopped = time.Time{}
	default:
		return false
	}
	return true
}

// mergeOne gives the record of a reference after the pass. room is what is left
// for values.
func (p *pass) mergeOne(t target, rec record, room *int) record {
	if rec.Text != t.ref.Text {
		rec = record{Text: t.ref.Text, Status: Initialized, Since: p.began, Identity: Identity{Type: expectedIdentity(t.reader)}}
	}
	now := p.r.now()
	o, attempted := p.outcomes[t.key]
	if attempted && o.failure == nil && encodedLength(o.secret.Value) > *room {
		o.failure = &Failure{Status: OtherReasons, InnerCode: "ValuesTooLarge",
			Message: fmt.Sprintf("the values of the app's references have more than %d KiB together", maxValues>>10)}
	}
	switch {
	case t.fault != nil:
		rec.set(now, &Failure{Status: InvalidSyntax, Message: t.fault.Error()})
	case !attempted:
	case o.failure == nil:
		rec.resolve(now, o.secret)
		rec.Identity, rec.LastAttempt = o.by, now
	case !p.outdone(rec, now): // another node's success counts more
		rec.set(now, o.failure)
		rec.Identity, rec.LastAttempt = o.by, now
		if p.tokenExpired() {
			rec.Value, rec.Version, rec.GoodSince = "", "", time.Time{}
		}
	}
	*room -= encodedLength(rec.Value)
	return rec
}

// outdone reports whether another node read the secret after the pass began. A
// time far ahead is of a clock that was set back since.
func (p *pass) outdone(rec record, now time.Time) bool {
	return rec.Status == Resolved && rec.LastAttempt.After(p.began) && rec.LastAttempt.Sub(now) < maxLag
}

// resolve takes a secret that was read.
func (r *record) resolve(now time.Time, s Secret) {
	r.set(now, &Failure{Status: Resolved})
	s.Version, s.Expires = clip(s.Version), s.Expires.UTC()
	if s.Expires.Year() > 9999 { // no document can say it, and nobody needs to
		s.Expires = time.Time{}
	}
	if r.Value != s.Value || r.Version != s.Version {
		r.GoodSince = now
	}
	r.Value, r.Version, r.Expires = s.Value, s.Version, s.Expires
}

// set takes a status; the last good value stays.
func (r *record) set(now time.Time, f *Failure) {
	if r.Status != f.Status {
		r.Since = now
	}
	r.Status, r.HTTPStatus, r.InnerCode, r.Why = f.Status, f.HTTPStatus, clip(f.InnerCode), clip(f.Message)
}

// differs reports whether a record must be stored anew.
func differs(a, b record) bool {
	late := b.LastAttempt.Sub(a.LastAttempt).Abs() >= maxLag
	a.LastAttempt = b.LastAttempt
	return late || a != b
}

func (p *pass) event(t target, was, rec record) (Event, bool) {
	if was.Text != rec.Text {
		was = record{Status: Initialized}
	}
	newVersion := rec.good() && (was.Version != rec.Version || was.Value != rec.Value)
	return Event{
		App: p.app.App, Section: t.section, Setting: t.name, Vault: t.ref.Vault, Secret: t.ref.Secret, From: was.Status, To: rec.Status,
		Why: rec.Why, HTTPStatus: rec.HTTPStatus, InnerCode: rec.InnerCode, Identity: rec.Identity, Version: rec.Version,
		NewVersion: newVersion, Stale: rec.stale(), Time: p.r.now(),
	}, newVersion || was.Status != rec.Status
}

// expectedIdentity is the type of the identity that will read a reference.
func expectedIdentity(reader string) string {
	if reader == "" || strings.EqualFold(reader, "SystemAssigned") {
		return "SystemAssigned"
	}
	return "UserAssigned"
}

// sameValues reports whether two documents give the same values.
func sameValues(a, b document) bool {
	return maps.EqualFunc(a.Records, b.Records, func(x, y record) bool { return x.Value == y.Value })
}

// encodedLength gives the most bytes a text has in a JSON document.
func encodedLength(text string) int {
	n := len(text)
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ' || c == '<' || c == '>' || c == '&':
			n += 5
		case c == '"' || c == '\\':
			n++
		}
	}
	return n
}

func clip(text string) string { return shorten(text, maxWhy) }

func shorten(text string, most int) string {
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strings.ToValidUTF8(text, "�") // as JSON would make it: it is compared with what was stored
}
