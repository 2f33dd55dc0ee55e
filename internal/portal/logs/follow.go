package logs

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/portal/page"
	"github.com/latchkey/latchkey/internal/problem"
)

// Bounds of followers.
const (
	most        = 200 // on this node
	each        = 10  // of one principal
	pace        = 250 * time.Millisecond
	beat        = 25 * time.Second // between signs of life; with these it is seen whether the session counts
	life        = 15 * time.Minute // after that the browser asks anew
	writeWithin = 10 * time.Second
)

// told is one thing that a follower is told.
type told struct {
	ID     string `json:"-"`               // where it goes on; "" does not say
	Reset  bool   `json:"reset,omitempty"` // the lines are in place of those that are shown
	Lines  []Line `json:"lines"`
	Missed int    `json:"-"`
	Gap    string `json:"gap,omitempty"` // how many lines are missing before these
}

// source gives what is new. It waits until there is something, or ctx ends, or for as
// long as it likes: what it then gives has no lines.
type source func(ctx context.Context) (told, error)

// follow tells a browser what a source gives, until the browser goes, its session ends,
// or it has lasted long.
func (p *Pages) follow(v *page.Visit, from source) error {
	leave, ok := p.places.Take(v.Session.ObjectID)
	if !ok {
		v.W.Header().Set("Retry-After", "30")
		v.W.WriteHeader(http.StatusServiceUnavailable)
		return nil
	}
	defer leave()
	ctx, cancel := context.WithTimeout(v.Context(), life)
	defer cancel()
	go func() {
		select {
		case <-p.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	out := &follower{Visit: v, out: http.NewResponseController(v.W)}
	v.W.Header().Set("Content-Type", "text/event-stream")
	if !out.say("retry: 2000\n\n") {
		return nil
	}
	things := out.things(ctx, from)
	for out.turn(ctx, things) {
		select { // what comes at once is told together
		case <-time.After(pace):
		case <-ctx.Done():
		}
	}
	return nil
}

// follower is one browser.
type follower struct {
	*page.Visit
	out *http.ResponseController
}

// news is what a source gave.
type news struct {
	told
	err error
}

// things asks the source again and again; it is one answer ahead at most, and ends with
// ctx.
func (f *follower) things(ctx context.Context, from source) <-chan news {
	all := make(chan news)
	go func() {
		defer close(all)
		for {
			got, err := from(ctx)
			select {
			case all <- news{got, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return all
}

// turn waits for one thing and tells it, or gives a sign of life; false is the end.
func (f *follower) turn(ctx context.Context, things <-chan news) bool {
	life := time.NewTimer(beat)
	defer life.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-life.C:
			return f.Counts() && f.say(": here\n\n")
		case got, open := <-things:
			switch {
			case !open:
				return false
			case got.err != nil:
				f.end(ctx, got.err)
				return false
			case len(got.Lines) == 0 && got.Missed == 0 && !got.Reset:
				continue // nothing is new
			}
			return f.Counts() && f.tell(got.told)
		}
	}
}

// tell sends lines; of too many the oldest are left out.
func (f *follower) tell(t told) bool {
	if over := len(t.Lines) - shown; over > 0 {
		t.Lines = t.Lines[over:]
		t.Missed += over
	}
	if t.Missed > 0 {
		t.Gap = f.Text.Plain("log.missed", "n", t.Missed)
	}
	text, err := json.Marshal(t) // it has no line ends
	if err != nil {
		return false
	}
	id := ""
	if t.ID != "" {
		id = "id: " + t.ID + "\n"
	}
	return f.say(id + "event: lines\ndata: " + string(text) + "\n\n")
}

// end tells why nothing comes any more, if there is a reason that lasts.
func (f *follower) end(ctx context.Context, err error) {
	if ctx.Err() != nil || errors.Is(err, problem.Unauthenticated) {
		return
	}
	key := ""
	switch problem.KindOf(err) {
	case problem.NotFound:
		key = "log.end.gone"
	case problem.Denied:
		key = "log.end.denied"
	case problem.Invalid:
		key = "log.end.invalid"
	default:
		return // the browser asks again
	}
	f.say("event: end\ndata: " + strconv.Quote(f.Text.Plain(key)) + "\n\n")
}

// say sends text at once. A browser that takes nothing for long is given up.
func (f *follower) say(text string) bool {
	_ = f.out.SetWriteDeadline(time.Now().Add(writeWithin)) // where there are no deadlines the context ends it
	if _, err := f.W.Write([]byte(text)); err != nil || f.out.Flush() != nil {
		return false
	}
	_ = f.out.SetWriteDeadline(time.Time{}) // the connection goes on, and one of HTTP/2 ends a stream that waits
	return true
}
