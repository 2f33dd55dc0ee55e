package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/latchkey/latchkey/internal/cli/account"
	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/testkit/localblob"
)

// TestMain lets the test binary be run as the program itself and as the custom
// handler of the apps that scripts start.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"latchkey":  func() { os.Exit(Main(System())) },
		"fnhandler": serveFunctions,
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setupScript,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"freeport": freePort, "takeport": takePort, "await": await, "field": field, "code": code,
			"remember": remember, "unchanged": unchanged, "inflight": inFlight, "release": release,
			"append": appendText, "setfrom": setFrom, "awaitup": awaitUp, "awaittext": awaitText, "awaitcode": awaitCode,
			"storageaccount": func(ts *testscript.TestScript, _ bool, args []string) { storageAccount(t, ts, args) },
		},
	})
}

// setupScript gives each script the fixture app and what the Go tool needs.
func setupScript(env *testscript.Env) error {
	if out, err := exec.CommandContext(context.Background(), "go", "env", "GOCACHE").Output(); err == nil {
		env.Setenv("GOCACHE", strings.TrimSpace(string(out)))
	}
	env.Setenv("GORACE", "atexit_sleep_ms=0") // else each command lingers for a second
	env.Setenv("GOTOOLCHAIN", "local")
	env.Setenv("GOPROXY", "off")
	env.Setenv("PIPES", env.WorkDir)
	env.Values[resultKey{}] = make(chan string, 1)
	for _, name := range []string{"arrived", "go"} {
		if err := syscall.Mkfifo(filepath.Join(env.WorkDir, name), 0o600); err != nil {
			return err
		}
	}
	return os.CopyFS(filepath.Join(env.WorkDir, "app"), os.DirFS("testdata/app"))
}

// serveFunctions is the custom handler: it says which path was asked for. A
// request for /api/slow says through a pipe that it has arrived, and is answered
// when the other pipe says so.
func serveFunctions() {
	address := "127.0.0.1:" + os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT")
	err := http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/slow" {
			_ = os.WriteFile(filepath.Join(os.Getenv("PIPES"), "arrived"), []byte("x"), 0)
			_, _ = os.ReadFile(filepath.Join(os.Getenv("PIPES"), "go"))
		}
		fmt.Fprintf(w, "answer from %s\n", r.URL.Path)
	}))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// nextPort counts through ports below those the kernel gives away, so that
// nothing takes one between its choice and its use.
var nextPort = func() *atomic.Int64 {
	var n atomic.Int64
	n.Store(int64(10_000 + os.Getpid()*97%20_000))
	return &n
}()

// freePort sets a variable to a port that nobody has: freeport NAME.
func freePort(ts *testscript.TestScript, _ bool, args []string) {
	for range 100 {
		port := strconv.FormatInt(nextPort.Add(1), 10)
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err == nil {
			ts.Check(l.Close())
			ts.Setenv(args[0], port)
			return
		}
	}
	ts.Fatalf("no free port found")
}

