package kubernetes_test

import (
	"context"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/enginetest"
	"github.com/latchkey/latchkey/internal/engine/kubernetes"
	"github.com/latchkey/latchkey/internal/kubeapi"
	"github.com/latchkey/latchkey/internal/testkit/memorycluster"
)

func open(t *testing.T, access kubeapi.Access, cfg engine.Config) *kubernetes.Engine {
	t.Helper()
	e, err := kubernetes.Open(context.Background(), kubernetes.Config{Config: cfg, Access: access, Resync: time.Minute,
		Sidecar: kubernetes.Sidecar{Image: "registry.example/latchkey:1", Command: []string{"latchkey", "sidecar"}, Upstream: "https://latchkey.latchkey.svc"},
		Network: kubernetes.Network{Pods: map[string]string{"app": "latchkey"}, Namespace: "latchkey"}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func backend(n *nodes, access kubeapi.Access) enginetest.Backend {
	return enginetest.Backend{
		Open:  func(t *testing.T, cfg engine.Config) engine.Engine { return open(t, access, cfg) },
		Image: testImage, Missing: "registry.example/missing:1", Survives: true, Swaps: true,
		Kill:   n.killContainer,
		Except: map[string]string{"a port that is used says so": "ports of machines are refused", "what containers use is told": "the cluster scales by use itself"},
	}
}

func TestConformance(t *testing.T) {
	s := memorycluster.Start(t)
	n := startNodes(t, s.Access())
	s.Logs = n.logs
	s.Exec = n.exec
	enginetest.Run(t, backend(n, s.Access()))
}
