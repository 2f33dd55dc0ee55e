package platform

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/arm"
	"github.com/latchkey/latchkey/internal/audit"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/containerapp/runner"
	"github.com/latchkey/latchkey/internal/containerstream"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
)

// openStreams makes what serves logs and consoles of container apps.
func (n *Node) openStreams() error {
	tokens, err := containerstream.NewTokens(n.siteKey, n.cfg.Clock)
	if err != nil {
		return err
	}
	n.streams, err = containerstream.New(containerstream.Config{
		Engine: (*streamEngine)(n), Apps: n.containers.apps, Tokens: tokens, Ref: runner.Ref, Opened: n.auditStream, Active: n.streamsFor,
		Clock: n.outside(), Log: n.log,
	})
	if err == nil {
		n.onClose(n.streams.Close)
	}
	return err
}

// streamToken makes the token that opens the streams of an app.
func (n *Node) streamToken(c *arm.Call, a containerapp.App) (string, time.Time, error) {
	tokens, err := containerstream.NewTokens(n.siteKey, n.cfg.Clock)
	if err != nil {
		return "", time.Time{}, err
	}
	return tokens.Issue(a, c.Caller.ObjectID)
}

// streamsFor says whether who got a token for streams still counts.
func (n *Node) streamsFor(ctx context.Context, principal string) error {
	_, err := n.directory.Active(ctx, principal)
	var refused *identity.Refused
	if errors.As(err, &refused) {
		return problem.New(problem.Unauthenticated, "who got the token was disabled or removed").WithNext("sign in again, and get a new one")
	}
	return err
}

// auditStream writes down who looks into a container, and who runs what there.
func (n *Node) auditStream(_ context.Context, o containerstream.Opened) error {
	e := audit.Event{
		Category: audit.SecretRead, Action: "Microsoft.App/containerApps/" + o.Kind, Scope: o.App.String(), Outcome: "Succeeded", Source: o.Source,
		Principal: audit.Principal{ObjectID: o.Principal}, Details: map[string]string{},
	}
	if o.Kind == containerstream.KindExec {
		e.Category = audit.Write
	}
	for name, value := range map[string]string{"revision": o.Target.Revision.Revision, "replica": o.Target.Replica, "container": o.Target.Container} {
		if value != "" {
			e.Details[name] = value
		}
	}
	n.audit.Record(e)
	return nil
}

// streamEngine is the engine of the container apps that this node runs.
type streamEngine Node

func (s *streamEngine) engine() (engine.Engine, error) {
	r := (*Node)(s).containers.runner.Load()
	if r == nil {
		return nil, problem.New(problem.Unavailable, "container apps run on another node").WithNext("ask that one")
	}
	return r.Engine()
}

// Logs implements containerstream.Engine.
func (s *streamEngine) Logs(ctx context.Context, of engine.Target, opts engine.LogOptions, w io.Writer) error {
	e, err := s.engine()
	if err != nil {
		return err
	}
	return e.Logs(ctx, of, opts, w)
}

// Exec implements containerstream.Engine.
func (s *streamEngine) Exec(ctx context.Context, in engine.Target, cmd engine.Exec) (int, error) {
	e, err := s.engine()
	if err != nil {
		return 0, err
	}
	return e.Exec(ctx, in, cmd)
}

// Observe implements containerstream.Engine.
func (s *streamEngine) Observe(ctx context.Context, revision engine.Ref) (engine.Status, error) {
	e, err := s.engine()
	if err != nil {
		return engine.Status{}, err
	}
	return e.Observe(ctx, revision)
}
