// Package live owns telling browsers that something has changed, so that they read
// again what they show. What has changed it does not say: whoever is told asks with
// the rights they have then. It does not know what there is to change.
package live

import (
	"net/http"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/portal/page"
)

// Bounds.
const (
	pause = 500 * time.Millisecond // between two things that a browser is told
	beat  = 25 * time.Second       // between signs of life; with these too it is seen whether the session counts
	most  = 1000                   // browsers that listen on this node
	each  = 50                     // of one principal
	pages = 20                     // of one session
	late  = 15 * time.Second       // that a browser may take for a line of text
)

// Hub tells browsers. It is safe for concurrent use.
type Hub struct {
	// Late is how long a browser may take for what it is told; one that takes longer is
	// left. Set it before use.
	Late time.Duration

	mu     sync.Mutex
	all    map[chan struct{}]listener
	closed chan struct{}
	ended  bool
}

// listener is who listens: a principal, by its object id, in a session.
type listener struct{ objectID, session string }

// NewHub makes a hub that nobody listens to.
func NewHub() *Hub {
	return &Hub{Late: late, all: map[chan struct{}]listener{}, closed: make(chan struct{})}
}

// Notify says that something has changed. It does not wait.
func (h *Hub) Notify() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.all {
		select {
		case c <- struct{}{}:
		default: // it has not been told of the one before yet
		}
	}
}

// Close ends all that listen; it can be called again.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.ended = true
		close(h.closed)
	}
}

func (h *Hub) join(l listener) (chan struct{}, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	theirs, open := 0, 0
	for _, who := range h.all {
		if who.objectID == l.objectID {
			theirs++
		}
		if who.session == l.session {
			open++
		}
	}
	if len(h.all) >= most || theirs >= each || open >= pages || h.ended {
		return nil, false
	}
	c := make(chan struct{}, 1)
	h.all[c] = l
	return c, true
}

func (h *Hub) leave(c chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, c)
}

// Mount adds the stream of events to a mux.
func (h *Hub) Mount(m *page.Mux) { m.Page(page.Events, h.serve) }

// serve tells one browser until it goes away or its session ends.
func (h *Hub) serve(v *page.Visit) error {
	changes, ok := h.join(listener{v.Session.ObjectID, v.SessionName()})
	if !ok {
		v.W.Header().Set("Retry-After", "60")
		v.W.WriteHeader(http.StatusServiceUnavailable)
		return nil
	}
	defer h.leave(changes)
	v.W.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(v.W)
	if !h.say(v, out, "retry: 3000\n\n") {
		return nil
	}
	for h.next(v, out, changes) {
		select { // what comes at once is told together
		case <-time.After(pause):
		case <-v.Context().Done():
			return nil
		case <-h.closed:
			return nil
		}
	}
	return nil
}

// next waits for one thing to tell and tells it.
func (h *Hub) next(v *page.Visit, out *http.ResponseController, changes <-chan struct{}) bool {
	life := time.NewTimer(beat)
	defer life.Stop()
	select {
	case <-v.Context().Done():
		return false
	case <-h.closed:
		return false
	case <-changes:
		return v.Counts() && h.say(v, out, "event: change\ndata:\n\n")
	case <-life.C:
		return v.Counts() && h.say(v, out, ": here\n\n")
	}
}

// say tells a browser something, within the time it may take: one that does not read
// must not keep anything here. A writer that knows no such bound has one of its own.
func (h *Hub) say(v *page.Visit, out *http.ResponseController, text string) bool {
	_ = out.SetWriteDeadline(time.Now().Add(h.Late))
	if _, err := v.W.Write([]byte(text)); err != nil || out.Flush() != nil {
		return false
	}
	_ = out.SetWriteDeadline(time.Time{}) // it ends streams of HTTP/2, also those that wait
	return true
}
