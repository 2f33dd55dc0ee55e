package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trust/connect"
)

const (
	defaultProxy = "127.0.0.1:7099"
	proxyGrace   = 5 * time.Second
)

type proxyTrust struct {
	trustFlags
	listen        string
	functionsPort int
	passThrough   bool
}

func newTrustProxy(env *Env) *cobra.Command {
	var f proxyTrust
	c := &cobra.Command{
		Use:   "proxy",
		Short: "Run a proxy for clients on a machine that cannot have host entries",
		Long: "Runs a forward proxy until it is interrupted. It reaches the installation's names\n" +
			"(the domain and all names below) on the installation's ports at the node's address,\n" +
			"and nothing else unless --pass-through is given. Point clients at it with\n" +
			"HTTPS_PROXY and HTTP_PROXY. Go programs never use a proxy for the name localhost\n" +
			"itself and for loopback addresses, which they reach anyway; names below localhost\n" +
			"they look up through the proxy.",
		Example: "  latchkey trust proxy\n  HTTPS_PROXY=http://127.0.0.1:7099 func azure functionapp list-functions shop",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env) },
	}
	f.addTo(c)
	f.addAddressTo(c)
	c.Flags().StringVar(&f.listen, "address", defaultProxy, "host:port to listen on; port 0 picks a free one")
	c.Flags().IntVar(&f.functionsPort, "functions-port", 0, "port of the apps (default: that of an app, else 7071)")
	c.Flags().BoolVar(&f.passThrough, "pass-through", false, "reach all other hosts too; only on a loopback address")
	return c
}

func (f *proxyTrust) run(ctx context.Context, env *Env) error {
	i, err := f.find(env)
	if err != nil {
		return err
	}
	ports, err := f.ports(ctx, env, i)
	if err != nil {
		return err
	}
	node, err := f.nodeAddress(ctx, i.domain)
	if err != nil {
		return err
	}
	l, err := f.open(ctx, env)
	if err != nil {
		return err
	}
	proxy := connect.New(connect.Config{
		Domain: i.domain, Node: node.String(), Ports: ports, PassThrough: f.passThrough,
		Log: slog.New(slog.NewTextHandler(env.Stderr, nil)),
	})
	others := "other hosts are refused"
	if f.passThrough {
		others = "other hosts are reached as well"
	}
	fmt.Fprintf(env.Stdout, "Proxy for %[1]s and *.%[1]s on ports %[2]v; %[3]s\n  export HTTPS_PROXY=http://%[4]s HTTP_PROXY=http://%[4]s\n",
		printable(i.domain), ports, others, l.Addr())
	return proxy.Serve(ctx, l, proxyGrace)
}

// ports gives those of the installation's listeners.
func (f *proxyTrust) ports(ctx context.Context, env *Env, i installation) ([]int, error) {
	if f.functionsPort < 0 || f.functionsPort > 65535 {
		return nil, usageError{problem.New(problem.Invalid, fmt.Sprintf("--functions-port %d is not between 1 and 65535", f.functionsPort))}
	}
	if i.management == 0 {
		return nil, problem.New(problem.Denied, "the port of the management API is not known, because this user cannot read "+platform.OwnerFile+" in "+i.dataDir).
			WithNext("run this as the user who runs latchkey up")
	}
	port := f.functionsPort
	if port == 0 {
		apps, err := i.apps(ctx)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if port = appsPort(apps); port == 0 {
			port = portOf("http://" + platform.DefaultFunctions)
			if err != nil {
				fmt.Fprintf(env.Stderr, "note: the port of the apps is taken to be %d: %s\n", port, printable(err.Error()))
			}
		}
	}
	ports := []int{port, i.management}
	slices.Sort(ports)
	return slices.Compact(ports), nil
}

// appsPort gives the port that apps say they are at; 0 if none does.
func appsPort(apps []listed) int {
	for _, app := range apps {
		if app.Properties.Host == "" {
			continue
		}
		_, text, err := net.SplitHostPort(app.Properties.Host)
		if err != nil {
			return 80 // a name alone
		}
		if port, err := strconv.Atoi(text); err == nil {
			return port
		}
	}
	return 0
}

// open listens where we may: a proxy for everything is for this machine alone.
func (f *proxyTrust) open(ctx context.Context, env *Env) (net.Listener, error) {
	address, err := netip.ParseAddrPort(f.listen)
	if err != nil {
		return nil, usageError{problem.New(problem.Invalid, fmt.Sprintf("--address %q is not host:port with the host as an IP address", f.listen)).
			WithNext("write it as " + defaultProxy)}
	}
	if !address.Addr().IsLoopback() {
		if f.passThrough {
			return nil, usageError{problem.New(problem.Invalid, "with --pass-through the proxy must listen on a loopback address, or others could reach what this machine reaches")}
		}
		fmt.Fprintf(env.Stderr, "warning: whoever reaches %s reaches the installation through it\n", address)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address.String())
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, problem.Wrap(problem.Unavailable, address.String()+" is taken", err).WithNext("choose another with --address; port 0 picks a free one")
	}
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, "cannot listen on "+address.String(), err).WithNext("give an address of this machine with --address")
	}
	return l, nil
}
