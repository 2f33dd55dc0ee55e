package docker

import (
	"context"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/supervise"
)

// Labels that every object of ours carries. None of them is a secret.
const (
	labelInstallation = "dev.latchkey.installation"
	labelApp          = "dev.latchkey.app"
	labelRevision     = "dev.latchkey.revision"
	labelReplica      = "dev.latchkey.replica"
	labelContainer    = "dev.latchkey.container"
	labelRole         = "dev.latchkey.role"
	labelDigest       = "dev.latchkey.spec"
	labelCount        = "dev.latchkey.start"
)

func (s *site) labels(u supervise.Unit) map[string]string {
	return map[string]string{
		labelInstallation: s.installation, labelApp: u.Revision.App, labelRevision: u.Revision.Revision, labelReplica: u.Replica,
		labelContainer: u.Container, labelRole: string(u.Role), labelDigest: u.Digest, labelCount: strconv.Itoa(u.Count),
	}
}

// volumeLabels are those of what all containers of a replica share.
func (s *site) volumeLabels(u supervise.Unit) map[string]string {
	l := s.labels(u)
	delete(l, labelContainer)
	delete(l, labelRole)
	delete(l, labelCount)
	return l
}

func (s *site) ours(more ...string) client.Filters {
	f := client.Filters{}.Add("label", labelInstallation+"="+s.installation)
	for _, l := range more {
		f.Add("label", l)
	}
	return f
}

func object(l map[string]string, kind, id string, running bool) engine.Object {
	return engine.Object{Revision: engine.Ref{App: l[labelApp], Revision: l[labelRevision]}, Replica: l[labelReplica],
		Container: l[labelContainer], Role: engine.Role(l[labelRole]), Kind: kind, ID: id, Running: running}
}

// List finds containers and volumes by their labels.
func (s *site) List(ctx context.Context) ([]supervise.Found, error) {
	containers, err := s.cl.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: s.ours()})
	if err != nil {
		return nil, fault(err, "containers cannot be listed")
	}
	var out []supervise.Found
	for _, c := range containers.Items {
		count, _ := strconv.Atoi(c.Labels[labelCount])
		at := time.Unix(c.Created, 0)
		out = append(out, supervise.Found{Object: object(c.Labels, "container", c.ID, c.State == container.StateRunning),
			Digest: c.Labels[labelDigest], Count: count, Created: at, Started: at})
	}
	volumes, err := s.cl.VolumeList(ctx, client.VolumeListOptions{Filters: s.ours()})
	if err != nil {
		return nil, fault(err, "volumes cannot be listed")
	}
	for _, v := range volumes.Items {
		out = append(out, supervise.Found{Object: object(v.Labels, "volume", v.Name, false), Digest: v.Labels[labelDigest]})
	}
	return out, nil
}

// Remove removes the containers of a replica, the sidecar last, then its volumes.
func (s *site) Remove(ctx context.Context, replica string) error {
	all, err := s.List(ctx)
	if err != nil {
		return err
	}
	app := ""
	for _, pass := range [...]func(engine.Object) bool{
		func(o engine.Object) bool { return o.Kind == "container" && o.Role != engine.RoleSidecar },
		func(o engine.Object) bool { return o.Kind == "container" && o.Role == engine.RoleSidecar },
		func(o engine.Object) bool { return o.Kind == "volume" },
	} {
		for _, f := range all {
			if f.Replica != replica || !pass(f.Object) {
				continue
			}
			if err := s.removeOne(ctx, f.Object); err != nil {
				return err
			}
			app = f.Revision.App
		}
	}
	if app != "" {
		s.leaveNetwork(ctx, app)
	}
	return nil
}

func (s *site) removeOne(ctx context.Context, o engine.Object) error {
	var err error
	if o.Kind == "volume" {
		_, err = s.cl.VolumeRemove(ctx, o.ID, client.VolumeRemoveOptions{Force: true})
	} else {
		_, err = s.cl.ContainerRemove(ctx, o.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	}
	if gone(err) {
		return nil
	}
	return fault(err, o.Kind+" "+o.ID+" cannot be removed")
}
