// Command timer-go is a custom handler with a function that a timer starts, and
// one that tells how often. It uses the standard library only.
package main

import (
	"encoding/json"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

func main() {
	port := os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT")
	if port == "" {
		log.Fatal("error: FUNCTIONS_CUSTOMHANDLER_PORT is not set; start me with: latchkey start examples/timer-go")
	}
	server := &http.Server{
		Addr:              net.JoinHostPort("127.0.0.1", port),
		Handler:           routes(),
		ReadHeaderTimeout: 10 * time.Second,
	}
	log.Fatal("error: ", server.ListenAndServe())
}

// routes maps the names of the functions: without request forwarding every
// invocation is a POST of one JSON document.
func routes() http.Handler {
	var t ticks
	mux := http.NewServeMux()
	mux.HandleFunc("POST /tick", t.tick)
	mux.HandleFunc("POST /ticks", t.tell)
	return mux
}

// ticks remembers the runs of the timer.
type ticks struct {
	mu       sync.Mutex
	count    int
	last     time.Time
	schedule timerInfo
}

// timerInfo is what a timer function is told.
type timerInfo struct {
	ScheduleStatus *struct{ Last, Next, LastUpdated string }
	IsPastDue      bool
}

// tick is the function that the timer starts.
func (t *ticks) tick(w http.ResponseWriter, r *http.Request) {
	var call struct {
		Data struct {
			Timer timerInfo `json:"timer"`
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest) // a failure: the retry policy applies
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count, t.last, t.schedule = t.count+1, time.Now(), call.Data.Timer
	answer(w, map[string]any{"Logs": []string{"tick"}})
}

// tell answers GET /api/ticks.
func (t *ticks) tell(w http.ResponseWriter, _ *http.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	answer(w, map[string]any{"Outputs": map[string]any{"res": map[string]any{
		"headers": map[string]string{"Content-Type": "application/json"},
		"body":    map[string]any{"count": t.count, "last": t.last, "pastDue": t.schedule.IsPastDue},
	}}})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Print("error: ", err)
	}
}
