package reference

import (
	"context"
	"errors"
	"strings"
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
	p.targets = p.r.targets(p.app)
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
	jobs, err := p.jobs(ctx, patience, chosen, outcomes)
	if err != nil {
		return nil, err
	}
	p.fetchEach(patience, jobs, func(j job, o outcome) {
		o.by = j.by
		for _, key := range j.keys {
			outcomes[key] = o
		}
	})
	return outcomes, ctx.Err()
}

// job is a secret to fetch for references.
type job struct {
	query Query
	by    Identity
	keys  []string // of records
}

// jobs gives what is to be fetched, and puts into outcomes what fails before.
func (p *pass) jobs(ctx, patience context.Context, chosen []target, outcomes map[string]outcome) ([]job, error) {
	byReader := map[string][]target{}
	for _, t := range chosen {
		reader := strings.ToLower(t.reader)
		byReader[reader] = append(byReader[reader], t)
	}
	var jobs []job
	for _, list := range byReader {
		reader := list[0].reader
		who, failure := p.identify(patience, reader)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		by := identityOf(who)
		if failure == nil {
			jobs = append(jobs, p.jobsOf(who, by, list)...)
			continue
		}
		if who == (identity.Assigned{}) {
			by = Identity{Type: expectedIdentity(reader)}
		}
		for _, t := range list {
			outcomes[t.key] = outcome{failure: failure, by: by}
			p.r.counts.fetched(failure.Status)
		}
	}
	return jobs, nil
}

func (p *pass) jobsOf(who identity.Assigned, by Identity, list []target) []job {
	bySecret := map[keyref.Ref][]string{}
	for _, t := range list {
		ref := t.ref
		ref.Text = ""
		bySecret[ref] = append(bySecret[ref], t.key)
	}
	jobs := make([]job, 0, len(bySecret))
	for ref, keys := range bySecret {
		jobs = append(jobs, job{Query{p.app.ID, who, ref.Host, ref.Vault, ref.Secret, ref.Version}, by, keys})
	}
	return jobs
}

// fetchEach fetches secrets at the same time; tell is called one at a time.
func (p *pass) fetchEach(ctx context.Context, jobs []job, tell func(job, outcome)) {
	var mu sync.Mutex
	var work sync.WaitGroup
	places := make(chan struct{}, perApp)
	for _, j := range jobs {
		places <- struct{}{}
		work.Go(func() {
			defer func() { <-places }()
			o := p.fetchOne(ctx, j.query)
			mu.Lock()
			defer mu.Unlock()
			tell(j, o)
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

// identify gives the identity that a name of a reader stands for.
func (p *pass) identify(ctx context.Context, reader string) (identity.Assigned, *Failure) {
	a := p.app
	a.ReferenceIdentity = reader
	who, err := p.r.cfg.Identify(ctx, a)
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
