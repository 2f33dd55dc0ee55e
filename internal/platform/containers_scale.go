package platform

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/armapi/containerapps"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/containerapp/identityrules"
	"github.com/latchkey/latchkey/internal/containerapp/runner"
	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/identity"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/scale"
	"github.com/latchkey/latchkey/internal/scale/queue"
)

// newScaler makes what decides how many replicas the revisions of container apps
// have on this node.
func (n *Node) newScaler() *scale.Scaler {
	lengths := queue.New(queue.Config{
		Token: n.scaleToken, Allow: n.mayHaveQueueToken, Address: n.queueService, Transport: n.outbound(), Clock: n.outside(),
	})
	return scale.New(scale.Config{
		Scale: n.scaleContainers, HandOver: n.autoScaleContainers, Clock: n.outside(), Log: n.log, Engine: n.engineName(),
		Sources: scale.Sources{Load: n.containers.load, Usage: n.containerUsage, Queue: lengths.Length},
	})
}

// engineName names the engine in messages.
func (n *Node) engineName() string {
	if n.cfg.Containers.Engine == EngineAuto {
		return EngineDocker
	}
	return n.cfg.Containers.Engine
}

// scaleSeen tells the scaler of the revisions of an app that are to run.
func (n *Node) scaleSeen(s *scale.Scaler, v runner.View) {
	var wanted []engine.Ref
	for _, rev := range v.Revisions {
		if !rev.Active || v.App.Stopped || v.App.Deleting {
			continue
		}
		r := n.scaledRevision(v.App, rev)
		wanted = append(wanted, r.Ref)
		s.Set(r)
	}
	s.Keep(v.App.ID.String(), wanted...)
}

// scaledRevision makes what the scaler knows of a revision. One that was at zero
// stays there when the node starts again.
func (n *Node) scaledRevision(a containerapp.App, rev containerapp.Revision) scale.Revision {
	replicas := max(1, rev.Status.Replicas)
	if rev.Status.Running == containerapp.ScaledToZero {
		replicas = 0
	}
	return scale.Revision{
		Ref: runner.Ref(a, rev.Name), App: a.ID.String(), Template: rev.Template, Ingress: a.Properties.Configuration.Ingress,
		Ready: rev.Status.Provisioning == containerapp.Provisioned, Replicas: replicas,
		Secret: func(ctx context.Context, name string) (string, error) { return n.containerSecret(ctx, a.ID, name) },
	}
}

// scaleContainers has the engine follow the scaler.
func (n *Node) scaleContainers(ctx context.Context, ref engine.Ref, replicas int) error {
	r := n.containers.runner.Load()
	if r == nil {
		return problem.New(problem.Unavailable, "container apps do not run on this node now")
	}
	return r.Scale(ctx, ref, replicas)
}

// autoScaleContainers has the engine scale a revision, where it can.
func (n *Node) autoScaleContainers(ctx context.Context, ref engine.Ref, by *engine.AutoScale) error {
	r := n.containers.runner.Load()
	if r == nil {
		return problem.New(problem.Unavailable, "container apps do not run on this node now")
	}
	e, err := r.Engine()
	if err != nil {
		return problem.Wrap(problem.Unavailable, "the container engine is not there", err)
	}
	if a, ok := e.(engine.AutoScaler); ok {
		return a.AutoScale(ctx, ref, by)
	}
	return scale.ErrByItself
}

// containerUsage tells what replicas use, where the engine can.
func (n *Node) containerUsage(ctx context.Context, ref engine.Ref) ([]engine.Usage, error) {
	r := n.containers.runner.Load()
	if r == nil {
		return nil, problem.New(problem.Unavailable, "container apps do not run on this node now")
	}
	e, err := r.Engine()
	if err != nil {
		return nil, err
	}
	m, ok := e.(engine.Meter)
	if !ok {
		return nil, problem.New(problem.Unsupported, e.String()+" does not tell what containers use")
	}
	return m.Usage(ctx, ref)
}

// containerSecret gives the value that a secret of an app has now.
func (n *Node) containerSecret(ctx context.Context, id resource.ID, name string) (string, error) {
	a, err := n.containers.apps.Get(ctx, id)
	if err != nil {
		return "", err
	}
	values := a.Secrets
	if n.containers.secrets != nil {
		if values, err = n.containers.secrets(ctx, a); err != nil {
			return "", err
		}
	}
	value, there := values[name]
	if !there {
		return "", problem.New(problem.NotFound, fmt.Sprintf("secret %q has no value here", name)).WithNext("give it a value, or a keyVaultUrl and an identity that may read it")
	}
	return value, nil
}

