package scale

import (
	"context"
	"time"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/scale/rules"
)

const readTimeout = 20 * time.Second

// reading is what a source said last.
type reading struct {
	value float64
	used  []float64 // by each replica, for rules about resources
	at    time.Time // when it was read with success last
	fault string    // why it was not the last time; empty: it was
	marks map[string]engine.Usage
}

// reading reads a rule and keeps what it says; after an error the number there was
// stays to be seen.
func (r *revision) reading(ctx context.Context, is Revision, rule rules.Rule) {
	select {
	case r.s.room <- struct{}{}:
		defer func() { <-r.s.room }()
	case <-ctx.Done():
		return
	}
	r.mu.Lock()
	had := r.read[rule.Name]
	r.mu.Unlock()
	bounded, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	got, err := r.measure(bounded, is, rule, had)
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		got.fault = plain(err)
	}
	if got.fault != had.fault {
		r.s.cfg.Log.Info("a scale rule reads otherwise", "revision", is.String(), "rule", rule.Name, "error", got.fault)
	}
	r.read[rule.Name] = got
	if got.fault == "" && (had.at.IsZero() || r.state.Replicas() == 0 && got.value > rule.Activation) {
		r.due = r.s.cfg.Clock.Now() // what was not known, and what is at zero, need not wait for an interval
		r.wake()
	}
}

// measure asks the source of a rule.
func (r *revision) measure(ctx context.Context, is Revision, rule rules.Rule, had reading) (reading, error) {
	if rule.Resource() {
		return r.usage(ctx, is, rule, had)
	}
	if r.s.cfg.Sources.Queue == nil {
		return had, problem.New(problem.Unsupported, "queues cannot be read here")
	}
	q := Queue{App: is.App, Rule: rule.Name, Account: rule.Queue.Account, Endpoint: rule.Queue.Endpoint, Name: rule.Queue.Name, Identity: rule.Queue.Identity}
	if q.Identity == "" {
		var err error
		if q.Connection, err = connection(ctx, is, *rule.Queue); err != nil {
			return had, err
		}
	}
	n, err := r.s.cfg.Sources.Queue(ctx, q)
	if err != nil {
		return had, err
	}
	return reading{value: float64(n), at: r.s.cfg.Clock.Now()}, nil
}

// connection finds the connection string of a queue: in a secret, or in what the
// first container has in its environment.
func connection(ctx context.Context, is Revision, q rules.QueuePlace) (string, error) {
	ref := q.SecretRef
	if ref == "" && len(is.Template.Containers) > 0 {
		e, found := variable(is.Template.Containers[0], q.Env)
		if !found {
			return "", problem.New(problem.Invalid, "the first container has no variable "+q.Env+", which connectionFromEnv names")
		}
		if e.SecretRef == "" {
			return e.Value, nil
		}
		ref = e.SecretRef
	}
	if is.Secret == nil {
		return "", problem.New(problem.Unsupported, "secrets cannot be read here")
	}
	return is.Secret(ctx, ref)
}

func variable(c containerapp.Container, name string) (containerapp.EnvVar, bool) {
	for _, e := range c.Env {
		if e.Name == name {
			return e, true
		}
	}
	return containerapp.EnvVar{}, false
}

// usage measures what each replica uses: for cores, since the reading before.
func (r *revision) usage(ctx context.Context, is Revision, rule rules.Rule, had reading) (reading, error) {
	if r.s.cfg.Sources.Usage == nil {
		return had, problem.New(problem.Unsupported, "what replicas use cannot be measured with the "+r.s.cfg.Engine+" engine")
	}
	list, err := r.s.cfg.Sources.Usage(ctx, is.Ref)
	if err != nil {
		return had, err
	}
	now := r.s.cfg.Clock.Now()
	got := reading{at: now, marks: map[string]engine.Usage{}}
	replicas := map[string]float64{}
	for _, u := range list {
		key := u.Replica + "/" + u.Container
		got.marks[key] = u
		before, known := had.marks[key]
		switch {
		case rule.Kind == rules.Memory:
			replicas[u.Replica] += float64(u.Memory)
		case known && u.CPU >= before.CPU && now.After(had.at):
			replicas[u.Replica] += (u.CPU - before.CPU).Seconds() / now.Sub(had.at).Seconds()
		}
	}
	sum := 0.0
	for _, used := range replicas {
		got.used, sum = append(got.used, used), sum+used
	}
	if len(got.used) > 0 {
		got.value = sum / float64(len(got.used))
	} else {
		got.fault = "no replica was measured yet"
	}
	return got, nil
}