// takePort sets a variable to a port that somebody has: takeport NAME.
func takePort(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { _ = l.Close() })
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// awaitText waits until a file has a line, for a limited time: awaittext FILE REGEXP.
func awaitText(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile("(?m)" + args[1])
	deadline := time.Now().Add(time.Minute)
	for {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && pattern.Match(text) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s has no %q: %q, %v", args[0], args[1], text, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// await asks again until the answer is as expected, for a limited time:
// await STATUS|refused URL [KEY|-] [REGEXP of the body].
func await(ts *testscript.TestScript, _ bool, args []string) {
	want, url, key, body := args[0], args[1], "-", ""
	if len(args) > 2 {
		key = args[2]
	}
	if len(args) > 3 {
		body = args[3]
	}
	if key == "" {
		ts.Fatalf("the key is empty")
	}
	pattern := regexp.MustCompile(body)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got, text := ask(ctx, url, key)
		if got == want && pattern.MatchString(text) {
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("%s: last answer %s %q, want %s %q", url, got, text, want, body)
		case <-tick.C:
		}
	}
}

func ask(ctx context.Context, url, key string) (status, body string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "bad request", err.Error()
	}
	if key != "-" {
		req.Header.Set("x-functions-key", key)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "refused", ""
	}
	if err != nil {
		return "error", err.Error()
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return strconv.Itoa(resp.StatusCode), string(text)
}

// field sets a variable to a member of the JSON on standard output:
// field NAME path.to.0.member.
func field(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for step := range strings.SplitSeq(args[1], ".") {
		switch t := v.(type) {
		case map[string]any:
			v = t[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(t) {
				ts.Fatalf("no element %s of %d", step, len(t))
			}
			v = t[i]
		}
	}
	text, ok := v.(string)
	if !ok || text == "" {
		ts.Fatalf("%s is no text", args[1])
	}
	ts.Setenv(args[0], text)
}

// code runs a command and compares its exit code: code N command [args…].
func code(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if want := args[0]; strconv.Itoa(got) != want {
		ts.Fatalf("exit code %d, want %s\n%s%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// awaitCode runs a command until it ends with an exit code and its output has a line,
// for a limited time: awaitcode CODE REGEXP COMMAND...
func awaitCode(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile("(?m)" + args[1])
	deadline := time.Now().Add(time.Minute)
	for {
		err := ts.Exec(args[2], args[3:]...)
		got := 0
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			got = exit.ExitCode()
		}
		out := ts.ReadFile("stdout")
		if strconv.Itoa(got) == args[0] && pattern.MatchString(out) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("exit code %d, and no %q: %s%s", got, args[1], out, ts.ReadFile("stderr"))
		}
	}
}

// remember and unchanged compare all names, modes, times and contents below a
// folder: remember DIR.
func remember(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv("REMEMBERED", snapshot(ts, args[0]))
}

func unchanged(ts *testscript.TestScript, _ bool, args []string) {
	if now, was := snapshot(ts, args[0]), ts.Getenv("REMEMBERED"); now != was {
		ts.Fatalf("%s was changed:\n%s\nwas:\n%s", args[0], now, was)
	}
}

func snapshot(ts *testscript.TestScript, dir string) string {
	var b strings.Builder
	root := ts.MkAbs(dir)
	ts.Check(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := ""
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text = string(data)
		}
		fmt.Fprintf(&b, "%s %v %v %q\n", path, info.Mode(), info.ModTime().UnixNano(), text)
		return nil
	}))
	return b.String()
}

// awaitUp waits until the installation of a data folder can be signed in to:
// awaitup DIR.
func awaitUp(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	places := account.Places{DataDir: ts.MkAbs(args[0])}
	for {
		found, err := places.Find()
		if err == nil {
			_, err = manage.Open(ctx, found.Credential)
		}
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("%s: %v", args[0], err)
		case <-tick.C:
		}
	}
}

// storageAccount runs a storage account until the tests end, and sets a variable to
// its connection string: storageaccount NAME.
func storageAccount(t *testing.T, ts *testscript.TestScript, args []string) {
	ts.Setenv(args[0], localblob.Start(t, false).ConnectionString())
}

// appendText adds a line to a file: append FILE TEXT.
func appendText(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	ts.Check(err)
	_, err = fmt.Fprintln(f, args[1])
	ts.Check(errors.Join(err, f.Close()))
}

// setFrom sets a variable to the content of a file: setfrom NAME FILE.
func setFrom(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// inFlight sends a request to the slow function and waits until it has arrived
// there: inflight URL KEY. release lets it be answered and compares the status:
// release STATUS.
func inFlight(ts *testscript.TestScript, _ bool, args []string) {
	result, arrived := ts.Value(resultKey{}).(chan string), make(chan error, 1)
	go func() {
		status, body := ask(context.Background(), args[0], args[1])
		result <- status + " " + strings.TrimSpace(body)
	}()
	pipe := ts.MkAbs("arrived")
	go func() {
		_, err := os.ReadFile(pipe)
		arrived <- err
	}()
	select {
	case err := <-arrived:
		ts.Check(err)
	case answer := <-result:
		ts.Fatalf("answered before it was held up: %s", answer)
	}
}

type resultKey struct{}

func release(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs("go"), []byte("x"), 0))
	if got := <-ts.Value(resultKey{}).(chan string); !strings.HasPrefix(got, args[0]+" ") {
		ts.Fatalf("answer %s, want %s", got, args[0])
	}
}
