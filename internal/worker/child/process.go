// Package child owns worker processes: starting one as the leader of a process
// group of its own, with or without another user's rights, reading its outputs
// line by line, and taking care that nothing of it stays behind. It does not know
// what a process is for, nor when to start it again.
package child

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

// Command is a process to start.
type Command struct {
	Path  string // absolute
	Args  []string
	Dir   string
	Env   []string    // all of it: nothing of our own environment is inherited
	Files []*os.File  // open ones that it gets as descriptors 3 and up
	As    *Credential // nil: our own user
}

// Process is one running process group.
type Process struct {
	pid  int
	done chan struct{} // closed when the process is reaped and its group killed
	exit worker.Exit   // valid after done

	mu     sync.Mutex // held while signalling and while reaping
	reaped bool       // the group id may belong to somebody else now

	outputs []*os.File     // our ends of its output pipes
	pumps   sync.WaitGroup // the goroutines reading them
}

// Start starts c as the leader of a process group of its own. Every line of its
// outputs goes to console, from one goroutine per output. The error is the
// kernel's. The goroutine that owns the process starts it, ends with it and keeps
// its OS thread meanwhile: the kernel sends the parent-death signal when the
// thread that started the child ends, not the whole process.
func Start(c Command, console func(Stream, string)) (*Process, error) {
	p := &Process{done: make(chan struct{})}
	cmd := &exec.Cmd{Path: c.Path, Args: append([]string{c.Path}, c.Args...), Dir: c.Dir, Env: c.Env, ExtraFiles: c.Files, SysProcAttr: attributes(c.As)}
	childEnds, err := p.openPipes(cmd)
	if err != nil {
		return nil, err
	}
	started := make(chan error)
	go p.own(cmd, c.As, started)
	err = <-started
	closeAll(childEnds)
	if err != nil {
		closeAll(p.outputs)
		return nil, err
	}
	p.pump(p.outputs[0], func(line string) { console(Stdout, line) })
	p.pump(p.outputs[1], func(line string) { console(Stderr, line) })
	return p, nil
}

// PID gives the process id, which is the group's too.
func (p *Process) PID() int { return p.pid }

// Done is closed when the process has ended and its group was killed.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit says how the process ended, without its last lines; valid after Done.
func (p *Process) Exit() worker.Exit { return p.exit }

func (p *Process) openPipes(cmd *exec.Cmd) (childEnds []*os.File, err error) {
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
func (p *Process) own(cmd *exec.Cmd, as *Credential, started chan<- error) {
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

// Terminate asks the group to end; after its end nothing happens.
func (p *Process) Terminate() { p.signal(syscall.SIGTERM) }

// Kill ends the group; after its end nothing happens.
func (p *Process) Kill() { p.signal(syscall.SIGKILL) }

func (p *Process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = syscall.Kill(-p.pid, sig)
	}
}

// pump reads lines from r in a goroutine that ends with r.
func (p *Process) pump(r *os.File, line func(string)) {
	p.pumps.Go(func() { ReadLines(r, line) })
}

// FinishOutput waits for the rest of the output, at most drainTime, and closes
// the pipes.
func (p *Process) FinishOutput(c clock.Clock) {
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
