package reference

// Idle reports whether nothing is being done in the background.
func (r *Resolver) Idle() bool {
	s := r.leading()
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.apps {
		if e.running || e.asked {
			return false
		}
	}
	return true
}
