package memory

import "github.com/latchkey/latchkey/internal/keystore"

// SetUnavailable makes every call fail with ErrUnavailable until it is set
// back; what is stored stays.
func (s *Store) SetUnavailable(on bool) {
	s.place.mu.Lock()
	defer s.place.mu.Unlock()
	s.place.unavailable = on
}

// SetReadOnly makes every write on every handle fail with ErrReadOnly, as a
// file system does that turns read-only under a running process. Declared
// capabilities do not change; use [Store.ReadOnly] for a store that is
// read-only by nature.
func (s *Store) SetReadOnly(on bool) {
	s.place.mu.Lock()
	defer s.place.mu.Unlock()
	s.place.readOnly = on
}

// Corrupt makes a document undecryptable, existing or not, and tells the
// watchers. Delete or Put makes it good again.
func (s *Store) Corrupt(doc keystore.Doc) {
	s.place.mu.Lock()
	defer s.place.mu.Unlock()
	s.place.corrupt[doc] = true
	if _, ok := s.place.docs[doc]; !ok {
		s.place.put(doc, keystore.Document{})
		return
	}
	s.place.announce(doc)
}

// Put stores a document as somebody else would: without compare-and-swap,
// rules or faults. Watchers notice.
func (s *Store) Put(doc keystore.Doc, d keystore.Document) {
	s.place.mu.Lock()
	defer s.place.mu.Unlock()
	delete(s.place.corrupt, doc)
	s.place.put(doc, d)
}
