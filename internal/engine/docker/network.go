package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// network gives the network of an app's sidecars, which is made if it is not there. In
// Docker's, all containers of the installation are, and none reaches another; podman
// keeps networks apart, so each app has one. "" is the engine's default network, for an
// engine that makes no such network, of which the log is told once.
func (s *site) network(ctx context.Context, app string) (container.NetworkMode, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, options, err := s.apart(ctx, app)
	if err != nil {
		return "", err
	}
	_, err = s.cl.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
	if err == nil {
		return container.NetworkMode(name), nil
	}
	if !errdefs.IsNotFound(err) {
		return "", fault(err, "the network of containers cannot be looked up")
	}
	_, err = s.cl.NetworkCreate(ctx, name, client.NetworkCreateOptions{Driver: "bridge", Options: options, Labels: map[string]string{labelInstallation: s.installation}})
	switch {
	case err == nil || errdefs.IsConflict(err) || errdefs.IsAlreadyExists(err):
		return container.NetworkMode(name), nil
	case away(err):
		return "", fault(err, "the network of containers cannot be made")
	}
	if !s.warned && s.log != nil {
		s.warned = true
		s.log.Warn("the container engine keeps no containers apart: those of one app can reach those of others around the ingress",
			"reason", err, "next", "let Docker manage iptables, and load br_netfilter")
	}
	return "", nil
}

// apart gives the name of an app's network and what makes the engine keep it to itself.
func (s *site) apart(ctx context.Context, app string) (string, map[string]string, error) {
	if s.podman == nil {
		v, err := s.cl.ServerVersion(ctx, client.ServerVersionOptions{})
		if err != nil {
			return "", nil, fault(err, "which container engine it is cannot be found out")
		}
		is := false
		for _, c := range v.Components {
			is = is || strings.Contains(c.Name, "Podman")
		}
		s.podman = &is
	}
	name := "latchkey-" + s.installation
	if *s.podman {
		sum := sha256.Sum256([]byte(strings.ToLower(app)))
		return name + "-" + hex.EncodeToString(sum[:6]), map[string]string{"isolate": "true"}, nil
	}
	return name, map[string]string{"com.docker.network.bridge.enable_icc": "false"}, nil
}

// leaveNetwork removes the network that only one app had. While others of the app's
// containers are in it, the engine refuses to.
func (s *site) leaveNetwork(ctx context.Context, app string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.podman == nil || !*s.podman {
		return
	}
	if name, _, err := s.apart(ctx, app); err == nil {
		_, _ = s.cl.NetworkRemove(ctx, name, client.NetworkRemoveOptions{})
	}
}
