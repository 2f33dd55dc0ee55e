package isolation

import (
	"context"
	"os"
	"time"
)

// lookEvery is how often homes of apps that were deleted while no copy of them ran
// here are looked for.
const lookEvery = time.Hour

// Run ends what the workers of an app have left running once its last copy has
// ended, and removes homes and gives ids free of apps that gone says are no more,
// until ctx ends.
func (u *Users) Run(ctx context.Context, gone func(ctx context.Context, name, uid string) bool) {
	for u.forget(ctx, u.all(), gone); ctx.Err() == nil; {
		u.await(ctx, gone)
	}
	u.endIdle() // of the copies that ended with the node
}

// await waits for a copy to end, or until it is time to look at all homes.
func (u *Users) await(ctx context.Context, gone func(ctx context.Context, name, uid string) bool) {
	u.empty()
	timer := u.cfg.Clock.NewTimer(lookEvery)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C():
		u.forget(ctx, u.all(), gone)
	case <-u.wake:
		u.forget(ctx, u.endIdle(), gone)
	}
}

// empty removes what was thrown away.
func (u *Users) empty() {
	u.mu.Lock()
	trash := u.trash
	u.trash = nil
	u.mu.Unlock()
	for _, path := range trash {
		if err := os.RemoveAll(path); err != nil { // follows no link
			u.cfg.Log.Warn("files of an app could not be removed", "folder", path, "reason", err)
		}
	}
}

func (u *Users) all() []*life {
	u.mu.Lock()
	defer u.mu.Unlock()
	var list []*life
	for _, l := range u.lives {
		list = append(list, l)
	}
	return list
}

// endIdle kills what is left of apps without a copy, and gives those.
func (u *Users) endIdle() []*life {
	u.mu.Lock()
	defer u.mu.Unlock()
	ids, list := map[uint32]bool{}, []*life(nil)
	for uid := range u.idle {
		if l := u.lives[uid]; l != nil && l.users == 0 {
			ids[l.id], list = true, append(list, l)
		}
	}
	clear(u.idle)
	if err := endProcesses(ids); err != nil {
		u.cfg.Log.Error("what workers left running could not be ended", "reason", err)
	}
	return list
}

func (u *Users) forget(ctx context.Context, list []*life, gone func(ctx context.Context, name, uid string) bool) {
	for _, l := range list {
		if ctx.Err() == nil && gone(ctx, l.name, l.uid) {
			u.drop(l)
		}
	}
}

// drop removes the home of a life that is over and then gives its id free, unless
// a copy of it still runs.
func (u *Users) drop(l *life) {
	u.mu.Lock()
	if l.users > 0 || u.lives[l.uid] != l {
		u.mu.Unlock()
		return
	}
	l.over = true
	err := endProcesses(map[uint32]bool{l.id: true})
	u.mu.Unlock()
	if err == nil {
		err = os.RemoveAll(u.folder(l))
	}
	if err != nil {
		u.cfg.Log.Warn("the home of an app that was deleted could not be removed", "app", l.name, "reason", err)
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.lives, l.uid)
	delete(u.taken, l.id)
	delete(u.idle, l.uid)
}
