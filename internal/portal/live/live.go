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
)

// Hub tells browsers. It is safe for concurrent use.
type Hub struct {
	mu     sync.Mutex
	all    map[chan struct{}]string // object id of who listens
	closed chan struct{}
	ended  bool
}

// NewHub makes a hub that nobody listens to.
func NewHub() *Hub { return &Hub{all: map[chan struct{}]string{}, closed: make(chan struct{})} }

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

func (h *Hub) join(objectID string) (chan struct{}, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	theirs := 0
	for _, who := range h.all {
		if who == objectID {
			theirs++
		}
	}
	if len(h.all) >= most || theirs >= each || h.ended {
		return nil, false
	}
	c := make(chan struct{}, 1)
	h.all[c] = objectID
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
	changes, ok := h.join(v.Session.ObjectID)
	if !ok {
		v.W.Header().Set("Retry-After", "60")
		v.W.WriteHeader(http.StatusServiceUnavailable)
		return nil
	}
	defer h.leave(changes)
	v.W.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(v.W)
	if !say(v, out, "retry: 3000\n\n") {
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
		return v.Counts() && say(v, out, "event: change\ndata:\n\n")
	case <-life.C:
		return v.Counts() && say(v, out, ": here\n\n")
	}
}

func say(v *page.Visit, out *http.ResponseController, text string) bool {
	_, err := v.W.Write([]byte(text))
	return err == nil && out.Flush() == nil
}
