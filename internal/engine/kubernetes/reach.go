package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/kubeapi"
	"github.com/latchkey/latchkey/internal/problem"
)

func addresses(s engine.Spec, ip string) map[int]string {
	out := map[int]string{}
	for _, p := range s.AllPorts() {
		out[p.Number] = net.JoinHostPort(ip, strconv.Itoa(p.Number))
	}
	return out
}

func exitText(t *terminated) string { return fmt.Sprint("exit code ", t.Code) }

// target finds the container that is meant, in running replicas first.
func (e *Engine) target(t engine.Target) (pod, container string, running bool, err error) {
	r, err := e.find(t.Revision)
	if err != nil {
		return "", "", false, err
	}
	spec, _ := r.wish()
	want := cmp.Or(t.Container, spec.Main[0].Name)
	for _, p := range e.seen.podsOf(r.base) {
		if t.Replica != "" && t.Replica != p.Metadata.Name {
			continue
		}
		for _, c := range p.containers() {
			if c.Name != want || c.State == engine.ContainerWaiting && c.LastExit == nil {
				continue
			}
			if runs := c.State == engine.ContainerRunning; pod == "" || runs && !running {
				pod, running = p.Metadata.Name, runs
			}
		}
	}
	if pod == "" {
		return "", "", false, problem.New(problem.NotFound, "no such container was started in "+t.Revision.String())
	}
	return pod, want, running, nil
}

// Logs implements engine.Engine.
func (e *Engine) Logs(ctx context.Context, of engine.Target, opts engine.LogOptions, w io.Writer) error {
	name, container, _, err := e.target(of)
	if err != nil {
		return err
	}
	query := url.Values{"container": {container}}
	if opts.Follow {
		query.Set("follow", "true")
	}
	if opts.Tail > 0 {
		query.Set("tailLines", strconv.Itoa(opts.Tail))
	}
	resp, err := e.api.Send(ctx, kubeapi.Request{Method: http.MethodGet, Path: pods.path(e.ns, name) + "/log", Query: query, Accept: "*/*"})
	if err != nil {
		return e.fault(err, "read the output of container "+container)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err = io.Copy(w, resp.Body); err != nil && (ctx.Err() != nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}
