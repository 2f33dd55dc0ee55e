package etcd_test

import (
	"testing"

	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/etcd"
	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
)

func open(t *testing.T, cfg etcd.Config) *etcd.Store {
	t.Helper()
	s, err := etcd.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSmoke(t *testing.T) {
	s := open(t, etcd.Config{Endpoints: etcdtest.Start(t)})
	rev, err := s.Write(t.Context(), state.Put("/a/b", []byte("x"), state.Absent))
	t.Log(rev, err)
	t.Log(s.Write(t.Context(), state.Put("/a/b", []byte("x"), state.Absent)))
	t.Log(s.List(t.Context(), "/", state.Page{}))
	l, err := s.Acquire(t.Context(), "x", 1e9)
	t.Log(l, err)
	ch, err := s.Watch(t.Context(), "/", 0)
	t.Log(ch, err)
	t.Log(<-ch)
	t.Log(<-ch)
	t.Log(l.Release(t.Context()))
	t.Log(<-ch)
}
