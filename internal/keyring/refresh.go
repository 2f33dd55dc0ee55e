package keyring

// Refresh has all keys that were ever needed read again soon, in the background.
// It is for those who know that somebody changed the store and do not want to
// wait until the store tells, or is asked the next time. Documents that cannot
// be read keep their last good keys; [Ring.Health] says so. It is safe for
// concurrent use, and calls before the reading has begun are one.
func (r *Ring) Refresh() { r.noticed("") }
