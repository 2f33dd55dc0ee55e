package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/server"
)

// patience is how long a start may take before a person is told what it waits for.
const patience = 2 * time.Second

// announce tells once what runs where, as a table or, where logs are for
// programs, as a log line. Keys are shown on a terminal only, and only if nobody
// else can reach the app: output that is kept could be read later. It gives the
// state told of.
func announce(ctx context.Context, env *Env, node *server.Node, asLog bool) instance.State {
	st, err := awaitStart(ctx, node)
	if err != nil {
		return ""
	}
	if asLog {
		node.LogStart(st)
		return st.State
	}
	list := []server.FunctionInfo{}
	if m := node.Instance().Model(); m != nil {
		list = server.Describe(m, node.BaseURL())
	}
	if env.Terminal && node.Loopback() && st.State == instance.Running {
		if err := server.AddKeys(ctx, node.Keys(), list); err != nil {
			fmt.Fprintf(env.Stderr, "latchkey: the keys cannot be read: %s\n", sentences(err.Error()))
		}
	}
	printStart(env.Stdout, node, st, list)
	return st.State
}

func awaitStart(ctx context.Context, node *server.Node) (instance.Status, error) {
	soon, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	st, err := node.Instance().AwaitState(soon, instance.Running, instance.Error, instance.Offline)
	if err == nil || ctx.Err() != nil {
		return st, err
	}
	node.LogWaiting()
	return node.Instance().AwaitState(ctx, instance.Running, instance.Error, instance.Offline)
}

func printStart(w io.Writer, node *server.Node, st instance.Status, list []server.FunctionInfo) {
	fmt.Fprintf(w, "\n%s: %s at %s\n", visible(node.App()), strings.ToLower(string(st.State)), visible(node.BaseURL()))
	for _, e := range st.Errors {
		printFault(w, e)
	}
	for _, f := range list {
		printFunction(w, f)
	}
	if ops := node.OpsAddr(); ops != "" {
		fmt.Fprintf(w, "\n  metrics and health: http://%s/metrics, /healthz, /readyz\n", visible(ops))
	}
	fmt.Fprintln(w, "  Press Ctrl-C to stop.")
}

// printFault shows a fault of the app line by line: some come with a stack.
func printFault(w io.Writer, text string) {
	for i, line := range strings.Split(text, "\n") {
		lead := "         "
		if i == 0 {
			lead = "  fault: "
		}
		fmt.Fprintln(w, lead+visible(line))
	}
}

func printFunction(w io.Writer, f server.FunctionInfo) {
	methods, where := "ALL", f.URL
	if len(f.Methods) > 0 {
		methods = strings.Join(f.Methods, ",")
	}
	if f.URL == "" {
		methods, where = f.Trigger, ""
	}
	fmt.Fprintf(w, "\n  %-14s [%s] %s  %s\n", visible(f.Name), visible(methods), visible(where), note(f))
	for _, fault := range f.Faults {
		fmt.Fprintln(w, "    fault: "+visible(fault))
	}
	if line := curl(f); line != "" {
		fmt.Fprintln(w, "    "+line)
	}
	if f.AuthLevel == "admin" {
		fmt.Fprintln(w, "    opened by the master key only: latchkey keys show _master")
	}
}

func note(f server.FunctionInfo) string {
	text := ""
	if f.AuthLevel != "" {
		text = "(" + f.AuthLevel + ")"
	}
	if f.Disabled {
		text += " disabled"
	}
	return text
}

// curl gives a command that calls the function; "" when it would not work, or
// would take the master key, which does not belong on a screen unasked. To a
// shell it is one command, whatever the route and the key are.
func curl(f server.FunctionInfo) string {
	url, ok := exampleURL(f.URL)
	key := f.Keys[f.Default]
	open := f.AuthLevel == "anonymous" || (f.AuthLevel == "function" && f.Default != "" && visible(key) == key)
	if !ok || len(f.Faults) > 0 || !open {
		return ""
	}
	line := "curl"
	if len(f.Methods) > 0 && !slices.Contains(f.Methods, "GET") {
		line += " -X " + f.Methods[0]
	}
	if f.Default != "" {
		line += " -H " + shellQuote("x-functions-key: "+key)
	}
	return line + " " + shellQuote(escapePath(url))
}

// shellQuote makes a text one word of a shell's command.
func shellQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// escapePath percent-encodes what has no place in a URL's path or has a meaning
// to curl; templates are written without escapes.
func escapePath(url string) string {
	scheme, rest, _ := strings.Cut(url, "://")
	host, path, _ := strings.Cut(rest, "/")
	var b strings.Builder
	b.WriteString(scheme + "://" + host + "/")
	for _, c := range []byte(path) {
		if '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte("-._~/:@!$&()*+,;=", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// exampleURL makes a callable URL of a route: optional parameters are left out,
// others get their own name as a value.
func exampleURL(template string) (string, bool) {
	if template == "" {
		return "", false
	}
	var b strings.Builder
	for rest := template; rest != ""; {
		before, after, found := strings.Cut(rest, "{")
		b.WriteString(before)
		if !found {
			break
		}
		param, tail, closed := strings.Cut(after, "}")
		if !closed || strings.ContainsAny(param, "{:") {
			return "", false // a constraint decides what fits
		}
		if !strings.HasSuffix(param, "?") && !strings.Contains(param, "=") {
			b.WriteString(strings.TrimLeft(param, "*"))
		}
		rest = tail
	}
	return strings.TrimSuffix(b.String(), "/"), true
}
