// Package reach owns finding the container engine of this machine: where Docker and
// podman listen, and which of them answers. It does not know what is asked of it.
package reach

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/moby/client"

	"github.com/latchkey/latchkey/internal/problem"
)

// Connect finds the engine and makes sure that it answers; it gives the client,
// which the caller closes, and where the engine is. configured is an address such
// as unix:///run/docker.sock; "" takes DOCKER_HOST, else the usual sockets.
// problem.Unavailable names what was tried.
func Connect(ctx context.Context, configured string, getenv func(string) string) (*client.Client, string, error) {
	var tried []string
	for _, host := range hosts(configured, getenv) {
		cl, err := connect(ctx, host)
		if err == nil {
			return cl, host, nil
		}
		tried = append(tried, fmt.Sprintf("%s (%s)", host, why(err)))
	}
	return nil, "", problem.New(problem.Unavailable, "no container engine answers; tried "+strings.Join(tried, ", "))
}

// hosts gives where an engine may be, in the order in which to try.
func hosts(configured string, env func(string) string) []string {
	if configured != "" {
		return []string{configured}
	}
	if h := env("DOCKER_HOST"); h != "" {
		return []string{h}
	}
	out := []string{"unix:///run/docker.sock"}
	if home := env("HOME"); home != "" {
		out = append(out, "unix://"+filepath.Join(home, ".docker/run/docker.sock"))
	}
	if dir := env("XDG_RUNTIME_DIR"); dir != "" {
		out = append(out, "unix://"+filepath.Join(dir, "docker.sock"), "unix://"+filepath.Join(dir, "podman/podman.sock"))
	}
	return append(out, "unix:///run/podman/podman.sock")
}

func connect(ctx context.Context, host string) (*client.Client, error) {
	cl, err := client.New(client.WithHost(host), client.WithTLSClientConfigFromEnv())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := cl.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		_ = cl.Close()
		return nil, err
	}
	return cl, nil
}

// why shortens what the client says.
func why(err error) string {
	text := err.Error()
	for _, known := range [...]string{"no such file or directory", "permission denied", "connection refused"} {
		if strings.Contains(text, known) {
			return known
		}
	}
	if strings.Contains(text, "Cannot connect") || strings.Contains(text, "failed to connect") {
		return "nobody answers"
	}
	return text
}
