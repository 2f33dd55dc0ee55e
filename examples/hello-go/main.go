// Command hello-go is a custom handler: a web server that runs the functions of
// the app folder it lies in. It uses the standard library only and knows nothing
// of keys; whoever reaches it was let in before.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"
)

func main() {
	port := os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT")
	if port == "" {
		log.Fatal("error: FUNCTIONS_CUSTOMHANDLER_PORT is not set; start me with: latchkey start examples/hello-go")
	}
	server := &http.Server{
		Addr:              net.JoinHostPort("127.0.0.1", port),
		Handler:           routes(time.Now()),
		ReadHeaderTimeout: 10 * time.Second,
	}
	log.Fatal("error: ", server.ListenAndServe())
}

// routes maps the paths of the functions. Requests arrive with the path the
// client used, so the route prefix is part of it.
func routes(started time.Time) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/hello", hello)
	mux.HandleFunc("/api/hello/{name}", hello)
	mux.HandleFunc("/api/health", health)
	mux.HandleFunc("/api/admin-report", func(w http.ResponseWriter, r *http.Request) { report(w, r, started) })
	return mux
}

// hello greets by route, query or body, in this order.
func hello(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if name == "" {
		name = r.URL.Query().Get("name")
	}
	if name == "" {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<10))
		if err != nil {
			http.Error(w, "the name is too long", http.StatusRequestEntityTooLarge)
			return
		}
		name = strings.TrimSpace(string(body))
	}
	if name == "" {
		name = "world"
	}
	log.Printf("greeting %q, invocation %s", name, r.Header.Get("X-Azure-Functions-InvocationId"))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	fmt.Fprintf(w, "%s, %s!\n", greeting(), name)
}

func greeting() string {
	if g := os.Getenv("GREETING"); g != "" {
		return g
	}
	return "Hello"
}

func health(w http.ResponseWriter, _ *http.Request) {
	answer(w, map[string]any{"status": "ok"})
}

// report tells an administrator about the process and which key let them in.
func report(w http.ResponseWriter, r *http.Request, started time.Time) {
	answer(w, map[string]any{
		"key":        r.Header.Get("X-Latchkey-Key-Name"),
		"go":         runtime.Version(),
		"goroutines": runtime.NumGoroutine(),
		"uptime":     time.Since(started).Round(time.Second).String(),
	})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Print("error: ", err)
	}
}
