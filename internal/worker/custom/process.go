package custom

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/worker"
)

// drainTime is how long output may still arrive after the process group is
// gone: a process that left the group can hold the pipe open for ever.
const drainTime = time.Second

// process is one running process group.
type process struct {
	pid  int
	done chan struct{} // closed when the process is reaped and its group killed
	exit worker.Exit   // valid after done

	mu     sync.Mutex // held while signalling and while reaping
	reaped bool       // the group id may belong to somebody else now

	outputs []*os.File     // our ends of its output pipes
	pumps   sync.WaitGroup // the goroutines reading them
}

// startProcess starts c as the leader of a process group of its own. Every line
// of output goes to console. The goroutine that owns the process starts it, ends
// with it and keeps its OS thread meanwhile: the kernel sends the parent-death
// signal when the thread that started the child ends, not the whole process.
func startProcess(c command, console func(stream, string)) (*process, error) {
	p := &process{done: make(chan struct{})}
	cmd := &exec.Cmd{Path: c.path, Args: append([]string{c.path}, c.args...), Dir: c.dir, Env: c.env, SysProcAttr: attributes(c.as)}
	childEnds, err := p.openPipes(cmd)
	if err != nil {
		return nil, startError(c, err)
	}
	started := make(chan error)
	go p.own(cmd, c.as, started)
	err = <-started
	closeAll(childEnds)
	if err != nil {
		closeAll(p.outputs)
		return nil, startError(c, err)
	}
	p.pump(p.outputs[0], func(line string) { console(stdout, line) })
	p.pump(p.outputs[1], func(line string) { console(stderr, line) })
	return p, nil
}

func (p *process) openPipes(cmd *exec.Cmd) (childEnds []*os.File, err error) {
	for range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(childEnds)
			closeAll(p.outputs)
			return nil, err
		}
		p.outputs, childEnds = append(p.outputs, r), append(childEnds, w)
	}
	cmd.Stdout, cmd.Stderr = childEnds[0], childEnds[1]
	return childEnds, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// own starts cmd, waits for its end, kills what is left of the group and reaps.
func (p *process) own(cmd *exec.Cmd, as *Credential, started chan<- error) {
	runtime.LockOSThread()
	defer unlock(as)
	if err := start(cmd, as); err != nil {
		started <- err
		return
	}
	p.pid = cmd.Process.Pid
	started <- nil
	awaitExit(p.pid)
	p.mu.Lock()
	// The unreaped leader keeps the group's id from being given to another one.
	_ = syscall.Kill(-p.pid, syscall.SIGKILL)
	_ = cmd.Wait()
	p.reaped = true
	p.mu.Unlock()
	p.exit = exitOf(cmd.ProcessState)
	close(p.done)
}

// awaitExit waits until pid ended, without reaping it.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func exitOf(state *os.ProcessState) worker.Exit {
	status, ok := state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return worker.Exit{Code: -1, Signal: status.Signal().String()}
	}
	return worker.Exit{Code: state.ExitCode()}
}

// terminate asks the group to end; kill ends it.
func (p *process) terminate() { p.signal(syscall.SIGTERM) }
func (p *process) kill()      { p.signal(syscall.SIGKILL) }

func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = syscall.Kill(-p.pid, sig)
	}
}

// pump reads lines from r in a goroutine that ends with r.
func (p *process) pump(r *os.File, line func(string)) {
	p.pumps.Go(func() { readLines(r, line) })
}

// finishOutput waits for the rest of the output, at most drainTime, and closes
// the pipes.
func (p *process) finishOutput(c clock.Clock) {
	drained := make(chan struct{})
	go func() { p.pumps.Wait(); close(drained) }()
	t := c.NewTimer(drainTime)
	defer t.Stop()
	select {
	case <-drained:
	case <-t.C():
	}
	closeAll(p.outputs) // ends pumps that still read
	<-drained
}
