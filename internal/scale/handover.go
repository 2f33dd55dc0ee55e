package scale

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/scale/rules"
)

// ErrByItself is what HandOver gives where the engine never scales: the Scaler
// does, and nothing is said about it.
var ErrByItself = problem.New(problem.Unsupported, "the engine does not scale by itself")

const (
	handAgain = 5 * time.Minute // between tellings that change nothing: secrets may have changed
	handRetry = 5 * time.Second
)

// handover is whether the engine scales a revision in place of the Scaler.
type handover struct {
	done    bool
	refused bool
	why     string // of a refusal, or of the last failure
	next    time.Time
}

// handOver asks the engine to scale the revision; handed says that it does, and
// wait when it is told again.
func (r *revision) handOver(ctx context.Context) (wait time.Duration, handed bool) {
	now := r.s.cfg.Clock.Now()
	r.mu.Lock()
	h, is, list, change := r.hand, r.is, r.rules, r.change
	r.mu.Unlock()
	if r.s.cfg.HandOver == nil || h.refused || now.Before(h.next) {
		return h.next.Sub(now), h.done
	}
	by, err := autoScale(ctx, is, list)
	if err == nil {
		err = r.s.cfg.HandOver(ctx, is.Ref, by)
	}
	h.why, h.next = "", now.Add(handRetry)
	switch {
	case err == nil:
		h.done, h.next = true, now.Add(handAgain)
	case errors.Is(err, ErrByItself):
		h = handover{refused: true}
	case errors.Is(err, problem.Unsupported):
		h = handover{refused: true, why: plain(err)}
	default: // it may pass; who scaled goes on
		h.why = plain(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.change == change {
		r.hand = h
	}
	return max(h.next.Sub(now), time.Millisecond), h.done
}

// autoScale says a revision's rules in the words of KEDA, with the values of
// secrets.
func autoScale(ctx context.Context, is Revision, list []rules.Rule) (*engine.AutoScale, error) {
	l := limits(is.Template, list)
	by := &engine.AutoScale{Min: l.Min, Max: l.Max, Cooldown: l.Cooldown, Polling: polling(is.Template, rules.Rule{Kind: rules.Queue})}
	if is.Template.Scale == nil || len(is.Template.Scale.Rules) == 0 {
		for _, r := range list { // the default one
			by.Rules = append(by.Rules, engine.AutoScaleRule{Name: r.Name, Type: r.Type})
		}
		return by, nil
	}
	for _, given := range is.Template.Scale.Rules {
		rule, auth := said(given)
		for _, a := range auth {
			if is.Secret == nil {
				return nil, problem.New(problem.Unsupported, "secrets cannot be read here")
			}
			value, err := is.Secret(ctx, a.SecretRef)
			if err != nil {
				return nil, err
			}
			rule.Auth = append(rule.Auth, engine.AutoScaleAuth{Parameter: a.TriggerParameter, Value: value})
		}
		by.Rules = append(by.Rules, rule)
	}
	return by, nil
}

func said(r containerapp.ScaleRule) (engine.AutoScaleRule, []containerapp.ScaleAuth) {
	out := engine.AutoScaleRule{Name: r.Name}
	switch {
	case r.HTTP != nil:
		out.Type, out.Metadata, out.Identity = string(rules.HTTP), r.HTTP.Metadata, r.HTTP.Identity
		return out, r.HTTP.Auth
	case r.TCP != nil:
		out.Type, out.Metadata, out.Identity = string(rules.TCP), r.TCP.Metadata, r.TCP.Identity
		return out, r.TCP.Auth
	case r.AzureQueue != nil:
		q := r.AzureQueue
		out.Type, out.Identity = string(rules.Queue), q.Identity
		out.Metadata = map[string]string{"queueName": q.QueueName, "queueLength": strconv.Itoa(q.QueueLength)}
		if q.AccountName != "" {
			out.Metadata["accountName"] = q.AccountName
		}
		return out, q.Auth
	case r.Custom != nil:
		out.Type, out.Metadata, out.Identity = r.Custom.Type, r.Custom.Metadata, r.Custom.Identity
		return out, r.Custom.Auth
	}
	return out, nil
}
