package fleet

import "github.com/latchkey/latchkey/internal/problem"

// stir starts the app if it is to run although nobody asks for it. It returns at
// once; a few apps at a time are looked at and started.
func (s *slot) stir() {
	w := s.want.Load()
	if s.f.cfg.Eager == nil || w.Stopped || w.Release == "" || s.runs() {
		return
	}
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	if !s.f.open {
		return
	}
	s.f.work.Add(1)
	go func() {
		defer s.f.work.Done()
		s.consider(w)
	}()
}

func (s *slot) runs() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runner
}

// consider finds out whether the app is to run, again until that is known or moot.
func (s *slot) consider(w *Want) {
	ctx := s.f.ctx
	for wait := openFirst; ; wait = min(2*wait, openMost) {
		select {
		case s.f.eager <- struct{}{}:
		case <-ctx.Done():
			return
		}
		settled := s.settle(w, wait == openFirst)
		<-s.f.eager
		if settled {
			return
		}
		timer := s.f.cfg.Clock.NewTimer(wait)
		select {
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// settle asks once, and gives the app a moment to come up before the next one
// starts. It is false if the answer could not be had.
func (s *slot) settle(w *Want, tell bool) bool {
	ctx := s.f.ctx
	if s.want.Load() != w || s.gone.Load() || s.runs() { // the newer want is looked at by itself
		return true
	}
	run, err := s.f.cfg.Eager(ctx, *w)
	switch {
	case ctx.Err() != nil:
		return true
	case err != nil:
		if tell {
			s.f.cfg.Log.Error("it is not known yet whether an app has triggers; it starts with the first request", "app", w.Name, "reason", err, "next", problem.NextOf(err))
		}
		return false
	case !run:
		return true
	}
	s.demand()
	timer := s.f.cfg.Clock.NewTimer(turnMost)
	defer timer.Stop()
	for {
		changed := s.waiting()
		if c := s.now.Load(); s.fault.Load() != nil || s.gone.Load() || c != nil && isUp(c) {
			return true
		}
		select {
		case <-changed:
		case <-timer.C():
			return true
		case <-ctx.Done():
			return true
		}
	}
}

func isUp(c *running) bool {
	select {
	case <-c.up:
		return true
	default:
		return false
	}
}

// Drain stops the listeners of all apps; requests go on being served.
func (f *Fleet) Drain() {
	f.slots.Range(func(_, v any) bool {
		s := v.(*slot)
		for _, c := range []*running{s.now.Load(), s.next.Load()} {
			if c != nil {
				c.app.Instance().Drain()
			}
		}
		return true
	})
}
