package testworker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/latchkey/latchkey/internal/worker/rpc/frames"
	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

// Main runs a worker as its command line and the script in the environment say,
// and gives the exit code.
func Main(args []string) int {
	var s Script
	if err := json.Unmarshal([]byte(os.Getenv(Variable)), &s); err != nil {
		fmt.Fprintln(os.Stderr, "error: no script:", err)
		return 2
	}
	w := &program{script: s, args: options(args), good: s.OnlyOnce != "" && !creates(s.OnlyOnce)}
	if err := w.run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

// creates reports whether path was there not yet, and makes it.
func creates(path string) bool {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_ = f.Close()
	}
	return err == nil
}

// options reads "--name value" pairs.
func options(args []string) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(args); i++ {
		if strings.HasPrefix(args[i], "--") {
			m[args[i]] = args[i+1]
		}
	}
	return m
}

// stream is how it talks with the host.
type stream interface {
	Send(*wire.StreamingMessage) error
	Recv() (*wire.StreamingMessage, error)
	CloseSend() error
}

// framed is a stream over the socket that the process inherits.
type framed struct {
	*frames.Conn
	socket *net.UnixConn
}

func newFramed(fd string) (stream, error) {
	n, err := strconv.Atoi(fd)
	if err != nil {
		return nil, err
	}
	conn, err := net.FileConn(os.NewFile(uintptr(n), "host"))
	if err != nil {
		return nil, err
	}
	return framed{frames.New(conn), conn.(*net.UnixConn)}, nil
}

// Send sends a message at once.
func (f framed) Send(m *wire.StreamingMessage) error {
	if err := f.Conn.Send(m); err != nil {
		return err
	}
	return f.Flush()
}

// CloseSend closes one direction.
func (f framed) CloseSend() error { return f.socket.CloseWrite() }

// program is one worker process.
type program struct {
	script Script
	args   map[string]string
	good   bool // it behaves, whatever the script says

	send   sync.Mutex
	stream stream
	busy   chan struct{} // places for functions that keep the process busy
	mu     sync.Mutex
	hung   map[string]chan struct{} // invocations that wait for a cancel
	names  map[string]string        // of functions, by id
	admits map[string]chan bool     // requests that wait for their invocation, by its id
}

