// Package enginetest owns what every engine must do, as one suite (Run), and the
// program that its containers run (Main). It deliberately knows no backend: how a
// machine is had, an image made and a container killed is told by a Backend.
package enginetest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// World is what the suite's program sees of its container.
type World struct {
	Args   []string
	Env    map[string]string
	Stdout io.Writer
	Read   func(path string) (string, error)
	Listen func(port int) string // the address to listen at
}

// Port is the one that the program serves at.
const Port = 8080

// OfProcess gives the world of this process. Paths are below CONTAINER_ROOT and the
// port is PORT where the engine sets them.
func OfProcess() World {
	env := map[string]string{}
	for _, e := range os.Environ() {
		k, v, _ := strings.Cut(e, "=")
		env[k] = v
	}
	return World{Args: os.Args[1:], Env: env, Stdout: os.Stdout,
		Read: func(path string) (string, error) {
			b, err := os.ReadFile(env["CONTAINER_ROOT"] + path)
			return string(b), err
		},
		Listen: func(port int) string {
			if p := env["PORT"]; p != "" {
				return "127.0.0.1:" + p
			}
			return fmt.Sprintf(":%d", port)
		}}
}

// Main is the program: "serve", "wait", "burn" (it computes without end), "exit N",
// "fail-first N" (it fails while START is below N), "say TEXT".
func Main(ctx context.Context, w World) int {
	args := append(w.Args, "", "")
	number, _ := strconv.Atoi(args[1])
	switch args[0] {
	case "serve":
		return serve(ctx, w)
	case "exit":
		return number
	case "burn":
		for ctx.Err() == nil {
		}
	case "say":
		fmt.Fprintln(w.Stdout, args[1])
	case "fail-first":
		if n, _ := strconv.Atoi(w.Env["START"]); n < number {
			return 1
		}
	default:
		<-ctx.Done()
	}
	return 0
}

func serve(ctx context.Context, w World) int {
	var l net.Listener
	var err error
	for range 100 { // an address that the test reserved may be free a moment later
		if l, err = net.Listen("tcp", w.Listen(Port)); err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return 0
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err != nil {
		fmt.Fprintln(w.Stdout, err)
		return 3
	}
	code, healthy := make(chan int, 1), &atomic.Bool{}
	healthy.Store(true)
	mux := http.NewServeMux()
	mux.HandleFunc("/env", func(rw http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(rw).Encode(w.Env) })
	mux.HandleFunc("/file", func(rw http.ResponseWriter, r *http.Request) {
		text, err := w.Read(r.URL.Query().Get("path"))
		if err != nil {
			http.Error(rw, err.Error(), http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(rw, text)
	})
	mux.HandleFunc("/exit", func(_ http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("code"))
		code <- n
	})
	mux.HandleFunc("/sick", func(http.ResponseWriter, *http.Request) { healthy.Store(false) })
	mux.HandleFunc("/health", func(rw http.ResponseWriter, _ *http.Request) {
		if !healthy.Load() {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	fmt.Fprintln(w.Stdout, "serving")
	select {
	case n := <-code:
		return n
	case <-ctx.Done():
		return 0
	}
}
