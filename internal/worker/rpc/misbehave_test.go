package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker/rpc"
	"github.com/latchkey/latchkey/internal/worker/rpc/testworker"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

func TestAStartThatFailsSaysWhy(t *testing.T) {
	tests := []struct {
		name   string
		script testworker.Script
		parts  []string
	}{
		{"crash before dialling", testworker.Script{CrashAt: testworker.AtStart}, []string{"exit code 7", "crashing at start"}},
		{"restart asked for before dialling", testworker.Script{CrashAt: testworker.AtStart, ExitCode: 200}, []string{"exit code 200"}},
		{"slow", testworker.Script{SlowStart: time.Hour}, []string{"did not connect", "within 300ms"}},
		{"another's id", testworker.Script{StrangerID: true}, []string{"did not start"}},
		{"another first message", testworker.Script{OtherFirst: true}, []string{"did not start"}},
		{"crash after StartStream", testworker.Script{CrashAt: testworker.AtStream}, []string{"crashing at stream"}},
		{"crash at init", testworker.Script{CrashAt: testworker.AtInit}, []string{"crashing at init"}},
		{"silence at init", testworker.Script{SilentAt: testworker.AtInit}, []string{"did not answer WorkerInitRequest within"}},
		{"failure at init", testworker.Script{FailAt: testworker.AtInit}, []string{"cannot load the app: failing at init"}},
		{"half-closed at init", testworker.Script{CloseAt: testworker.AtInit}, []string{"closed its stream"}},
		{"crash at metadata", testworker.Script{CrashAt: testworker.AtMetadata}, []string{"crashing at metadata"}},
		{"failure at metadata", testworker.Script{FailAt: testworker.AtMetadata}, []string{"failing at metadata", "/app/src/thing.js:12:5"}},
		{"crash at load", testworker.Script{CrashAt: testworker.AtLoad}, []string{"crashing at load"}},
		{"half-closed at load", testworker.Script{CloseAt: testworker.AtLoad}, []string{"closed its stream"}},
		{"HttpUri elsewhere", testworker.Script{Capabilities: map[string]string{"HttpUri": "http://192.0.2.1:80"}}, []string{"HttpUri is not on this machine"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			startFails(t, tt.script, tt.parts, false)
		})
		if tt.script.StrangerID || tt.script.SlowStart > 0 {
			continue // nobody else can hold the socket, so ids play no part
		}
		t.Run(tt.name+", over frames", func(t *testing.T) {
			t.Parallel()
			startFails(t, tt.script, tt.parts, true)
		})
	}
}

func startFails(t *testing.T, script testworker.Script, parts []string, overFrames bool) {
	f := newFixture(t)
	f.script = script
	f.cfg.Runtime.Frames = overFrames
	f.script.Functions = []testworker.Function{{Name: "echo", Bindings: []string{queueTrigger}}}
	if script.SlowStart > 0 {
		f.cfg.Runtime.Process.StartupTimeout = 300 * time.Millisecond
	}
	if script.SilentAt != "" {
		f.cfg.Runtime.Process.InitTimeout = 300 * time.Millisecond
	}
	w := f.make(t)
	wantKind(t, w.Start(limited(t)), problem.Unavailable, parts...)
	<-w.Exited()
	until(t, "the end of its process", func() bool { return len(w.PIDs()) == 0 })
}

func TestAStartCanBeGivenUp(t *testing.T) {
	f := newFixture(t, "echo")
	f.script.SilentAt = testworker.AtLoad
	w := f.make(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Start(ctx) }()
	until(t, "a process", func() bool { return len(w.PIDs()) == 1 })
	cancel()
	wantKind(t, receive(t, done), problem.Unavailable, "given up")
}

func TestTheEndOfTheOnlyProcessEndsTheWorker(t *testing.T) {
	for _, where := range []string{"crash", "half", "crash over frames", "half over frames"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			name, _, overFrames := strings.Cut(where, " over")
			f := newFixture(t, name, "hang")
			f.cfg.Runtime.Frames = overFrames
			w := f.start(t)
			hanging := make(chan error, 1)
			inv := invocation(w, "hang", "")
			go func() { _, err := w.Invoke(limited(t), inv); hanging <- err }()
			f.logs.await(t, "hanging")
			_, err := w.Invoke(limited(t), invocation(w, name, ""))
			wantKind(t, err, problem.Unavailable)
			wantKind(t, <-hanging, problem.Unavailable) // not left waiting
			<-w.Exited()
			if e := w.Exit(); name == "crash" && (e.Code != 3 || len(e.LastLogs) != 1 || !strings.Contains(e.LastLogs[0], "as asked")) {
				t.Errorf("exit %+v", e)
			}
			_, err = w.Invoke(limited(t), invocation(w, "hang", ""))
			wantKind(t, err, problem.Unavailable)
		})
	}
}

