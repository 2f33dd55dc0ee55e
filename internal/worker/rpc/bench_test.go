package rpc_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"

	"github.com/latchkey/latchkey/internal/worker/rpc"
	"github.com/latchkey/latchkey/internal/worker/rpc/testworker"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

// atOnce is how many invocations are in progress in each benchmark, on two
// processors.
const atOnce = 64

// BenchmarkCeiling measures invocations of a function that returns its input, and
// the same messages without a host: a bare gRPC stream on which the answer to one
// is the reason to send the next, and one whose callers wait for their answers.
func BenchmarkCeiling(b *testing.B) {
	b.Run("invoke over gRPC", func(b *testing.B) { benchInvoke(b, false) })
	b.Run("invoke over frames", func(b *testing.B) { benchInvoke(b, true) })
	b.Run("bare gRPC echo", func(b *testing.B) { benchBare(b, (*bare).window) })
	b.Run("bare gRPC echo with callers", func(b *testing.B) { benchBare(b, (*bare).callers) })
}

func benchInvoke(b *testing.B, overFrames bool) {
	f := newFixture(b, "echo")
	f.cfg.Runtime.Frames = overFrames
	w := f.start(b)
	inv := invocation(w, "echo", "hello")
	var n atomic.Int64
	b.ResetTimer()
	inParallel(b, func() error {
		one := *inv
		one.ID = fmt.Sprintf("00000000-0000-4000-8000-%012d", n.Add(1))
		_, err := w.Invoke(context.Background(), &one)
		return err
	})
}

// inParallel calls f b.N times from atOnce callers.
func inParallel(b *testing.B, f func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := f(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
}

// bare is a gRPC server with nothing behind it.
type bare struct {
	wire.UnimplementedFunctionRpcServer
	b       *testing.B
	measure func(*bare, wire.FunctionRpc_EventStreamServer)
	done    chan struct{}
}

func benchBare(b *testing.B, measure func(*bare, wire.FunctionRpc_EventStreamServer)) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := grpc.NewServer(grpc.InitialWindowSize(1<<20), grpc.InitialConnWindowSize(1<<20), grpc.ReadBufferSize(64<<10), grpc.WriteBufferSize(64<<10))
	d := &bare{b: b, measure: measure, done: make(chan struct{})}
	wire.RegisterFunctionRpcServer(server, d)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(os.Args[0], "--host", "127.0.0.1", "--port", port, "--functions-uri", "http://"+addr+"/", "--functions-worker-id", "bare")
	cmd.Env = []string{testworker.Variable + "=" + testworker.Script{}.Text()}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	<-d.done
}

// EventStream measures on the first stream.
func (d *bare) EventStream(stream wire.FunctionRpc_EventStreamServer) error {
	defer close(d.done)
	load := &wire.FunctionLoadRequest{FunctionId: "id-echo", Metadata: &wire.RpcFunctionMetadata{Name: "echo"}}
	for range 2 { // StartStream, and the answer to the load
		if _, err := stream.Recv(); err != nil {
			d.b.Error(err)
			return err
		}
		if load != nil {
			_ = stream.Send(&wire.StreamingMessage{Content: &wire.StreamingMessage_FunctionLoadRequest{FunctionLoadRequest: load}})
			load = nil
		}
	}
	d.b.ResetTimer()
	d.measure(d, stream)
	return nil
}

func request(n int64) *wire.StreamingMessage {
	return &wire.StreamingMessage{Content: &wire.StreamingMessage_InvocationRequest{InvocationRequest: &wire.InvocationRequest{
		InvocationId: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), FunctionId: "id-echo",
		InputData: []*wire.ParameterBinding{{Name: "item", RpcData: &wire.ParameterBinding_Data{Data: &wire.TypedData{Data: &wire.TypedData_String_{String_: "hello"}}}}},
		TraceContext: &wire.RpcTraceContext{
			TraceParent: fmt.Sprintf("00-%032d-%016d-00", n, n)},
	}}}
}

// window keeps atOnce messages on their way.
func (d *bare) window(stream wire.FunctionRpc_EventStreamServer) {
	defer d.b.StopTimer()
	sent := int64(0)
	for range d.b.N + atOnce {
		if sent >= atOnce {
			if _, err := stream.Recv(); err != nil {
				d.b.Error(err)
				return
			}
		}
		if sent++; sent <= int64(d.b.N) {
			_ = stream.Send(request(sent))
		} else if sent >= int64(d.b.N)+min(atOnce, int64(d.b.N)) {
			return
		}
	}
}

// callers has atOnce goroutines, each of which waits for the answer to its message.
func (d *bare) callers(stream wire.FunctionRpc_EventStreamServer) {
	var send, table sync.Mutex
	waiting := map[string]chan struct{}{}
	go func() {
		for {
			m, err := stream.Recv()
			if err != nil {
				return
			}
			id := m.GetInvocationResponse().GetInvocationId()
			table.Lock()
			c := waiting[id]
			delete(waiting, id)
			table.Unlock()
			c <- struct{}{}
		}
	}()
	var n atomic.Int64
	inParallel(d.b, func() error {
		m, c := request(n.Add(1)), make(chan struct{}, 1)
		table.Lock()
		waiting[m.GetInvocationRequest().GetInvocationId()] = c
		table.Unlock()
		send.Lock()
		err := stream.Send(m)
		send.Unlock()
		if err == nil {
			<-c
		}
		return err
	})
}

// BenchmarkDispatch measures two processes whose functions take 1 ms of time, and
// each twentieth 20 ms, with both ways to choose a process. A process runs eight
// invocations at a time.
func BenchmarkDispatch(b *testing.B) {
	for _, way := range []string{"fewest in progress", "in turn"} {
		b.Run(way, func(b *testing.B) {
			f := newFixture(b, "busy", "pid")
			f.cfg.Runtime.Process.Count = 2
			w := f.start(b)
			if way == "in turn" {
				rpc.InTurn(w)
			}
			until(b, "two processes that serve", func() bool { return len(served(b, w)) == 2 })
			inv := invocation(w, "busy", "1")
			var n atomic.Int64
			b.ResetTimer()
			inParallel(b, func() error {
				one := *inv
				i := n.Add(1)
				one.ID = fmt.Sprint(i)
				if i%20 == 0 {
					one.Input = "20"
				}
				_, err := w.Invoke(context.Background(), &one)
				return err
			})
		})
	}
}
