package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/engine/kubernetes/sidecar"
	"github.com/latchkey/latchkey/internal/engine/metadata"
	"github.com/latchkey/latchkey/internal/platform"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trust/connect"
)

// Bounds of a sidecar: connections at a time, and how long it waits for the node. One
// replica can hold no more than a hundredth of what the node has for all.
const (
	sidecarConns = platform.IdentityConns / 128
	sidecarDial  = 10 * time.Second
)

// newSidecar makes the command that runs in each replica of a container app: it
// passes on to the node what containers send to their identity endpoint. It reads
// nothing of it. On Kubernetes the way to the node is another one, and its settings are
// variables.
func newSidecar(env *Env) *cobra.Command {
	domain := ""
	c := &cobra.Command{
		Use: platform.SidecarCommand, Short: "Pass requests for tokens on to the node (runs in containers)", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if env.Get(sidecar.UpstreamSetting) != "" {
				return inPod(cmd.Context(), env)
			}
			return inReplica(cmd.Context(), env, domain)
		},
	}
	c.Flags().StringVar(&domain, platform.SidecarDomainFlag, "", "the installation's domain, whose names a proxy reaches by the node")
	return c
}

// inReplica is the sidecar of a replica on Docker. It listens before it says that it
// is ready, since other containers begin then, and serves after it gave up its rights.
func inReplica(ctx context.Context, env *Env, domain string) error {
	tokens, err := net.Listen("tcp", platform.SidecarAddress)
	if err != nil {
		return problem.Wrap(problem.Unavailable, "the identity endpoint cannot be served at "+platform.SidecarAddress, err)
	}
	defer tokens.Close()
	serve := []func(context.Context) error{func(ctx context.Context) error { return passOn(ctx, tokens, platform.SidecarSocket) }}
	if domain != "" {
		way, err := net.Listen("tcp", platform.SidecarProxy)
		if err != nil {
			return problem.Wrap(problem.Unavailable, "the proxy cannot be served at "+platform.SidecarProxy, err)
		}
		defer way.Close()
		serve = append(serve, func(ctx context.Context) error { return serveWay(ctx, way, env, domain) })
	}
	if err := shutMetadata(env.Stdout); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, one := range serve {
		group.Go(func() error { return one(ctx) })
	}
	return group.Wait()
}

// serveWay is the proxy of a replica. It is in the replica's network: what it reaches
// without the node, containers reach without it.
func serveWay(ctx context.Context, l net.Listener, env *Env, domain string) error {
	return connect.New(connect.Config{
		Domain: domain, PassThrough: true, Tunnels: platform.SidecarTunnels, Log: slog.New(slog.NewTextHandler(env.Stderr, nil)),
		Upstream: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{Timeout: sidecarDial}).DialContext(ctx, "unix", platform.SidecarWay)
		},
	}).Serve(ctx, l, 0)
}

// shutMetadata takes the way to the machine's identity from the replica, and then the
// right to from itself.
func shutMetadata(out io.Writer) error {
	if err := metadata.Shut(); err != nil {
		return err
	}
	if err := metadata.Renounce(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, metadata.Ready)
	return err
}

// inPod is the sidecar of a pod.
func inPod(ctx context.Context, env *Env) error {
	cfg, err := sidecar.Parse(env.Get)
	if err != nil {
		return err
	}
	cfg.Log = slog.New(slog.NewTextHandler(env.Stderr, nil))
	return sidecar.Run(ctx, cfg)
}

// passOn connects whoever comes to l with the socket at path, until ctx ends.
func passOn(ctx context.Context, l net.Listener, path string) error {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var work sync.WaitGroup
	defer work.Wait()
	places := make(chan struct{}, sidecarConns)
	for {
		places <- struct{}{}
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return problem.Wrap(problem.Unavailable, "the identity endpoint ended", err)
		}
		work.Go(func() {
			join(ctx, c, path)
			<-places
		})
	}
}

// join copies both ways until one side ends.
func join(ctx context.Context, c net.Conn, path string) {
	defer c.Close()
	dial, cancel := context.WithTimeout(ctx, sidecarDial)
	defer cancel()
	node, err := (&net.Dialer{}).DialContext(dial, "unix", path)
	if err != nil {
		return // the client tries again; the node is away
	}
	defer node.Close()
	defer context.AfterFunc(ctx, func() { _, _ = c.Close(), node.Close() })()
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{node, c}, {c, node}} {
		go func() {
			_, _ = io.Copy(way[0], way[1])
			if half, ok := way[0].(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
			done <- struct{}{}
		}()
	}
	<-done
	<-done
}
