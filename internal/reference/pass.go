package reference

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/keyref"
	"github.com/latchkey/latchkey/internal/problem"
)

// outcome is how fetching a reference ended: a secret, or a failure.
type outcome struct {
	secret  Secret
	failure *Failure
	by      Identity
}

// pass is one go over the references of an app: those that are wanted, or were
// not attempted since the app became what it is, are fetched and what came of it
// is stored.
type pass struct {
	r        *Resolver
	gate     *gate
	lane     *lane
	app      app.Snapshot
	targets  []target
	began    time.Time
	before   document
	damaged  bool // there is a document that cannot be read
	whole    bool // all references are fetched
	outcomes map[string]outcome
}

// run does a pass; the gate must be held. ctx bounds the work, patience the
// fetches: those it cuts off count as timed out. It gives what is known then, also
// when that could not be stored.
func (p *pass) run(ctx, patience context.Context, want demand) (document, error) {
	var err error
	p.began = p.r.now()
	if p.before, p.damaged, err = p.r.load(ctx, p.app.UID); err != nil {
		return document{}, err
	}
	p.targets = targets(p.app)
	p.r.expect(p.app.UID, p.targets)
	p.before.settle(p.app.App)
	p.whole = want.all || !p.before.current(p.app.App)
	chosen := p.choose(want)
	if p.outcomes, err = p.fetch(ctx, patience, chosen); err != nil {
		return document{}, err
	}
	return p.commit(ctx)
}

// choose gives the references to fetch.
func (p *pass) choose(want demand) []target {
	var chosen []target
	for _, t := range p.targets {
		rec, known := p.before.Records[t.key]
		known = known && rec.Text == t.ref.Text && rec.Status != Initialized
		if t.fault == nil && (p.whole || !known || want.wants(t, rec)) {
			chosen = append(chosen, t)
		}
	}
	return chosen
}

// fetch gets the secrets of references, each secret once. The error says that the
// work was called off; nothing is known then.
func (p *pass) fetch(ctx, patience context.Context, chosen []target) (map[string]outcome, error) {
	outcomes := map[string]outcome{}
	if len(chosen) == 0 {
		return outcomes, nil
	}
	who, failure := p.identify(patience)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	by := identityOf(who)
	if failure != nil {
		if who == (identity.Assigned{}) {
			by = Identity{Type: expectedIdentity(p.app.App)}
		}
		for _, t := range chosen {
			outcomes[t.key] = outcome{failure: failure, by: by}
			p.r.counts.fetched(failure.Status)
		}
		return outcomes, nil
	}
	bySecret := map[keyref.Ref][]string{}
	for _, t := range chosen {
		ref := t.ref
		ref.Text = ""
		bySecret[ref] = append(bySecret[ref], t.key)
	}
	p.fetchEach(patience, who, bySecret, func(keys []string, o outcome) {
		o.by = by
		for _, key := range keys {
			outcomes[key] = o
		}
	})
	return outcomes, ctx.Err()
}

// fetchEach fetches secrets at the same time; tell is called one at a time.
func (p *pass) fetchEach(ctx context.Context, who identity.Assigned, bySecret map[keyref.Ref][]string, tell func(keys []string, o outcome)) {
	var mu sync.Mutex
	var work sync.WaitGroup
	places := make(chan struct{}, perApp)
	for ref, keys := range bySecret {
		places <- struct{}{}
		work.Go(func() {
			defer func() { <-places }()
			o := p.fetchOne(ctx, Query{p.app.ID, who, ref.Host, ref.Vault, ref.Secret, ref.Version})
			mu.Lock()
			defer mu.Unlock()
			tell(keys, o)
		})
	}
	work.Wait()
}

func (p *pass) fetchOne(ctx context.Context, q Query) outcome {
	if p.tokenExpired() {
		p.r.counts.fetched(AccessDenied)
		return outcome{failure: &Failure{Status: AccessDenied, HTTPStatus: 403, InnerCode: "TokenExpired",
			Message: "the quirk stoppedSiteTokenExpiry: the app has been stopped for longer than its token lives; start it"}}
	}
	secret, err := p.lane.fetch(ctx, q)
	if err == nil {
		p.r.counts.fetched(Resolved)
		return outcome{secret: secret}
	}
	f := failureOf(err)
	if ctx.Err() != context.Canceled {
		p.r.counts.fetched(f.Status)
	}
	return outcome{failure: f}
}

// identify gives the identity that reads the app's references.
func (p *pass) identify(ctx context.Context) (identity.Assigned, *Failure) {
	who, err := p.r.cfg.Identify(ctx, p.app)
	switch {
	case errors.Is(err, problem.NotFound):
		f := failureOf(err)
		return identity.Assigned{}, &Failure{Status: MSINotEnabled, Message: f.Message}
	case err != nil:
		return identity.Assigned{}, failureOf(err)
	case who.Dangling():
		return who, &Failure{Status: MSINotEnabled, Message: "the identity " + who.ResourceID + " is assigned but exists no longer"}
	}
	return who, nil
}

// tokenExpired reports whether the quirk makes this pass fail.
func (p *pass) tokenExpired() bool {
	since := p.before.Stopped
	return p.r.cfg.StoppedTokenExpiry && p.app.State == app.Stopped && !since.IsZero() && p.began.Sub(since) > p.r.cfg.TokenLife
}
