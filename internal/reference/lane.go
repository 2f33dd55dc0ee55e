package reference

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/semaphore"
)

// Limits of work.
const (
	loads  = 16 // apps whose settings are read at the same time
	perApp = 32 // secrets of one app that wait for a place or are fetched
)

// A vault that did not answer trip times in a row is taken for not answering for
// a while, so that those who wait for it learn soon how it stands.
const (
	trip    = 3
	tripped = 5 * time.Second
	maxIdle = 1000 // vaults whose silence is remembered while nobody asks them
)

// lane bounds fetches: all of them, and those from one vault. Who waits for a
// vault does not take a place that others could use.
type lane struct {
	r        *Resolver
	all      *semaphore.Weighted
	inFlight atomic.Int64
	queued   atomic.Int64

	mu     sync.Mutex
	vaults map[string]*vaultGate
}

// vaultGate is one vault in a lane.
type vaultGate struct {
	places *semaphore.Weighted
	users  int
	silent int       // fetches in a row that got no answer
	until  time.Time // it is taken for not answering
}

func (r *Resolver) newLane() *lane {
	return &lane{r: r, all: semaphore.NewWeighted(int64(r.cfg.Parallel)), vaults: map[string]*vaultGate{}}
}

// fetch reads a secret when there is a place, and within the timeout. The error is
// a *Failure, or the context's own if that ended because nobody wants the secret.
func (l *lane) fetch(ctx context.Context, q Query) (Secret, error) {
	name := q.Host
	if name == "" {
		name = q.Vault
	}
	v := l.enter(name)
	defer l.leave(name, v)
	l.queued.Add(1)
	err := acquire(ctx, v.places, l.all)
	l.queued.Add(-1)
	if err != nil {
		return Secret{}, l.ended(ctx, err)
	}
	defer v.places.Release(1)
	defer l.all.Release(1)
	if l.isSilent(v) {
		return Secret{}, &Failure{Status: FetchTimedOut, Message: "the vault was not asked: it did not answer several times just before"}
	}
	l.inFlight.Add(1)
	defer l.inFlight.Add(-1)
	return l.ask(ctx, v, q)
}

func acquire(ctx context.Context, vault, all *semaphore.Weighted) error {
	if err := vault.Acquire(ctx, 1); err != nil {
		return err
	}
	err := all.Acquire(ctx, 1)
	if err != nil {
		vault.Release(1)
	}
	return err
}

func (l *lane) ask(ctx context.Context, v *vaultGate, q Query) (Secret, error) {
	limited, cancel := context.WithTimeout(ctx, l.r.cfg.Timeout)
	defer cancel()
	secret, err := l.r.cfg.Source.Fetch(limited, q)
	if err == nil {
		err = unusable(secret.Value)
	}
	if err != nil && ctx.Err() != nil {
		return Secret{}, l.ended(ctx, err)
	}
	if err == nil {
		l.answered(v, true)
		return secret, nil
	}
	f := failureOf(err)
	if limited.Err() != nil { // whatever the source makes of it
		f = failureOf(limited.Err())
	}
	l.answered(v, f.Status != FetchTimedOut)
	return Secret{}, f
}

// unusable says why no program can get a value.
func unusable(value string) error {
	switch {
	case value == "":
		return &Failure{Status: OtherReasons, InnerCode: "SecretEmpty", Message: "the secret's value is empty"}
	case !utf8.ValidString(value) || strings.Contains(value, "\x00"):
		return &Failure{Status: OtherReasons, InnerCode: "SecretNotText", Message: "the secret's value has a zero byte or is no text, which no setting can be"}
	}
	return nil
}

// ended tells the end of somebody's patience from the end of the work.
func (l *lane) ended(ctx context.Context, err error) error {
	if ctx.Err() == context.DeadlineExceeded {
		return failureOf(ctx.Err())
	}
	return err
}

func (l *lane) enter(name string) *vaultGate {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.vaults[name]
	if v == nil {
		v = &vaultGate{places: semaphore.NewWeighted(int64(l.r.cfg.PerVault))}
		l.vaults[name] = v
	}
	v.users++
	return v
}

func (l *lane) leave(name string, v *vaultGate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v.users--; v.users == 0 && (v.silent == 0 || len(l.vaults) > maxIdle) {
		delete(l.vaults, name)
	}
}

func (l *lane) isSilent(v *vaultGate) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := v.until.Sub(l.r.cfg.Clock.Now())
	return left > 0 && left <= tripped // more is left only if the clock was set back
}

func (l *lane) answered(v *vaultGate, did bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if did {
		v.silent, v.until = 0, time.Time{}
		return
	}
	if v.silent++; v.silent >= trip {
		v.until = l.r.cfg.Clock.Now().Add(tripped)
	}
}
