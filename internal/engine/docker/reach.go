package docker

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"

	"github.com/latchkey/latchkey/internal/engine"
)

// Addresses gives where the ports of a replica can be dialled. On a Linux machine
// with an engine of its own that is the sidecar's address: Docker's proxy for
// published ports accepts connections whether or not anybody listens behind it.
func (s *site) Addresses(ctx context.Context, replica string) (map[int]string, error) {
	one, err := s.cl.ContainerInspect(ctx, s.name(replica, sidecarName), client.ContainerInspectOptions{})
	if err != nil {
		return nil, fault(err, "the addresses of replica "+replica+" cannot be found")
	}
	out := map[int]string{}
	settings := one.Container.NetworkSettings
	if settings == nil {
		return out, nil
	}
	ip, direct := netip.Addr{}, runtime.GOOS == "linux" && strings.HasPrefix(s.host, "unix:")
	for _, n := range settings.Networks {
		ip = n.IPAddress
	}
	for port, at := range settings.Ports {
		number := int(port.Num())
		inside := net.JoinHostPort(ip.String(), strconv.Itoa(number))
		if direct && ip.IsValid() && reachable(ctx, inside) {
			out[number] = inside
			continue
		}
		for _, b := range at {
			out[number] = net.JoinHostPort("127.0.0.1", b.HostPort)
		}
	}
	return out, nil
}

// reachable tells whether there is a way to an address; nobody needs to listen.
func reachable(ctx context.Context, addr string) bool {
	conn, err := (&net.Dialer{Timeout: 300 * time.Millisecond}).DialContext(ctx, "tcp", addr)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil || errors.Is(err, syscall.ECONNREFUSED)
}

// Logs copies what a container wrote.
func (s *site) Logs(ctx context.Context, id string, opts engine.LogOptions, w io.Writer) error {
	tail := "all"
	if opts.Tail > 0 {
		tail = strconv.Itoa(opts.Tail)
	}
	r, err := s.cl.ContainerLogs(ctx, id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: opts.Follow, Tail: tail})
	if err != nil {
		return fault(err, "the output of container "+id+" cannot be read")
	}
	defer r.Close()
	if _, err := stdcopy.StdCopy(w, w, r); err != nil && ctx.Err() == nil {
		return fault(err, "the output of container "+id+" cannot be read")
	}
	return nil
}

// Exec runs a command in a container.
func (s *site) Exec(ctx context.Context, id string, cmd engine.Exec) (int, error) {
	const what = "the command cannot be run"
	made, err := s.cl.ExecCreate(ctx, id, client.ExecCreateOptions{Cmd: cmd.Command, TTY: cmd.TTY, AttachStdin: cmd.Stdin != nil, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return 0, fault(err, what)
	}
	conn, err := s.cl.ExecAttach(ctx, made.ID, client.ExecAttachOptions{TTY: cmd.TTY})
	if err != nil {
		return 0, fault(err, what)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, conn.Close)()
	if cmd.Stdin != nil {
		go func() {
			_, _ = io.Copy(conn.Conn, cmd.Stdin)
			_ = conn.CloseWrite()
		}()
	}
	if err := output(conn.Reader, cmd); err != nil {
		return 0, errors.Join(ctx.Err(), fault(err, what))
	}
	end, err := s.cl.ExecInspect(ctx, made.ID, client.ExecInspectOptions{})
	if err != nil {
		return 0, fault(err, what)
	}
	return end.ExitCode, nil
}

func output(r io.Reader, cmd engine.Exec) error {
	out, errs := cmd.Stdout, cmd.Stderr
	if out == nil {
		out = io.Discard
	}
	if errs == nil {
		errs = io.Discard
	}
	if cmd.TTY {
		_, err := io.Copy(out, r)
		return err
	}
	_, err := stdcopy.StdCopy(out, errs, r)
	return err
}