// scaleToken gets a token of an identity of a container app for the control plane's
// own use, whatever its lifecycle says about the app's code.
func (n *Node) scaleToken(ctx context.Context, app, name, audience string) (string, time.Time, error) {
	a, who, err := n.scaleIdentity(ctx, app, name)
	if err != nil {
		return "", time.Time{}, err
	}
	t, err := n.tokens.Get(ctx, who, audience)
	n.auditContainerToken("scaleToken", a, who, audience, t, err)
	return t.Raw, t.Expires, err
}

// cloudQueues end the hosts of the cloud's queue services.
var cloudQueues = []string{".queue.core.windows.net", ".queue.core.chinacloudapi.cn", ".queue.core.usgovcloudapi.net"}

// mayHaveQueueToken is mayHaveToken for queue services that scale rules name.
func (n *Node) mayHaveQueueToken(ctx context.Context, app, name, host string) error {
	_, who, err := n.scaleIdentity(ctx, app, name)
	if err != nil {
		return nil // that there is no token is told in other words
	}
	if _, mapped := n.upstream.Credential(who); !mapped {
		return nil
	}
	host = strings.TrimSuffix(strings.ToLower(host), ":443")
	if slices.ContainsFunc(cloudQueues, func(end string) bool { return strings.HasSuffix(host, end) }) {
		return nil
	}
	return problem.New(problem.Denied, "its tokens are the cloud's, and "+host+" is none of the cloud's queue services").
		WithNext("use a storage account of Azure, an identity that is not mapped to the cloud, or a connection string")
}

// scaleIdentity gives an identity that a scale rule names, and its app.
func (n *Node) scaleIdentity(ctx context.Context, app, name string) (a containerapp.App, who identity.Assigned, err error) {
	id, err := resource.Parse(app)
	if err != nil {
		return a, who, err
	}
	if a, err = n.containers.apps.Get(ctx, id); err != nil {
		return a, who, err
	}
	list, err := n.identities.Of(ctx, a.Resource.Identity, a.ID)
	if err != nil {
		return a, who, err
	}
	at := slices.IndexFunc(list, func(i identity.Assigned) bool {
		switch {
		case i.Dangling():
			return false
		case strings.EqualFold(name, identityrules.System):
			return i.System
		}
		return !i.System && identityrules.SameIdentity(i.ResourceID, name)
	})
	if at < 0 {
		return a, who, problem.New(problem.Denied, "container app "+a.Name+" does not have the identity "+name).
			WithNext("assign it with: az containerapp identity assign, or name another one in the scale rule")
	}
	return a, list[at], nil
}

// queueService gives the address that the settings have for the queues of a
// storage account.
func (n *Node) queueService(account string) string {
	for _, pair := range n.cfg.Containers.QueueServices {
		if name, address, _ := strings.Cut(pair, "="); name == account {
			return address
		}
	}
	return ""
}

// ContainerScale tells why a revision of a container app has as many replicas as it
// has; ok is false where this node does not scale it.
func (n *Node) ContainerScale(id resource.ID, revision string) (e scale.Explanation, ok bool) {
	if s := n.containers.scaler.Load(); s != nil {
		return s.Explain(engine.Ref{App: id.String(), Revision: revision})
	}
	return e, false
}

// containerScaling tells the management API of it. Nothing is known
// where another node scales the revision.
func (n *Node) containerScaling(a containerapp.App, r containerapp.Revision) (shown containerapps.Scaling, ok bool) {
	e, ok := n.ContainerScale(a.ID, r.Name)
	if !ok {
		return shown, false
	}
	shown = containerapps.Scaling{Desired: e.Desired, Reason: e.Reason, Error: e.Error, Rules: []containerapps.ScalingRule{}}
	for _, one := range e.Rules {
		shown.Rules = append(shown.Rules, containerapps.ScalingRule{Name: one.Name, Type: one.Type, Value: one.Value, Target: one.Target, Unit: one.Unit,
			Replicas: one.Replicas, Active: one.Active, Error: one.Error})
	}
	return shown, true
}

// activateContainer tells that a request waits for a revision.
func (n *Node) activateContainer(ref engine.Ref) {
	if s := n.containers.scaler.Load(); s != nil {
		s.Activate(ref)
	}
}
