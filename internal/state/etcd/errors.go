package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
)

// dropped is how a member answers when it has no leader to hand a write to.
const dropped = "raft proposal dropped"

// leaderless reports whether the cluster refused a request before doing
// anything about it because it had no leader, so that asking again is safe.
func leaderless(err error) bool {
	return err != nil && (isEtcd(err, rpctypes.ErrNoLeader) || strings.Contains(rpctypes.ErrorDesc(err), dropped))
}

// fault turns an error of a request made for ctx into one of ours; nil stays nil.
func (s *Store) fault(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if err := state.Alive(ctx); err != nil {
		return err
	}
	for _, k := range known() {
		if isEtcd(err, k.errs...) {
			return problem.Wrap(k.kind, k.text, s.cause(err)).WithNext(k.next)
		}
	}
	switch c := code(err); {
	case isEtcd(err, rpctypes.ErrCompacted):
		return errCompacted
	case c == codes.ResourceExhausted && strings.Contains(rpctypes.ErrorDesc(err), "larger than max"):
		return s.fault(ctx, rpctypes.ErrRequestTooLarge)
	case c == codes.InvalidArgument || c == codes.OutOfRange || c == codes.Unimplemented:
		return problem.Wrap(problem.Internal, "etcd does not understand a request", s.cause(err))
	case s.ctx.Err() != nil:
		return errClosed()
	}
	return problem.Wrap(state.ErrUnavailable, "the control plane's state cannot be reached", s.cause(err)).
		WithNext("see that a majority of etcd's members run and that this machine reaches them (etcdctl endpoint health)")
}

// answer says what answers of etcd mean to us.
type answer struct {
	errs []error
	kind problem.Kind
	text string
	next string
}

func known() []answer {
	return []answer{
		{
			[]error{
				rpctypes.ErrAuthFailed, rpctypes.ErrUserEmpty, rpctypes.ErrUserNotFound, rpctypes.ErrPermissionDenied,
				rpctypes.ErrPermissionNotGranted, rpctypes.ErrInvalidAuthToken,
			},
			problem.Denied, "etcd does not let us at the control plane's state",
			"check etcd's user name and password, and that the user may read and write everything below the prefix",
		},
		{
			[]error{rpctypes.ErrRequestTooLarge, rpctypes.ErrTooManyOps},
			state.ErrTooLarge, "the write is larger than etcd accepts",
			"start etcd with its default --max-request-bytes and --max-txn-ops, or larger ones",
		},
		{
			[]error{rpctypes.ErrAuthOldRevision},
			state.ErrUnavailable, "etcd's users were changed at this moment", "try again",
		},
		{
			[]error{rpctypes.ErrNoSpace},
			state.ErrUnavailable, "the control plane's state is full and cannot be written",
			"compact and defragment etcd, disarm its alarm, and set --auto-compaction-retention or a larger --quota-backend-bytes",
		},
	}
}

// isEtcd reports whether err is one of etcd's errors, as the client library or
// the connection below it gives them.
func isEtcd(err error, targets ...error) bool {
	for _, t := range targets {
		if rpctypes.ErrorDesc(err) == rpctypes.ErrorDesc(t) {
			return true
		}
	}
	return false
}

func code(err error) codes.Code {
	var e rpctypes.EtcdError
	if errors.As(err, &e) {
		return e.Code()
	}
	return status.Code(err)
}

// cause names the store and what went wrong there; it is not for remote callers.
func (s *Store) cause(err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %s", s, rpctypes.ErrorDesc(err))
	}
	if why := s.trouble.Load(); why != nil {
		return fmt.Errorf("%s: no answer within %s: %s", s, s.cfg.RequestTimeout, *why)
	}
	return fmt.Errorf("%s: no answer within %s", s, s.cfg.RequestTimeout)
}

// connecting begins what the connection tells of why it does not come about. It
// keeps trying, so that a request's own error is only that its time is over.
const connecting = `connection error: desc = `

// note remembers why there is no connection until a request succeeds.
func (s *Store) note(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoker(ctx, method, req, reply, cc, opts...)
	if err == nil {
		s.trouble.Store(nil)
	} else if _, why, ok := strings.Cut(rpctypes.ErrorDesc(err), connecting); ok {
		why = strings.Trim(why, `"`)
		s.trouble.Store(&why)
	}
	return err
}
