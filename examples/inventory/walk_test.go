package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"sigs.k8s.io/yaml"

	"github.com/latchkey/latchkey/internal/cli"
)

// patience bounds each wait for something that takes moments.
const patience = 90 * time.Second

// TestMain lets the test binary be Latchkey, the program of the containers, and a
// client of the app.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"latchkey": func() { os.Exit(cli.Main(cli.System())) }, "inventory": main, "ask": ask,
	})
}

// ask sends a request to the app, whose name the machine need not know: ask METHOD URL.
func ask() {
	to := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}}
	r, err := http.NewRequest(os.Args[1], os.Args[2], nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	resp, err := (&http.Client{Transport: to, Timeout: patience}).Do(r)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer resp.Body.Close()
	fmt.Print(resp.StatusCode, " ")
	_, _ = io.Copy(os.Stdout, resp.Body)
}

func TestTheWalkThroughWorks(t *testing.T) {
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Fatal("the Go tool is needed to build the queue: ", err)
	}
	programs := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), tool, "build", "-o", programs, "./queue").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", env.Getenv("PATH")+string(os.PathListSeparator)+programs)
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return setup(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"until": until, "found": found, "fill": fill},
	})
}

// setup gives the script the files of the example, an image, and ports of its own.
func setup(env *testscript.Env) error {
	next := 10_000 + os.Getpid()*97%20_000 // below those that the kernel gives away
	for _, name := range []string{"QUEUE", "APPS", "API"} {
		port, err := freePort(next)
		if err != nil {
			return err
		}
		env.Setenv(name, strconv.Itoa(port))
		next = port + 1
	}
	for _, name := range []string{"app.yaml", "latchkey.yaml", "container.json"} {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(env.WorkDir, name), []byte(withPorts(string(text), env.Getenv)), 0o600); err != nil {
			return err
		}
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(env.WorkDir, "bin"), 0o700); err != nil {
		return err
	}
	return os.Symlink(program, filepath.Join(env.WorkDir, "bin", "inventory"))
}

func freePort(from int) (int, error) {
	for port := from; port < from+100; port++ {
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("no port from %d on is free", from)
}

// withPorts puts the ports of the test in the place of those in the example's files.
func withPorts(text string, env func(string) string) string {
	return strings.NewReplacer(":10001/", ":"+env("QUEUE")+"/", ".localhost:7443", ".localhost:"+env("API")).Replace(text)
}

// until runs a command until its output is as expected: until REGEXP command [args…].
func until(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile("(?m)" + args[0])
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := ts.Exec(args[1], args[2:]...)
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("%q was not told within %v; last error: %v", args[0], patience, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// found sets a variable to a part of the last output: found NAME REGEXP.
func found(ts *testscript.TestScript, _ bool, args []string) {
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if m == nil {
		ts.Fatalf("%q is not there", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// fill does what sed does in README.md: fill FROM TO.
func fill(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.NewReplacer("{subscription}", ts.Getenv("SUB"), "{image}", ts.MkAbs(".")).Replace(ts.ReadFile(args[0]))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

func TestTheTemplateIsTheAppOfTheFile(t *testing.T) {
	var template struct{ Resources []map[string]any }
	text, err := os.ReadFile("template.json")
	if err == nil {
		err = json.Unmarshal(text, &template)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile("app.yaml")
	if err != nil {
		t.Fatal(err)
	}
	id := regexp.MustCompile(`/subscriptions/\{subscription\}/resourceGroups/shop/providers/([A-Za-z.]+/[A-Za-z]+)/([a-z-]+)`)
	resolved := id.ReplaceAllString(string(text), `"[resourceId('$1', '$2')]"`)
	var want map[string]any
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(resolved, `"{image}"`, `"[parameters('image')]"`)), &want); err != nil {
		t.Fatal(err)
	}
	got := template.Resources[len(template.Resources)-1]
	for _, key := range []string{"type", "apiVersion", "name", "dependsOn"} {
		delete(got, key)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error("app.yaml and template.json are not the same (-yaml +template):\n", d)
	}
}
