package keyring

import (
	"context"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

// Usage says how the keys of a section have been used, as far as the usage store
// and this ring know, sorted by name. Keys that were never used are left out.
// problem.Unsupported without a Config.Usage.
func (r *Ring) Usage(ctx context.Context, sec Section) ([]Use, error) {
	if r.cfg.Usage == nil {
		return nil, problem.New(problem.Unsupported, "uses of keys are not counted here")
	}
	s, err := r.scopeOf(sec)
	if err != nil {
		return nil, err
	}
	kept, err := r.cfg.Usage.Load(ctx)
	if err != nil {
		return nil, err
	}
	r.flushing.Lock()
	defer r.flushing.Unlock()
	at := map[KeyRef]int{}
	var out []Use
	put := func(u Use) {
		if u.Key.Kind != sec.Kind || u.Key.Function != sec.function() {
			return
		}
		id := u.Key.folded()
		if i, ok := at[id]; ok {
			out[i] = out[i].Merge(u)
			return
		}
		at[id] = len(out)
		out = append(out, u)
	}
	for _, u := range kept {
		put(u)
	}
	for _, t := range r.tallies(s) {
		if u, _, any := t.pending(); any {
			put(u)
		}
	}
	slices.SortFunc(out, func(a, b Use) int { return strings.Compare(a.Key.Name, b.Key.Name) })
	return out, nil
}

func (sec Section) function() string { return strings.ToLower(sec.Function) }

func (k KeyRef) folded() KeyRef {
	k.Name, k.Function = strings.ToLower(k.Name), strings.ToLower(k.Function)
	return k
}

// tallies gives those of the keys in force, of one scope or of all.
func (r *Ring) tallies(of ...*Scope) []*tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(of) == 0 {
		of = r.scopes
	}
	var out []*tally
	for _, s := range of {
		for _, t := range s.tallies {
			out = append(out, t)
		}
	}
	return out
}

// FlushUsage hands over what was counted since the last time; without a
// Config.Usage it does nothing. What cannot be handed over is kept for the next
// time. A started ring calls it by itself.
func (r *Ring) FlushUsage(ctx context.Context) error {
	if r.cfg.Usage == nil {
		return nil
	}
	r.flushing.Lock()
	defer r.flushing.Unlock()
	var uses []Use
	var from []*tally
	var quotas []Used
	for _, t := range r.tallies() {
		if u, quota, any := t.pending(); any {
			uses, from, quotas = append(uses, u), append(from, t), append(quotas, quota)
		}
	}
	if len(uses) == 0 {
		return nil
	}
	sums, err := r.cfg.Usage.Add(ctx, slices.Clone(uses))
	if err != nil {
		return err
	}
	for i, t := range from {
		t.sent += uses[i].Count
		l := t.ledger.Load()
		if l == nil {
			continue
		}
		l.sent = quotas[i]
		if i < len(sums) {
			l.adopt(sums[i].Quota, quotas[i])
		}
	}
	return nil
}

// recall reads what is kept of quotas, so that a restart gives nobody more.
func (r *Ring) recall(ctx context.Context) {
	if r.cfg.Usage == nil {
		return
	}
	kept, err := r.cfg.Usage.Load(ctx)
	if err != nil {
		r.cfg.Log.Warn("the uses of keys so far cannot be read; quotas begin anew until they can", "error", err)
		return
	}
	quotas := make(map[KeyRef]Used, len(kept))
	for _, u := range kept {
		quotas[u.Key.folded()] = u.Quota
	}
	r.recalled.Store(&quotas)
}

// recalledQuota gives what is kept of the quota of a name.
func (r *Ring) recalledQuota(ref KeyRef) Used {
	if quotas := r.recalled.Load(); quotas != nil {
		return (*quotas)[ref.folded()]
	}
	return Used{}
}

// keepUsage hands uses over from time to time, and a last time when the ring is
// closed.
func (r *Ring) keepUsage() {
	told := ""
	for clock.Sleep(r.life, r.cfg.Clock, r.cfg.Limits.UsageEvery) == nil {
		told = r.flush(r.life, told)
	}
	ctx, stop := r.bounded(context.WithoutCancel(r.life))
	defer stop()
	r.flush(ctx, told)
}

// flush logs why uses could not be handed over, unless that was told before, and
// gives what was told.
func (r *Ring) flush(ctx context.Context, told string) string {
	err := r.FlushUsage(ctx)
	if err == nil || ctx.Err() != nil {
		return ""
	}
	if err.Error() != told {
		r.cfg.Log.Warn("uses of keys could not be kept; they are kept with the next ones, which is tried again from time to time", "error", err)
	}
	return err.Error()
}