func TestACrashLeavesTheOtherProcessesServing(t *testing.T) {
	f := newFixture(t, "pid", "hang")
	f.cfg.Runtime.Process.Count = 2
	w := f.start(t)
	until(t, "two processes that serve", func() bool { return len(served(t, w)) == 2 })
	stop := make(chan struct{})
	var failures, successes atomic.Int64
	var all sync.WaitGroup
	for g := range 4 {
		inv := invocation(w, "pid", "")
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				one := *inv
				one.ID = fmt.Sprintf("load-%d-%d", g, n)
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				_, err := w.Invoke(ctx, &one)
				cancel()
				switch {
				case err == nil:
					successes.Add(1)
				case errors.Is(err, problem.Unavailable):
					failures.Add(1)
				default:
					t.Errorf("error %v", err)
					return
				}
			}
		})
	}
	for range 3 {
		victim := w.PIDs()[0]
		_ = syscall.Kill(victim, syscall.SIGKILL)
		until(t, "another process in its place", func() bool {
			pids := w.PIDs()
			return len(pids) == 2 && pids[0] != victim && pids[1] != victim
		})
		until(t, "two processes that serve", func() bool { return len(served(t, w)) == 2 })
	}
	close(stop)
	all.Wait()
	if successes.Load() == 0 || failures.Load() > 3*4 {
		t.Errorf("%d succeeded, %d failed: only those on a killed process may", successes.Load(), failures.Load())
	}
}

// served gives the ids of the processes that answer now.
func served(t testing.TB, w *rpc.Worker) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for range 8 {
		res, err := w.Invoke(limited(t), invocation(w, "pid", ""))
		if err == nil {
			found[string(res.Return)] = true
		}
	}
	return found
}

func TestProcessesAreNeverMoreThanAskedFor(t *testing.T) {
	f := newFixture(t, "hang", "pid")
	f.cfg.Runtime.Process.Count = 3
	f.cfg.Runtime.Process.StartupInterval = 50 * time.Millisecond
	w := f.start(t)
	most := 0
	for n := range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		_, _ = w.Invoke(ctx, invocation(w, "hang", fmt.Sprint(n)))
		cancel()
		most = max(most, len(w.PIDs()))
	}
	until(t, "three processes", func() bool { most = max(most, len(w.PIDs())); return len(w.PIDs()) == 3 })
	if most > 3 {
		t.Errorf("%d processes at once", most)
	}
}

func TestAProcessThatDoesNotComeBackIsTriedAgain(t *testing.T) {
	f := newFixture(t, "pid")
	f.cfg.Runtime.Process.Count = 2
	f.script.CrashAt, f.script.OnlyOnce = testworker.AtInvoke, filepath.Join(t.TempDir(), "once")
	w := f.start(t)
	until(t, "two processes", func() bool { return len(w.PIDs()) == 2 })
	until(t, "an invocation that succeeds after the crash", func() bool {
		_, err := w.Invoke(limited(t), invocation(w, "pid", ""))
		return err == nil
	})
	until(t, "two processes that serve", func() bool { return len(served(t, w)) == 2 })
}

func TestStrangersDoNotBecomeWorkers(t *testing.T) {
	f := newFixture(t, "echo")
	w := f.start(t)
	address := w.Address()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(math.MaxInt32)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, first := range []*wire.StreamingMessage{
		{Content: &wire.StreamingMessage_StartStream{StartStream: &wire.StartStream{WorkerId: "guess"}}},
		{Content: &wire.StreamingMessage_StartStream{StartStream: &wire.StartStream{}}},
		{Content: &wire.StreamingMessage_StartStream{StartStream: &wire.StartStream{WorkerId: w.FirstID()}}}, // used already
		{Content: &wire.StreamingMessage_InvocationResponse{InvocationResponse: &wire.InvocationResponse{}}},
		{RequestId: strings.Repeat("x", 1<<20)},
	} {
		stream, err := wire.NewFunctionRpcClient(conn).EventStream(limited(t))
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.Send(first)
		if m, err := stream.Recv(); err == nil {
			t.Errorf("a stranger was sent %v", m)
		}
	}
	invoke(t, w, "echo", "undisturbed")
}

func TestSilentConnectionsAreNotTakenWithoutEnd(t *testing.T) {
	f := newFixture(t, "echo")
	w := f.start(t)
	closed := 0
	for range 64 {
		conn, err := net.Dial("tcp", w.Address())
		if err != nil {
			closed++
			continue
		}
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		buf := make([]byte, 1)
		if _, err := conn.Read(buf); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			var ne net.Error
			if !errors.As(err, &ne) || !ne.Timeout() {
				closed++
			}
		}
	}
	if closed < 32 {
		t.Errorf("only %d of 64 silent connections were refused", closed)
	}
	invoke(t, w, "echo", "undisturbed")
}
