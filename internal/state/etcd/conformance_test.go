package etcd_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/etcd"
	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
	"github.com/latchkey/latchkey/internal/state/memory"
	"github.com/latchkey/latchkey/internal/state/statetest"
)

// harnesses opens empty stores in one etcd: each has a prefix of its own.
func harnesses(t *testing.T) statetest.Open {
	endpoints := etcdtest.Start(t)
	var count atomic.Int64
	return func(t *testing.T) statetest.Harness {
		cfg := etcd.Config{Endpoints: endpoints, Prefix: fmt.Sprintf("/test/%d", count.Add(1))}
		s := open(t, cfg)
		return statetest.Harness{
			Store: s,
			Other: func() state.Store { return open(t, cfg) },
			Reopen: func() state.Store {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = open(t, cfg)
				return s
			},
			Forget: func() {
				list, err := s.List(bounded(t), "/", state.Page{Limit: 1})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := raw(t, endpoints).Compact(bounded(t), int64(list.Revision)); err != nil {
					t.Fatal(err)
				}
			},
		}
	}
}

func TestConformance(t *testing.T) { statetest.Run(t, harnesses(t)) }

func TestAgreesWithTheReference(t *testing.T) {
	statetest.Cross(t, harnesses(t), func(t *testing.T) statetest.Harness {
		s := memory.New(clock.Real{})
		t.Cleanup(func() { _ = s.Close() })
		return statetest.Harness{Store: s}
	})
}
