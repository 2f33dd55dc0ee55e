package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/etcd/etcdtest"
)

func TestErrorsOfEtcdGetTheirKind(t *testing.T) {
	s := &Store{cfg: Config{Endpoints: []string{"http://etcd:2379"}, Prefix: "/p"}, ctx: t.Context()}
	for err, kind := range map[error]problem.Kind{
		rpctypes.ErrNoLeader:               state.ErrUnavailable,
		rpctypes.ErrGRPCNoLeader:           state.ErrUnavailable,
		rpctypes.ErrLeaderChanged:          state.ErrUnavailable,
		rpctypes.ErrTimeout:                state.ErrUnavailable,
		rpctypes.ErrTimeoutDueToLeaderFail: state.ErrUnavailable,
		rpctypes.ErrTooManyRequests:        state.ErrUnavailable,
		rpctypes.ErrNoSpace:                state.ErrUnavailable,
		rpctypes.ErrAuthOldRevision:        state.ErrUnavailable,
		rpctypes.ErrStopped:                state.ErrUnavailable,
		rpctypes.ErrCorrupt:                state.ErrUnavailable,
		rpctypes.ErrAuthFailed:             problem.Denied,
		rpctypes.ErrGRPCPermissionDenied:   problem.Denied,
		rpctypes.ErrUserEmpty:              problem.Denied,
		rpctypes.ErrInvalidAuthToken:       problem.Denied,
		rpctypes.ErrRequestTooLarge:        state.ErrTooLarge,
		rpctypes.ErrTooManyOps:             state.ErrTooLarge,
		rpctypes.ErrDuplicateKey:           problem.Internal,
		status.Error(codes.ResourceExhausted, "trying to send message larger than max (3 vs. 2)"): state.ErrTooLarge,
		status.Error(codes.Unknown, dropped):                                                      state.ErrUnavailable,
		status.Error(codes.Unavailable, "EOF"):                                                    state.ErrUnavailable,
		status.Error(codes.DeadlineExceeded, "late"):                                              state.ErrUnavailable,
		context.DeadlineExceeded:                                                                  state.ErrUnavailable,
	} {
		got := s.fault(t.Context(), err)
		if problem.KindOf(got) != kind || !strings.Contains(got.Error(), "http://etcd:2379") {
			t.Errorf("%v became %v, %q", err, problem.KindOf(got), got)
		}
		if kind != problem.Internal && problem.NextOf(got) == "" {
			t.Errorf("%v: nothing to do is said", err)
		}
	}
	if s.fault(t.Context(), nil) != nil {
		t.Error("success is a fault")
	}
}

func TestOnlyRefusalsForWantOfALeaderAreSafeToRepeat(t *testing.T) {
	for err, want := range map[error]bool{
		rpctypes.ErrNoLeader:                   true,
		rpctypes.ErrGRPCNoLeader:               true,
		status.Error(codes.Unknown, dropped):   true,
		rpctypes.ErrLeaderChanged:              false,
		rpctypes.ErrTimeout:                    false,
		status.Error(codes.Unavailable, "EOF"): false,
	} {
		if leaderless(err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
}

// hooked does something before each read.
type hooked struct {
	clientv3.KV
	before func(n int)
	reads  int
}

func (h *hooked) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	h.reads++
	h.before(h.reads)
	return h.KV.Get(ctx, key, opts...)
}

// compacting gives a store with a long list and a hook that changes the first
// document and compacts before every read that times says.
func compacting(t *testing.T, times func(read int) bool) *Store {
	s, err := Open(t.Context(), Config{Endpoints: etcdtest.Start(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for n := 0; n < 2*chunk; n += state.MaxOps {
		var ops []state.Op
		for i := range state.MaxOps {
			ops = append(ops, state.Put(state.Key(fmt.Sprintf("/a/%06d", n+i)), []byte("1"), state.Absent))
		}
		if _, err := s.Write(t.Context(), ops...); err != nil {
			t.Fatal(err)
		}
	}
	s.client.KV = &hooked{KV: s.client.KV, before: func(read int) {
		if !times(read) {
			return
		}
		rev, err := s.Write(t.Context(), state.Put("/a/000000", []byte("2"), state.Any))
		if err != nil {
			t.Error(err)
		}
		if _, err := s.client.Compact(t.Context(), int64(rev)); err != nil {
			t.Error(err)
		}
	}}
	return s
}

func TestAListWhoseMomentIsCompactedAwayBeginsAnew(t *testing.T) {
	s := compacting(t, func(read int) bool { return read == 2 })
	list, err := s.List(t.Context(), "/a/", state.Page{})
	if err != nil || len(list.Documents) != 2*chunk || string(list.Documents[0].Value) != "2" {
		t.Errorf("%d documents, %v", len(list.Documents), err)
	}
}

func TestAListThatNeverEndsSaysSo(t *testing.T) {
	s := compacting(t, func(int) bool { return true })
	if _, err := s.List(t.Context(), "/a/", state.Page{}); !errors.Is(err, state.ErrUnavailable) || problem.NextOf(err) == "" {
		t.Error(err)
	}
}

func TestAWatchThatLosesItsLeaderGoesOnWhereItWas(t *testing.T) {
	s, err := Open(t.Context(), Config{Endpoints: etcdtest.Start(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	put := func(key state.Key) {
		if _, err := s.Write(t.Context(), state.Put(key, nil, state.Absent)); err != nil {
			t.Fatal(err)
		}
	}
	put("/a")
	w := &watch{store: s, path: s.path("/")}
	if err := w.subscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	resp, ok := <-w.in
	w.take(t.Context(), resp, ok)
	put("/b")
	w.take(t.Context(), clientv3.WatchResponse{Canceled: true, CancelReason: rpctypes.ErrNoLeader.Error()}, true)
	resp, ok = <-w.in
	w.take(t.Context(), resp, ok)
	w.cancel()
	var keys []state.Key
	for _, e := range w.pending {
		keys = append(keys, e.Key)
	}
	if fmt.Sprint(keys) != "[/a /b]" {
		t.Errorf("events of %v", keys)
	}
}
