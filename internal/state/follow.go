package state

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
)

// Follower gets a part of the store and keeps up with it. Its methods are called
// one at a time, from Follow's goroutine.
type Follower interface {
	// Reset replaces everything known by what is there now. A document with a nil
	// value is there and cannot be read.
	Reset(documents []Document)
	// Apply takes one change.
	Apply(event Event)
	// Cut tells that the store cannot be read; what is known may be old. It is
	// called again for every failed attempt, and Reset follows when it can.
	Cut(err error)
}

// Waits between attempts to read a store that cannot be.
const (
	followFirst = 50 * time.Millisecond
	followMost  = 2 * time.Second
)

// Follow keeps f up to date with what is below prefix until ctx ends, which is
// the only reason for it to return. Lost events lead to a Reset.
func Follow(ctx context.Context, s Store, prefix Key, c clock.Clock, f Follower) {
	wait := followFirst
	for ctx.Err() == nil {
		read, err := followOnce(ctx, s, prefix, f)
		if read {
			wait = followFirst
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		f.Cut(err)
		if clock.Sleep(ctx, c, wait) != nil {
			return
		}
		wait = min(2*wait, followMost)
	}
}

var errEnded = errors.New("the store ended the watch")

// followOnce lists and watches until that ends; a nil error asks for the next
// round at once.
func followOnce(ctx context.Context, s Store, prefix Key, f Follower) (read bool, err error) {
	list, err := s.List(ctx, prefix, Page{Unreadable: true})
	if err != nil {
		return false, err
	}
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := s.Watch(watch, prefix, list.Revision)
	if err != nil {
		return false, err
	}
	f.Reset(list.Documents)
	for e := range events {
		if e.Kind == EventResync {
			return true, nil
		}
		f.Apply(e)
	}
	return true, errEnded
}