func (w *program) run() error {
	time.Sleep(w.script.SlowStart)
	w.step(AtStart)
	if w.script.LeavesChild {
		if err := exec.Command("/bin/sleep", "600").Start(); err != nil {
			return err
		}
	}
	if fd := w.args["--latchkey-fd"]; fd != "" {
		var err error
		if w.stream, err = newFramed(fd); err != nil {
			return err
		}
		return w.talk()
	}
	target := strings.TrimSuffix(strings.TrimPrefix(w.args["--functions-uri"], "http://"), "/")
	if other := w.args["--host"] + ":" + w.args["--port"]; other != target {
		return fmt.Errorf("the two sets of arguments differ: %s, %s", target, other)
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if w.stream, err = wire.NewFunctionRpcClient(conn).EventStream(ctx); err != nil {
		return err
	}
	return w.talk()
}

func (w *program) talk() error {
	if w.script.HTTP {
		if err := w.listen(); err != nil {
			return err
		}
	}
	w.busy = make(chan struct{}, 8)
	w.hung, w.names = map[string]chan struct{}{}, map[string]string{}
	w.hello()
	return w.serve()
}

func (w *program) hello() {
	id := w.args["--functions-worker-id"]
	if w.script.StrangerID && !w.good {
		id = strings.Repeat("0", len(id))
	}
	if w.script.OtherFirst && !w.good {
		w.say(&wire.StreamingMessage{Content: &wire.StreamingMessage_WorkerStatusResponse{WorkerStatusResponse: &wire.WorkerStatusResponse{}}})
	}
	w.say(&wire.StreamingMessage{RequestId: w.args["--functions-request-id"],
		Content: &wire.StreamingMessage_StartStream{StartStream: &wire.StartStream{WorkerId: id}}})
	w.step(AtStream)
}

// say sends a message; a broken stream shows in Recv.
func (w *program) say(m *wire.StreamingMessage) {
	w.send.Lock()
	defer w.send.Unlock()
	_ = w.stream.Send(m)
}

func (w *program) serve() error {
	for {
		m, err := w.stream.Recv()
		if err != nil {
			return nil // the host has gone, or wants us to
		}
		w.handle(m)
	}
}

// step misbehaves if it is time for that. It reports whether to go on and answer.
func (w *program) step(name string) bool {
	if w.good {
		return true
	}
	switch name {
	case w.script.CrashAt:
		code := w.script.ExitCode
		if code == 0 {
			code = 7
		}
		fmt.Fprintln(os.Stderr, "LanguageWorkerConsoleLog[error] crashing at", name)
		os.Exit(code)
	case w.script.CloseAt:
		w.send.Lock()
		_ = w.stream.CloseSend()
		w.send.Unlock()
		return false
	case w.script.SilentAt:
		return false
	}
	return true
}

// result is a success, or the failure that the script wants at a step.
func (w *program) result(step string) *wire.StatusResult {
	if w.script.FailAt != step || w.good {
		return &wire.StatusResult{Status: wire.StatusResult_Success}
	}
	return failed(errors.New("failing at " + step))
}

func failed(err error) *wire.StatusResult {
	return &wire.StatusResult{Exception: &wire.RpcException{Message: err.Error(), StackTrace: "at thing (/app/src/thing.js:12:5)", IsUserException: true, Type: "Error"}}
}

func (w *program) handle(m *wire.StreamingMessage) {
	if w.script.Unasked {
		w.unasked()
	}
	switch c := m.Content.(type) {
	case *wire.StreamingMessage_WorkerInitRequest:
		w.init(m.RequestId, c.WorkerInitRequest)
	case *wire.StreamingMessage_FunctionsMetadataRequest:
		w.metadata(m.RequestId)
	case *wire.StreamingMessage_FunctionLoadRequest:
		w.load(m.RequestId, c.FunctionLoadRequest)
	case *wire.StreamingMessage_FunctionLoadRequestCollection:
		w.loadAll(m.RequestId, c.FunctionLoadRequestCollection)
	case *wire.StreamingMessage_InvocationRequest:
		if w.step(AtInvoke) {
			w.invoke(m.RequestId, c.InvocationRequest)
		}
	case *wire.StreamingMessage_InvocationCancel:
		w.cancel(c.InvocationCancel.GetInvocationId())
	case *wire.StreamingMessage_WorkerStatusRequest:
		if w.step(AtStatus) {
			w.say(&wire.StreamingMessage{RequestId: m.RequestId, Content: &wire.StreamingMessage_WorkerStatusResponse{WorkerStatusResponse: &wire.WorkerStatusResponse{}}})
		}
	case *wire.StreamingMessage_WorkerTerminate:
		if w.step(AtTerminate) {
			fmt.Println("terminated within", c.WorkerTerminate.GetGracePeriod().AsDuration())
			os.Exit(0)
		}
	case *wire.StreamingMessage_WorkerWarmupRequest:
		fmt.Println("warming up")
		w.say(&wire.StreamingMessage{RequestId: m.RequestId, Content: &wire.StreamingMessage_WorkerWarmupResponse{
			WorkerWarmupResponse: &wire.WorkerWarmupResponse{Result: w.result("warmup")}}})
	case *wire.StreamingMessage_FunctionEnvironmentReloadRequest:
		w.reload(m.RequestId, c.FunctionEnvironmentReloadRequest)
	}
}

// unasked sends what no host should stumble over.
func (w *program) unasked() {
	w.say(&wire.StreamingMessage{})
	w.say(&wire.StreamingMessage{Content: &wire.StreamingMessage_WorkerHeartbeat{WorkerHeartbeat: &wire.WorkerHeartbeat{}}})
	w.say(&wire.StreamingMessage{Content: &wire.StreamingMessage_StartStream{StartStream: &wire.StartStream{WorkerId: "another"}}})
	w.say(&wire.StreamingMessage{Content: &wire.StreamingMessage_FunctionLoadResponse{FunctionLoadResponse: &wire.FunctionLoadResponse{FunctionId: "nobody's"}}})
	w.say(&wire.StreamingMessage{Content: &wire.StreamingMessage_InvocationResponse{InvocationResponse: &wire.InvocationResponse{InvocationId: "nobody's"}}})
	w.say(&wire.StreamingMessage{Content: &wire.StreamingMessage_RpcLog{}})
}

func (w *program) init(id string, r *wire.WorkerInitRequest) {
	if !w.step(AtInit) {
		return
	}
	if r.GetHostVersion() == "" {
		fmt.Fprintln(os.Stderr, "error: the host does not say its version")
		os.Exit(4)
	}
	fmt.Printf("init in %q\n", r.GetFunctionAppDirectory())
	w.say(&wire.StreamingMessage{RequestId: id, Content: &wire.StreamingMessage_WorkerInitResponse{WorkerInitResponse: &wire.WorkerInitResponse{
		WorkerVersion: "1.0", Capabilities: w.script.Capabilities, Result: w.result(AtInit),
		WorkerMetadata: &wire.WorkerMetadata{RuntimeName: "go", RuntimeVersion: "1", WorkerVersion: "1.0", WorkerBitness: "x64"},
	}}})
}

func (w *program) reload(id string, r *wire.FunctionEnvironmentReloadRequest) {
	if !w.step(AtReload) {
		return
	}
	for name, value := range r.GetEnvironmentVariables() {
		_ = os.Setenv(name, value)
	}
	strategy := wire.FunctionEnvironmentReloadResponse_merge
	if w.script.Replace {
		strategy = wire.FunctionEnvironmentReloadResponse_replace
	}
	w.say(&wire.StreamingMessage{RequestId: id, Content: &wire.StreamingMessage_FunctionEnvironmentReloadResponse{
		FunctionEnvironmentReloadResponse: &wire.FunctionEnvironmentReloadResponse{
			Capabilities: w.script.Reloaded, CapabilitiesUpdateStrategy: strategy, Result: w.result(AtReload)}}})
}
