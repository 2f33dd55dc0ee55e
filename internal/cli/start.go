package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/instance"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/telemetry"
)

// startFlags are the flags of start.
type startFlags struct {
	dataDir, host, metrics, logFormat, logLevel string
	port                                        int
	functions                                   []string
	strict, noWatch                             bool
}

func newStart(env *Env) *cobra.Command {
	var f startFlags
	c := &cobra.Command{
		Use:   "start [DIR]",
		Short: "Run an app folder with its access keys enforced",
		Long: "Runs the function app in DIR (default: the current folder) until it is\n" +
			"interrupted. Keys are made on the first start and kept, sealed, in --data-dir.",
		Example: "  latchkey start examples/hello-go\n  latchkey start --port 0 --log-format json ./shop",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return start(cmd.Context(), env, dirArg(args), f, cmd.Flags().Changed("metrics-address"))
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.dataDir, "data-dir", "", "folder for keys (default: DIR/.latchkey)")
	fl.StringVar(&f.host, "host", "", "address to listen on (default 127.0.0.1)")
	fl.IntVarP(&f.port, "port", "p", -1, "port to listen on, 0 picks a free one (default 7071)")
	fl.StringVar(&f.metrics, "metrics-address", server.DefaultOpsAddress, "address of /metrics, /healthz and /readyz; empty is none")
	fl.StringVar(&f.logFormat, "log-format", "text", "form of log lines: text or json")
	fl.StringVar(&f.logLevel, "log-level", "info", "least level to log: debug, info, warn or error")
	fl.StringSliceVar(&f.functions, "functions", nil, "run only these functions")
	fl.BoolVar(&f.strict, "strict", false, "end with exit code 1 if the app has a fault")
	fl.BoolVar(&f.noWatch, "no-watch", false, "do not restart when files change")
	return c
}

func dirArg(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}

func (f startFlags) config(env *Env, dir string, metricsGiven bool) (server.Config, error) {
	format, err := telemetry.ParseFormat(f.logFormat)
	if err != nil {
		return server.Config{}, usageError{err}
	}
	return server.Config{
		Dir: dir, DataDir: f.dataDir, Environ: env.Environ, Host: f.host, Port: f.port,
		OpsAddress: f.metrics, OpsMayMove: !metricsGiven, Functions: f.functions, Watch: !f.noWatch,
		Strict: f.strict, Version: version, Log: env.Stderr, LogFormat: format, LogLevel: f.logLevel,
	}, nil
}

func start(ctx context.Context, env *Env, dir string, f startFlags, metricsGiven bool) error {
	cfg, err := f.config(env, dir, metricsGiven)
	if err != nil {
		return err
	}
	model, err := server.LoadModel(cfg)
	if err != nil {
		return explainFolder(err)
	}
	if err := isApp(model); err != nil {
		return err
	}
	if faults := model.Faults(); f.strict && len(faults) > 0 {
		for _, fault := range faults {
			fmt.Fprintln(env.Stderr, fault.String())
		}
		return problem.New(problem.Invalid, fmt.Sprintf("the app has %d faults", len(faults)))
	}
	server.TuneMemory()
	node, err := server.Open(ctx, cfg)
	if err != nil {
		return explainStart(err)
	}
	defer node.Close()
	return serve(ctx, env, node)
}

// explainStart adds what to do to errors of the disk that do not say.
func explainStart(err error) error {
	if problem.NextOf(err) != "" {
		return err
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.ENOTDIR) {
		return problem.Wrap(problem.KindOf(err), "the data folder cannot be used", err).
			WithNext("run this as the user the folder belongs to, or choose another with --data-dir")
	}
	return err
}

// serve runs the node and prints the functions as soon as the app runs.
func serve(ctx context.Context, env *Env, node *server.Node) error {
	ctx, cancel := context.WithCancel(ctx)
	announced := make(chan struct{})
	go func() {
		defer close(announced)
		announce(ctx, env, node)
	}()
	err := node.Run(ctx)
	cancel()
	<-announced
	return err
}

// announce prints what runs where, once. Keys are shown on a terminal only, and
// only if nobody else can reach the app: output that is kept could be read later.
func announce(ctx context.Context, env *Env, node *server.Node) {
	st, err := node.Instance().AwaitState(ctx, instance.Running, instance.Error, instance.Offline)
	if err != nil {
		return
	}
	list := []server.FunctionInfo{}
	if m := node.Instance().Model(); m != nil {
		list = server.Describe(m, node.BaseURL())
	}
	if env.Terminal && node.Loopback() {
		if err := server.AddKeys(ctx, node.Keys(), list); err != nil {
			fmt.Fprintf(env.Stderr, "latchkey: the keys cannot be read: %v\n", err)
		}
	}
	printStart(env.Stdout, node, st, list)
}

func printStart(w io.Writer, node *server.Node, st instance.Status, list []server.FunctionInfo) {
	fmt.Fprintf(w, "\n%s: %s at %s\n", node.App(), strings.ToLower(string(st.State)), node.BaseURL())
	for _, e := range st.Errors {
		fmt.Fprintln(w, "  fault: "+e)
	}
	for _, f := range list {
		printFunction(w, f)
	}
	if ops := node.OpsAddr(); ops != "" {
		fmt.Fprintf(w, "\n  metrics and health: http://%s/metrics, /healthz, /readyz\n", ops)
	}
	fmt.Fprintln(w, "  Press Ctrl-C to stop.")
}

func printFunction(w io.Writer, f server.FunctionInfo) {
	methods, where := "ALL", f.URL
	if len(f.Methods) > 0 {
		methods = strings.Join(f.Methods, ",")
	}
	if f.URL == "" {
		methods, where = f.Trigger, ""
	}
	fmt.Fprintf(w, "\n  %-14s [%s] %s  %s\n", f.Name, methods, where, note(f))
	for _, fault := range f.Faults {
		fmt.Fprintln(w, "    fault: "+fault)
	}
	if line := curl(f); line != "" {
		fmt.Fprintln(w, "    "+line)
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

// curl gives a command that calls the function; "" when it would not work.
func curl(f server.FunctionInfo) string {
	url, ok := exampleURL(f.URL)
	if !ok || len(f.Faults) > 0 || (f.AuthLevel != "anonymous" && f.Default == "") {
		return ""
	}
	line := "curl"
	if len(f.Methods) > 0 && !slices.Contains(f.Methods, "GET") {
		line += " -X " + f.Methods[0]
	}
	if f.Default != "" {
		line += " -H 'x-functions-key: " + f.Keys[f.Default] + "'"
	}
	return line + " '" + url + "'"
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
