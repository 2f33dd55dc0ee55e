package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	functions, cors                             []string
	strict, noWatch, newKeys                    bool
}

func newStart(env *Env) *cobra.Command {
	var f startFlags
	c := &cobra.Command{
		Use:   "start [DIR]",
		Short: "Run an app folder with its access keys enforced",
		Long: "Runs the function app in DIR (default: the current folder) until it is\n" +
			"interrupted. Keys are made on the first start and kept, sealed, in --data-dir.\n" +
			"An app that ran before and whose keys are gone gets no others in their place\n" +
			"without --new-keys, as all its callers have the old ones: until its keys are\n" +
			"back it answers what needs none.",
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
	fl.Lookup("port").DefValue = "0" // the default is in the text; that of the flag stands for it
	fl.StringVar(&f.metrics, "metrics-address", server.DefaultOpsAddress, "address of /metrics, /healthz and /readyz; empty is none")
	fl.StringVar(&f.logFormat, "log-format", "text", "form of log lines: text or json")
	fl.StringVar(&f.logLevel, "log-level", "info", "least level to log: debug, info, warn or error")
	fl.StringSliceVar(&f.cors, "cors", nil, "origins of web pages that may call the functions, * is all")
	fl.StringSliceVar(&f.functions, "functions", nil, "run only these functions")
	fl.BoolVar(&f.strict, "strict", false, "end with exit code 1 if the app has a fault")
	fl.BoolVar(&f.newKeys, "new-keys", false, "make new keys for an app whose keys are gone")
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
	if f.port < -1 || f.port > 65535 {
		return server.Config{}, usageError{problem.New(problem.Invalid, fmt.Sprintf("port %d is not between 0 and 65535", f.port))}
	}
	return server.Config{
		Dir: dir, DataDir: f.dataDir, Environ: env.Environ, Host: f.host, Port: f.port,
		OpsAddress: f.metrics, OpsMayMove: !metricsGiven, CORS: f.cors, Functions: f.functions, Watch: !f.noWatch, NewKeys: f.newKeys,
		Version: version, Log: env.Stderr, LogFormat: format, LogLevel: f.logLevel,
	}, nil
}

func start(ctx context.Context, env *Env, dir string, f startFlags, metricsGiven bool) error {
	cfg, err := f.config(env, dir, metricsGiven)
	if err != nil {
		return err
	}
	model, err := server.LoadFiles(cfg)
	if err != nil {
		return explainFolder(err)
	}
	if err := isApp(model); err != nil {
		return err
	}
	if faults := model.Faults(); f.strict && len(faults) > 0 {
		for _, fault := range faults {
			fmt.Fprintln(env.Stderr, visible(fault.String()))
		}
		return problem.New(problem.Invalid, fmt.Sprintf("the app has faults: %d", len(faults)))
	}
	server.TuneMemory()
	server.HideMemory()
	node, err := server.Open(ctx, cfg)
	if err != nil {
		return explainStart(err)
	}
	defer node.Close()
	return serve(ctx, env, node, f)
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

// serve runs the node and tells of the functions as soon as the app runs. An app
// whose code gave no function ends it, and with --strict any that does not run.
func serve(ctx context.Context, env *Env, node *server.Node, f startFlags) error {
	ctx, cancel := context.WithCancel(ctx)
	announced := make(chan error, 1)
	go func() {
		state := announce(ctx, env, node, f.logFormat == string(telemetry.JSON))
		if f.strict && state == instance.Error {
			announced <- problem.New(problem.Invalid, "the app does not run")
			cancel()
			return
		}
		if state == instance.Error && functionless(node) {
			announced <- problem.New(problem.Invalid, "no function of the app can be run: its code gave none").
				WithNext("repair what is said above, then start it again")
			cancel()
			return
		}
		announced <- nil
	}()
	err := node.Run(ctx)
	cancel()
	return errors.Join(<-announced, err)
}

// functionless reports whether nothing is left of an app whose language worker was
// to find its functions.
func functionless(node *server.Node) bool {
	m := node.Instance().Model()
	return m != nil && m.Unindexed && len(m.Functions) == 0 && len(m.App.Faults) == 0
}
