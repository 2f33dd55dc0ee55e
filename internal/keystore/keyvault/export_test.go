package keyvault

import (
	"context"
	"time"
)

// AwaitWaiting waits until so many calls wait for the next list of a store.
func AwaitWaiting(ctx context.Context, s *Store, n int) error {
	for {
		s.lists.mu.Lock()
		have := s.lists.next != nil && s.lists.next.waiting >= n
		s.lists.mu.Unlock()
		if have {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}
