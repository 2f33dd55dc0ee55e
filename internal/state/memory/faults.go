package memory

// SetUnavailable makes every call fail with ErrUnavailable until it is set back;
// what is stored stays and watches go on.
func (s *Store) SetUnavailable(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unavailable = on
}

// Forget drops the history of events: every watcher gets EventResync, and so does
// who asks for an earlier revision.
func (s *Store) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.feed.Forget(s.revision)
}

// ExpireLeases ends all leases as if their holders had been cut off.
func (s *Store) ExpireLeases() { s.desk.Expire() }
