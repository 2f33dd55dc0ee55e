package controlplane_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/controlplane"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/etcd"
	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
)

func openEtcd(t *testing.T, endpoints []string, prefix string) state.Store {
	t.Helper()
	s, err := etcd.Open(t.Context(), etcd.Config{Endpoints: endpoints, Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestConformanceOnEtcd(t *testing.T) {
	endpoints := etcdtest.Start(t)
	var places atomic.Int64
	keystoretest.Run(t, keystoretest.Config{
		Except: except(map[string]string{"an unreachable store says so and recovers": "package etcd tests it; here it is the same as in memory"}),
		New: func(t *testing.T) keystoretest.Harness {
			prefix := fmt.Sprintf("/place/%d", places.Add(1))
			h := harness(openEtcd(t, endpoints, prefix))
			h.Second = func(t *testing.T) keystore.Store { return controlplane.New(openEtcd(t, endpoints, prefix), app) }
			return h
		},
	})
}
