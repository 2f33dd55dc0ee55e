package custom_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// modeVariable makes the test binary play a custom handler.
const (
	modeVariable = "LATCHKEY_TEST_HANDLER"
	dialVariable = "LATCHKEY_TEST_DIAL" // address a process connects to: the connection's end is the process's
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(modeVariable); mode != "" {
		play(mode)
		return
	}
	code := m.Run()
	if _, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		fmt.Fprintln(os.Stderr, "a test left a child process behind")
		code = 1
	}
	os.Exit(code)
}

// play is the life of a process that the tests start.
func play(mode string) {
	switch mode {
	case "serve":
		serve()
	case "never":
		fmt.Println("thinking about listening")
		forever()
	case "exit":
		fmt.Fprintln(os.Stderr, "fatal error: no database")
		os.Exit(7)
	case "slow":
		awaitSignal("waiting for permission")
		serve()
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		serve()
	case "parent":
		startChild()
		serve()
	case "parent-exit":
		startChild()
		awaitSignal("waiting to leave my child")
		os.Exit(5)
	case "child":
		connect()
		signal.Ignore(syscall.SIGTERM)
		forever()
	case "flood":
		flood()
		serve()
	case "garbage":
		garbage()
	case "middle":
		middle()
	}
}

// forever waits for a signal nobody sends.
func forever() { awaitSignal("") }

func awaitSignal(announce string) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	if announce != "" {
		fmt.Println(announce)
	}
	<-c
}

// connect opens a connection to the test that lives as long as the process.
func connect() {
	conn, err := net.Dial("tcp", os.Getenv(dialVariable))
	if err != nil {
		fmt.Fprintln(os.Stderr, "dial:", err)
		os.Exit(9)
	}
	_, _ = conn.Write([]byte("x"))
	keep = conn
}

var keep net.Conn

func startChild() {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), modeVariable+"=child")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr // holds the pipes open, as real children do
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(9)
	}
}

func flood() {
	long := strings.Repeat("y", 200<<10)
	for range 50 {
		fmt.Fprintln(os.Stderr, long)
	}
	fmt.Fprintln(os.Stderr, "the end")
}

// garbage answers something that is not HTTP.
func garbage() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"))
	if err != nil {
		os.Exit(9)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Write([]byte("220 smtp ready\r\n"))
		_ = c.Close()
	}
}

func serve() {
	if os.Getenv(dialVariable) != "" {
		connect()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", echoRequest)
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		reply(w, map[string]any{"outputs": map[string]any{"res": map[string]any{"body": string(body),
			"headers": map[string]any{"x-seen": fieldNames(r)}}}, "LOGS": []string{"echoed"}})
	})
	mux.HandleFunc("POST /process", func(w http.ResponseWriter, _ *http.Request) {
		wd, _ := os.Getwd()
		raw, _ := json.Marshal(map[string]any{"args": os.Args[1:], "dir": wd, "env": os.Environ(), "pgid": unix.Getpgrp(), "pid": os.Getpid()})
		reply(w, map[string]any{"ReturnValue": string(raw)})
	})
	mux.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) {
		fmt.Fprintln(os.Stderr, "panic: out of luck")
		os.Exit(3)
	})
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { fmt.Println("hanging"); <-r.Context().Done() })
	mux.HandleFunc("/hangup", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/half", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half an answer")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/huge", func(w http.ResponseWriter, _ *http.Request) {
		for range 64 {
			_, _ = w.Write(make([]byte, 64<<10))
		}
	})
	mux.HandleFunc("/text", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "OK") })
	mux.HandleFunc("/empty", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/failing", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		reply(w, map[string]any{"Logs": []any{"last words", 5}})
	})
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/text", http.StatusFound) })
	mux.HandleFunc("/say", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(os.Stderr, "warning: said something")
		awaitSignal("listening for a signal")
		reply(w, map[string]any{})
	})
	err := http.ListenAndServe("127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"), mux)
	fmt.Fprintln(os.Stderr, "serve:", err)
	os.Exit(8)
}

func fieldNames(r *http.Request) []string {
	var names []string
	for name, v := range r.Header {
		names = append(names, name+"="+strings.Join(v, ","))
	}
	return names
}

// seen is what echoRequest answers.
type seen struct {
	Method, Target, Host, Body string
	Header                     http.Header
}

func echoRequest(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-From", "handler")
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(seen{r.Method, r.RequestURI, r.Host, string(body), r.Header})
}

func reply(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
