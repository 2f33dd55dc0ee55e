package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker"
	"github.com/latchkey/latchkey/internal/worker/rpc"
)

// killsSetting says how many processes are killed under load, one a second.
const killsSetting = "LATCHKEY_TEST_WORKER_KILLS"

// load invokes a function without a pause until it is stopped, from some callers
// at once. No invocation may hang; each succeeds or fails as Unavailable.
type load struct {
	t         *testing.T
	w         *rpc.Worker
	stop      chan struct{}
	all       sync.WaitGroup
	succeeded atomic.Int64
	failed    atomic.Int64
}

const callers = 4

func startLoad(t *testing.T, w *rpc.Worker) *load {
	l := &load{t: t, w: w, stop: make(chan struct{})}
	for g := range callers {
		inv := invocation(w, "pid", "")
		l.all.Go(func() { l.run(g, inv) })
	}
	return l
}

func (l *load) run(g int, inv *worker.Invocation) {
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		default:
		}
		one := *inv
		one.ID = fmt.Sprintf("load-%d-%d", g, n)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_, err := l.w.Invoke(ctx, &one)
		cancel()
		switch {
		case err == nil:
			l.succeeded.Add(1)
		case errors.Is(err, problem.Unavailable):
			l.failed.Add(1)
		default:
			l.t.Errorf("an invocation hung or failed in another way: %v", err)
			return
		}
	}
}

func (l *load) end() {
	close(l.stop)
	l.all.Wait()
}

func TestAWorkerKilledAgainAndAgainUnderLoadRecovers(t *testing.T) {
	kills, pause := 5, time.Duration(0)
	if n, err := strconv.Atoi(os.Getenv(killsSetting)); err == nil {
		kills, pause = n, time.Second
	}
	for _, overFrames := range []bool{false, true} {
		t.Run(fmt.Sprintf("frames=%v", overFrames), func(t *testing.T) {
			f := newFixture(t, "pid")
			f.cfg.Runtime.Process.Count, f.cfg.Runtime.Frames = 2, overFrames
			f.cfg.Clock = patient{} // crashes are forgiven: what is tested is each of them
			killLoop(t, f.start(t), kills, pause)
		})
	}
}

// killLoop kills one of two processes again and again.
func killLoop(t *testing.T, w *rpc.Worker, kills int, pause time.Duration) {
	until(t, "two processes that serve", func() bool { return len(served(t, w)) == 2 })
	l := startLoad(t, w)
	for n := range kills {
		time.Sleep(pause) // in the long run only: it sets the rate of crashes
		before, victim := l.succeeded.Load(), w.PIDs()[n%2]
		_ = syscall.Kill(victim, syscall.SIGKILL)
		until(t, "another process in its place", func() bool {
			pids := w.PIDs()
			return len(pids) == 2 && pids[0] != victim && pids[1] != victim
		})
		until(t, "two processes that serve", func() bool { return len(served(t, w)) == 2 })
		until(t, "invocations that succeed", func() bool { return l.succeeded.Load() > before+callers })
	}
	l.end()
	if most := int64(kills * callers); l.failed.Load() > most {
		t.Errorf("%d failed of %d: only those in progress on a killed process may, at most %d", l.failed.Load(), l.succeeded.Load(), most)
	}
	t.Logf("%d kills: %d succeeded, %d failed", kills, l.succeeded.Load(), l.failed.Load())
}

// patient is the system clock, on which pauses between restarts are short.
type patient struct{ clock.Real }

func (p patient) NewTimer(d time.Duration) clock.Timer { return p.Real.NewTimer(min(d, time.Second)) }

func TestEndsOfOneOfTwoProcesses(t *testing.T) {
	for name, code := range map[string]string{"asked to be restarted": "200", "nothing to do": "0", "out of memory in Node": "134", "out of memory, killed": "137", "error": "1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, "pid", "exit")
			f.cfg.Runtime.Process.Count = 2
			w := f.start(t)
			until(t, "two processes that serve", func() bool { return len(served(t, w)) == 2 })
			for range 8 { // more often than crashes are forgiven
				before := served(t, w)
				_, err := w.Invoke(limited(t), invocation(w, "exit", code))
				wantKind(t, err, problem.Unavailable)
				invoke(t, w, "pid", "") // the other one serves at once
				if code != "200" {
					break
				}
				until(t, "another process", func() bool { return len(served(t, w)) == 2 && fmt.Sprint(served(t, w)) != fmt.Sprint(before) })
			}
			until(t, "two processes that serve", func() bool { return len(served(t, w)) == 2 })
			if crashed := strings.Contains(strings.Join(f.logs.texts(), "\n"), "ended by itself"); crashed == (code == "200") {
				t.Errorf("exit code %s is called a crash: %v", code, crashed)
			}
		})
	}
}

func TestGrandchildrenAreGoneAfterTheStop(t *testing.T) {
	for _, how := range []string{"stop", "crash"} {
		t.Run(how, func(t *testing.T) {
			f := newFixture(t, "exit", "echo")
			f.script.LeavesChild = true
			w := f.start(t)
			pid := w.PID()
			if n := len(groupMembers(pid)); n < 2 {
				t.Fatalf("%d processes in the group: the test leaves none behind", n)
			}
			if how == "crash" {
				_, err := w.Invoke(limited(t), invocation(w, "exit", "137"))
				wantKind(t, err, problem.Unavailable)
				<-w.Exited()
			} else if err := w.Stop(limited(t)); err != nil {
				t.Fatal(err)
			}
			until(t, "the end of the process group", func() bool { return len(groupMembers(pid)) == 0 })
		})
	}
}

// groupMembers gives the processes of a group, without those that only wait to be
// taken notice of by the machine's init.
func groupMembers(group int) (members []string) {
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) > 2 && fields[2] == strconv.Itoa(group) && fields[0] != "Z" {
			members = append(members, path)
		}
	}
	return members
}
