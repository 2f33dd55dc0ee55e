package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/server"
)

// person runs commands on an app the way somebody at a terminal does.
type person struct {
	app            string
	stdout, stderr bytes.Buffer
}

func newPerson(t *testing.T) *person {
	t.Helper()
	app := filepath.Join(t.TempDir(), "app")
	if err := os.CopyFS(app, os.DirFS("testdata/app")); err != nil {
		t.Fatal(err)
	}
	return &person{app: app}
}

// run types answers into a command.
func (p *person) run(ctx context.Context, typed io.Reader, args ...string) int {
	p.stdout.Reset()
	p.stderr.Reset()
	return Main(Env{
		Args: append(args, p.app), Stdin: typed, Stdout: &p.stdout, Stderr: &p.stderr,
		Environ: os.Environ(), Terminal: true, Prompt: true, Context: ctx,
	})
}

func (p *person) value(t *testing.T, function, name string) string {
	t.Helper()
	keys, err := server.OpenKeys(t.Context(), server.Config{Dir: p.app})
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	list, err := keys.Merged(t.Context(), function)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range list {
		if k.Name == name {
			return k.Value
		}
	}
	return ""
}

func TestShowAsksOnATerminal(t *testing.T) {
	p := newPerson(t)
	value := p.value(t, "hello", "default")
	for typed, shown := range map[string]bool{"y\n": true, "YES\n": true, "n\n": false, "\n": false, "": false, "yolo\n": false} {
		code := p.run(t.Context(), strings.NewReader(typed), "keys", "show", "default", "--function", "hello")
		if code != exitOK || !strings.Contains(p.stderr.String(), "show the value? [y/N]") {
			t.Errorf("%q: exit code %d, stderr %q", typed, code, p.stderr.String())
		}
		if strings.Contains(p.stdout.String(), value) != shown {
			t.Errorf("%q: shown %v, want %v", typed, !shown, shown)
		}
	}
}

func TestChangesAreConfirmedOnATerminal(t *testing.T) {
	for _, verb := range []string{"renew", "delete"} {
		p := newPerson(t)
		value := p.value(t, "hello", "default")
		code := p.run(t.Context(), strings.NewReader("no\n"), "keys", verb, "default", "--function", "hello")
		if code != exitFailed || p.value(t, "hello", "default") != value {
			t.Errorf("%s after no: exit code %d, key changed %v", verb, code, p.value(t, "hello", "default") != value)
		}
		if text := p.stderr.String(); !strings.Contains(text, "stops working at once") || !strings.Contains(text, "nothing was changed") {
			t.Errorf("%s after no: %q", verb, text)
		}
		code = p.run(t.Context(), strings.NewReader("y\n"), "keys", verb, "default", "--function", "hello")
		if code != exitOK || p.value(t, "hello", "default") == value {
			t.Errorf("%s after yes: exit code %d, key unchanged", verb, code)
		}
	}
}

func TestWaitingForAnAnswerCanBeInterrupted(t *testing.T) {
	p := newPerson(t)
	value := p.value(t, "hello", "default")
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	asked := &onWrite{when: "renew it?", do: cancel}
	code := Main(Env{
		Args: []string{"keys", "renew", "default", "--function", "hello", p.app}, Stdin: r, Stdout: &p.stdout, Stderr: asked,
		Environ: os.Environ(), Terminal: true, Prompt: true, Context: ctx,
	})
	if code != exitFailed || !strings.Contains(asked.all.String(), "latchkey: interrupted") {
		t.Errorf("exit code %d, stderr %q", code, asked.all.String())
	}
	if p.value(t, "hello", "default") != value {
		t.Error("the key was renewed")
	}
}

// onWrite does something once a text has been written.
type onWrite struct {
	all  bytes.Buffer
	when string
	do   func()
}

func (o *onWrite) Write(p []byte) (int, error) {
	n, err := o.all.Write(p)
	if strings.Contains(o.all.String(), o.when) {
		o.do()
	}
	return n, err
}

func TestNewRefusesOddNames(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{
		"", ".", "..", "a/b", "../a", "/tmp/a", `a\b`, "a\x00b", "a b", "1a", "-a", "_a", "a.b",
		strings.Repeat("a", 300), "shop\u202egnp", "sh\u200bop", "\xff\xfe", "caf\u00e9", "a\nb", "$(id)",
	} {
		var stdout, stderr bytes.Buffer
		code := Main(Env{Args: []string{"new", "--runtime", "custom-go", "--", name}, Stdout: &stdout, Stderr: &stderr, Context: t.Context()})
		if code != exitUsage || !strings.Contains(stderr.String(), "use a letter, then up to 59") {
			t.Errorf("%q: exit code %d, %q", name, code, stderr.String())
		}
		if strings.ContainsAny(stderr.String(), "\u202e\u200b\x00") || !utf8.Valid(stderr.Bytes()) || len(stderr.String()) > 400 {
			t.Errorf("%q is repeated as it is: %q", name, stderr.String())
		}
	}
	if entries, err := os.ReadDir("."); err != nil || len(entries) != 0 {
		t.Errorf("%d entries made, %v", len(entries), err)
	}
}
