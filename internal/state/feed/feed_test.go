package feed_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/feed"
)

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func put(at int, key state.Key, value string) state.Event {
	return state.Event{Kind: state.EventPut, Document: state.Document{Key: key, Value: []byte(value), Revision: state.Revision(at)}}
}

// all reads a watch to its end.
func all(events <-chan state.Event) (list []string) {
	for e := range events {
		if e.Kind == state.EventResync {
			list = append(list, "resync")
			continue
		}
		list = append(list, fmt.Sprint(e.Revision, e.Key))
	}
	return list
}

func wantLast(t *testing.T, what string, list []string, most int) {
	t.Helper()
	if len(list) == 0 || list[len(list)-1] != "resync" || len(list) > most {
		t.Errorf("%s: %d events, last %v", what, len(list), list[max(0, len(list)-1):])
	}
}

func TestSlowWatchersLoseTheirPlace(t *testing.T) {
	ctx, f := testContext(t), feed.New(0)
	defer f.Close()
	bySize, byCount := f.Watch(ctx, "/", 0), f.Watch(ctx, "/a", 0)
	value := string(make([]byte, 1<<20))
	for i := range feed.MaxBytes>>20 + 30 {
		f.Publish([]state.Event{put(i+1, "/b", value)})
	}
	wantLast(t, "large events", all(bySize), 40)
	for i := range feed.MaxEvents + 30 {
		f.Publish([]state.Event{put(1000+i, "/a", "")})
	}
	wantLast(t, "many events", all(byCount), 40)
	wantLast(t, "the distant past", all(f.Watch(ctx, "/", 999)), 1)
}

func TestHistoryBeginsWhereTheStoreWas(t *testing.T) {
	ctx, f := testContext(t), feed.New(7)
	defer f.Close()
	f.Publish([]state.Event{put(8, "/a", "")})
	for from := range state.Revision(7) {
		wantLast(t, fmt.Sprint("from ", from), all(f.Watch(ctx, "/", from)), 1)
	}
	short, cancel := context.WithCancel(ctx)
	events := f.Watch(short, "/", 7)
	if e := <-events; e.Revision != 8 {
		t.Errorf("got %+v", e)
	}
	ahead := f.Watch(ctx, "/", 9)
	f.Publish([]state.Event{put(9, "/a", ""), put(10, "/a", "")})
	if e := <-ahead; e.Revision != 10 {
		t.Errorf("a watch from 9 begins with %d", e.Revision)
	}
	cancel()
	for range events { // until it is closed
	}
}

func TestForgettingReachesEverybody(t *testing.T) {
	ctx, f := testContext(t), feed.New(0)
	defer f.Close()
	read, idle, behind := f.Watch(ctx, "/", 0), f.Watch(ctx, "/none/", 0), f.Watch(ctx, "/", 0)
	f.Publish([]state.Event{put(1, "/a", "")})
	<-read
	f.Forget(5)
	wantLast(t, "who has read everything", all(read), 1)
	wantLast(t, "who had nothing to read", all(idle), 1)
	wantLast(t, "who has not read", all(behind), 2)
	wantLast(t, "who asks for what is forgotten", all(f.Watch(ctx, "/", 4)), 1)
	f.Forget(5)
	events := f.Watch(ctx, "/", 5)
	f.Publish([]state.Event{put(6, "/a", "")})
	if e := <-events; e.Revision != 6 {
		t.Errorf("got %+v", e)
	}
}

func TestCloseEndsWatches(t *testing.T) {
	ctx, f := testContext(t), feed.New(0)
	idle, stuck := f.Watch(ctx, "/", 100), f.Watch(ctx, "/", 0)
	for i := range 100 {
		f.Publish([]state.Event{put(i+1, "/a", "")})
	}
	f.Close()
	f.Close()
	if list := all(idle); len(list) != 0 {
		t.Errorf("got %v", list)
	}
	if list := all(stuck); len(list) > 100 || len(list) > 0 && list[len(list)-1] == "resync" {
		t.Errorf("got %v", list)
	}
	if list := all(f.Watch(ctx, "/", 0)); len(list) != 0 {
		t.Errorf("a watch of a closed feed reports %v", list)
	}
}
