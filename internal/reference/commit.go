package reference

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/latchkey/latchkey/internal/inventory"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// commits bounds how often a pass is stored anew because its app changed.
const commits = 8

var errAppGone = problem.New(problem.NotFound, "the app is gone")

// commit stores what came of the pass, unless the app is gone, and tells of the
// changes. A state that cannot be written does not keep the values from who waits
// for them.
func (p *pass) commit(ctx context.Context) (document, error) {
	next, events, written, err := p.write(ctx)
	if errors.Is(err, problem.NotFound) || err != nil && p.lane == p.r.behind { // nobody waits: it is tried again
		return document{}, err
	}
	if err != nil {
		p.r.cfg.Log.Error("the state of an app's references cannot be stored", "app", p.app.Name, "reason", err, "next", problem.NextOf(err))
		next, _, _ = p.merge(p.before)
		p.r.learned(p, next)
		return next, nil
	}
	if p.gate.served.Swap(false) && p.app.Wanted() && !next.Touch && !sameValues(p.before, next) {
		next = p.markTouch(ctx, next)
	}
	p.r.learned(p, next)
	if written {
		for _, e := range events {
			p.r.cfg.OnChange(e)
		}
	}
	return next, nil
}

// write stores the merged document on the condition that the app is as it was
// read last.
func (p *pass) write(ctx context.Context) (next document, events []Event, written bool, err error) {
	at, revision := inventory.Key(p.app.ID), p.app.Resource.Revision
	for range commits {
		var dirty bool
		change := func(old document) (document, bool) {
			next, events, dirty = p.merge(old)
			return next, dirty
		}
		err = p.r.change(ctx, p.app.UID, p.damaged, change, state.Check(at, revision))
		if err == nil || !errors.Is(err, state.ErrConflict) {
			return next, events, err == nil && dirty, err
		}
		a, err := p.r.cfg.Apps.Get(ctx, p.app.ID)
		if err == nil && a.UID != p.app.UID {
			err = errAppGone
		}
		if err != nil {
			return document{}, nil, false, err
		}
		revision = a.Resource.Revision
	}
	return next, events, false, err
}

// markTouch notes that a copy opened with older values than these.
func (p *pass) markTouch(ctx context.Context, next document) document {
	err := p.r.change(ctx, p.app.UID, false, func(old document) (document, bool) {
		if old.App == "" { // forgotten meanwhile
			return old, false
		}
		old.Touch = true
		next = old
		return old, true
	})
	if err != nil {
		p.r.cfg.Log.Error("that copies of an app have old values cannot be stored", "app", p.app.Name, "reason", err)
	}
	return next
}

// change changes the document of an app; what is left without records goes. With
// damaged, a document that is garbage is replaced; so is one that the store cannot
// read, provided that every reference has a value again: it may still be saved.
func (r *Resolver) change(ctx context.Context, uid string, damaged bool, change func(old document) (document, bool), also ...state.Op) error {
	_, err := state.Update(ctx, r.store, documentKey(uid), func(text []byte, exists bool) ([]byte, error) {
		var old document
		if exists {
			var err error
			if old, err = decode(text); err != nil && !damaged {
				return nil, err
			}
		}
		next, dirty := change(old)
		switch {
		case !dirty || !exists && len(next.Records) == 0:
			return nil, state.ErrUnchanged
		case len(next.Records) == 0:
			return nil, nil
		}
		return json.Marshal(next)
	}, also...)
	if damaged && errors.Is(err, problem.Undecryptable) {
		return r.replace(ctx, uid, change, also)
	}
	return err
}

// replace overwrites a document that not even the store can read.
func (r *Resolver) replace(ctx context.Context, uid string, change func(old document) (document, bool), also []state.Op) error {
	next, _ := change(document{})
	for _, rec := range next.Records {
		if !rec.good() {
			return problem.New(problem.Undecryptable, "what is known of the app's references cannot be read, and not all of them can be fetched").
				WithNext("it is replaced when all can be fetched; to begin anew, delete the document " + string(documentKey(uid)))
		}
	}
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	_, err = r.store.Write(ctx, append(also, state.Put(documentKey(uid), text, state.Any))...)
	return err
}
