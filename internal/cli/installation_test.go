package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/testkit/platformtest"
)

// operator runs commands on an installation as somebody at a terminal does.
type operator struct {
	dir            string
	env            []string
	stdout, stderr bytes.Buffer
}

func newOperator(t *testing.T) (*operator, *platformtest.Platform) {
	t.Helper()
	p := platformtest.Start(t, platform.Config{})
	home := t.TempDir()
	return &operator{dir: p.Config.DataDir, env: append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+filepath.Join(home, "config"))}, p
}

// run types answers into a command that knows the installation's data folder.
func (o *operator) run(t *testing.T, typed string, args ...string) int {
	t.Helper()
	return o.runAs(t.Context(), strings.NewReader(typed), &o.stderr, append(args, "--data-dir", o.dir)...)
}

func (o *operator) runAs(ctx context.Context, typed io.Reader, stderr io.Writer, args ...string) int {
	o.stdout.Reset()
	o.stderr.Reset()
	return Main(Env{
		Args: args, Stdin: typed, Stdout: &o.stdout, Stderr: stderr, Environ: o.env, Terminal: true, Prompt: true, Context: ctx,
	})
}

func TestAnUnknownAuthorityIsAskedAbout(t *testing.T) {
	o, p := newOperator(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(p.Cred.ClientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"login", "--endpoint", p.Cred.Endpoint, "--client-id", p.Cred.ClientID, "--secret-file", secret}
	code := o.runAs(t.Context(), strings.NewReader("n\n"), &o.stderr, args...)
	if code != exitFailed || !strings.Contains(o.stderr.String(), "nothing was changed") {
		t.Errorf("after no: exit code %d, %q", code, o.stderr.String())
	}
	if code := o.runAs(t.Context(), strings.NewReader(""), &o.stderr, "whoami"); code != exitDenied {
		t.Errorf("signed in after no: exit code %d", code)
	}
	code = o.runAs(t.Context(), strings.NewReader("y\n"), &o.stderr, args...)
	if text := o.stderr.String(); code != exitOK || !strings.Contains(text, "fingerprint  SHA-256 ") {
		t.Errorf("after yes: exit code %d, %q", code, text)
	}
	code = o.runAs(t.Context(), strings.NewReader(""), &o.stderr, "whoami")
	if code != exitOK || !strings.Contains(o.stdout.String(), p.Cred.ClientID) {
		t.Errorf("whoami: exit code %d, %q %q", code, o.stdout.String(), o.stderr.String())
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "latchkey-ca-*")); len(left) > 0 {
		t.Logf("temporary certificates, maybe of others: %v", left)
	}
}

func TestWhatCannotBeUndoneIsAskedAbout(t *testing.T) {
	o, p := newOperator(t)
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	if code := o.run(t, "", "principal", "create", "ci", "--role", "Reader", "--scope", "/"); code != exitOK {
		t.Fatalf("exit code %d, %q", code, o.stderr.String())
	}
	for _, args := range [][]string{
		{"app", "stop", "orders"}, {"app", "settings", "delete", "orders", "FUNCTIONS_WORKER_RUNTIME"}, {"principal", "disable", "ci"},
		{"role", "remove", "Reader", "--principal", "ci", "--scope", "/"}, {"principal", "delete", "ci"}, {"app", "delete", "orders"},
	} {
		if code := o.run(t, "no\n", args...); code != exitFailed || !strings.Contains(o.stderr.String(), "[y/N]") || !strings.Contains(o.stderr.String(), "nothing was changed") {
			t.Errorf("%v after no: exit code %d, %q", args, code, o.stderr.String())
		}
		if code := o.run(t, "y\n", args...); code != exitOK {
			t.Errorf("%v after yes: exit code %d, %q", args, code, o.stderr.String())
		}
	}
	if code := o.run(t, "", "app", "list", "--output", "json"); code != exitOK || o.stdout.String() != "[]\n" {
		t.Errorf("apps: exit code %d, %q", code, o.stdout.String())
	}
}

func TestADeploymentGoesOnWithoutTheCommand(t *testing.T) {
	o, p := newOperator(t)
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	ctx, cancel := context.WithCancel(t.Context())
	stderr := &onWrite{when: "uploaded", do: cancel}
	code := o.runAs(ctx, strings.NewReader(""), stderr, "app", "deploy", "orders", "testdata/app", "--data-dir", o.dir)
	if text := stderr.all.String(); code != exitFailed || !strings.Contains(text, "goes on without this command") || !strings.Contains(text, "latchkey: interrupted") {
		t.Errorf("exit code %d, %q", code, text)
	}
	platformtest.Until(t, "the release is active", func() bool {
		return o.run(t, "", "app", "releases", "orders") == exitOK && strings.Contains(o.stdout.String(), "active")
	})
}

func TestInterruptedBeforeItIsSentNothingIsDeployed(t *testing.T) {
	o, p := newOperator(t)
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	ctx, cancel := context.WithCancel(t.Context())
	stderr := &onWrite{when: "packed", do: cancel}
	code := o.runAs(ctx, strings.NewReader(""), stderr, "app", "deploy", "orders", "testdata/app", "--data-dir", o.dir)
	if text := stderr.all.String(); code != exitFailed || !strings.Contains(text, "latchkey: interrupted") {
		t.Errorf("exit code %d, %q", code, text)
	}
	if o.run(t, "", "app", "show", "orders") != exitOK || !strings.Contains(o.stdout.String(), "nothing is deployed") {
		t.Errorf("%q %q", o.stdout.String(), o.stderr.String())
	}
}

func TestSentPackagesNeedNotBeWaitedFor(t *testing.T) {
	o, p := newOperator(t)
	p.CreateApp(t, "orders", "http://127.0.0.1:1")
	if code := o.run(t, "", "app", "deploy", "orders", "testdata/app", "--no-wait"); code != exitOK || !strings.HasPrefix(o.stdout.String(), "orders sent as release ") {
		t.Errorf("exit code %d, %q %q", code, o.stdout.String(), o.stderr.String())
	}
}

// follower is standard output of a command that does not end by itself.
type follower struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (f *follower) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all.Write(p)
}

func (f *follower) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all.String()
}

func TestTheRecordIsFollowedUntilItIsInterrupted(t *testing.T) {
	o, p := newOperator(t)
	for _, form := range []string{formTable, formJSON} {
		ctx, cancel := context.WithCancel(t.Context())
		out, ended := &follower{}, make(chan int, 1)
		go func() {
			ended <- Main(Env{
				Args:   []string{"audit", "tail", "--follow", "--lines", "1", "--output", form, "--data-dir", o.dir},
				Stdout: out, Stderr: io.Discard, Environ: o.env, Context: ctx,
			})
		}()
		platformtest.Until(t, "the latest event is shown", func() bool { return out.String() != "" })
		p.CreateApp(t, "followed-"+form, "http://127.0.0.1:1")
		platformtest.Until(t, "what happens later is shown", func() bool {
			return strings.Contains(out.String(), "Microsoft.Web/sites/write") && strings.Contains(out.String(), "followed-"+form)
		})
		cancel()
		if code := <-ended; code != exitOK {
			t.Errorf("exit code %d", code)
		}
		for line := range strings.Lines(out.String()) {
			if strings.Count(out.String(), line) != 1 {
				t.Errorf("shown twice: %s", line)
			}
			if (form == formJSON) != strings.HasPrefix(line, `{"sequence":`) {
				t.Errorf("%s: %s", form, line)
			}
		}
	}
}
