package identity

import (
	"context"
	"time"

	"github.com/latchkey/latchkey/internal/state"
)

// usesWaiting bounds the uses that are to be noted. More are dropped: the next
// use of the same credential notes it too.
const usesWaiting = 256

// use is a credential that was accepted, to be noted once a day.
type use struct{ objectID, credential, day string }

// note asks for a credential's use to be written down, if it is not yet for
// today. It never waits.
func (d *Directory) note(objectID, credential, last string) {
	day := d.clock.Now().UTC().Format(time.DateOnly)
	if last == day {
		return
	}
	select {
	case d.used <- use{objectID, credential, day}:
	default:
	}
}

// noteUses writes uses down. One that cannot be written is left out: who is
// signing in is not made to wait or fail for it.
func (d *Directory) noteUses(ctx context.Context) {
	for {
		select {
		case u := <-d.used:
			_, _ = d.change(ctx, u.objectID, func(r *record) error { return r.used(u) })
		case <-ctx.Done():
			return
		}
	}
}

func (r *record) used(u use) error {
	for _, last := range r.lastUsed(u.credential) {
		if *last < u.day {
			*last = u.day
			return nil
		}
	}
	return state.ErrUnchanged
}

// lastUsed gives where the last use of a credential is noted: at most one place.
func (r *record) lastUsed(credential string) []*string {
	for i := range r.Secrets {
		if r.Secrets[i].ID == credential {
			return []*string{&r.Secrets[i].LastUsed}
		}
	}
	for i := range r.Certificates {
		if r.Certificates[i].ID == credential {
			return []*string{&r.Certificates[i].LastUsed}
		}
	}
	for i := range r.Federated {
		if r.Federated[i].Name == credential {
			return []*string{&r.Federated[i].LastUsed}
		}
	}
	return nil
}
