package tokens

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/token"
)

// wait gets a new token once for all who want it now. It goes on for the others
// when one of them gives up.
func (s *Issuer) wait(ctx context.Context, k key, life uint64) (token.Token, error) {
	done := s.flight.DoChan(k.text(life), func() (any, error) {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), getTime)
		defer cancel()
		return s.renew(limited, k, life)
	})
	select {
	case r := <-done:
		if r.Err != nil {
			return token.Token{}, r.Err
		}
		return r.Val.(token.Token), nil
	case <-ctx.Done():
		return token.Token{}, ctx.Err()
	}
}

// text gives a key of the flights. Those from before a call of Forget are others.
func (k key) text(life uint64) string {
	return strings.Join([]string{
		fmt.Sprint(life, k.who.System, k.who.Epoch), k.who.ObjectID, k.who.AppID, k.who.ResourceID, k.audience,
	}, "\x00")
}

// renew gets a token and keeps it, or gives the last one if that is still good
// and a new one can only not be had right now.
func (s *Issuer) renew(ctx context.Context, k key, life uint64) (token.Token, error) {
	last, _ := s.last(k)
	if s.good(ctx, last) { // another flight landed meanwhile
		return last.Token, nil
	}
	next, err := s.get(ctx, k)
	switch {
	case err == nil:
		s.keep(k, next, life)
		return next.Token, nil
	case passing(err) && s.lasts(ctx, last):
		last.until = s.cfg.Clock.Now().Add(retryAfter)
		s.keep(k, last, life)
		return last.Token, nil
	case errors.Is(err, context.DeadlineExceeded):
		return token.Token{}, problem.Wrap(problem.Timeout, fmt.Sprintf("no token could be had within %s", getTime), err)
	}
	return token.Token{}, err
}

func (s *Issuer) keep(k key, t kept, life uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life == life {
		s.kept.Add(k, t)
	}
}

// passing says whether an error is one that may not be there the next time.
func passing(err error) bool {
	switch problem.KindOf(err) {
	case problem.Unavailable, problem.Timeout, problem.Throttled:
		return true
	}
	return errors.Is(err, context.DeadlineExceeded)
}

// lasts says whether a kept token is good enough while no other can be had.
func (s *Issuer) lasts(ctx context.Context, k kept) bool {
	return k.Raw != "" && k.Expires.Sub(s.cfg.Clock.Now()) > leastLeft && s.counts(ctx, k)
}

// get gets a token from the upstream, if that stands for the identity, or makes it.
func (s *Issuer) get(ctx context.Context, k key) (kept, error) {
	if s.cfg.Upstream != nil {
		t, handled, err := s.cfg.Upstream.Token(ctx, k.who, k.audience)
		if handled || err != nil {
			return s.received(t, err)
		}
	}
	t, err := s.cfg.Authority.Mint(ctx, token.Claims{
		Version: 1, Audience: k.audience, ObjectID: k.who.ObjectID, AppID: k.who.AppID,
		Proof: token.ProofCertificate, ResourceID: k.who.ResourceID, Epoch: k.who.Epoch,
	}, s.cfg.Lifetime)
	return kept{t, true, t.Expires.Add(-s.cfg.Reuse)}, err
}

// received checks what an upstream gave.
func (s *Issuer) received(t token.Token, err error) (kept, error) {
	if err != nil {
		return kept{}, err
	}
	left := t.Expires.Sub(s.cfg.Clock.Now())
	if t.Raw == "" || left <= 0 {
		return kept{}, problem.New(problem.Unavailable, "the upstream of the identity gave no token that is valid now").
			WithNext("compare the clock of this machine with the real time")
	}
	return kept{t, false, t.Expires.Add(-min(s.cfg.Reuse, left/2).Truncate(time.Second))}, nil
}
