package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/latchkey/latchkey/internal/engine"
	"github.com/latchkey/latchkey/internal/engine/supervise"
	"github.com/latchkey/latchkey/internal/problem"
)

func (s *site) get(id string) (*running, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.running[id]; r != nil {
		return r, nil
	}
	return nil, problem.New(problem.NotFound, "there is no "+id)
}

// Wait returns when a process group ended.
func (s *site) Wait(ctx context.Context, id string) (engine.Exit, error) {
	r, err := s.get(id)
	if err != nil {
		return engine.Exit{}, err
	}
	select {
	case <-r.proc.Done():
	case <-ctx.Done():
		return engine.Exit{}, ctx.Err()
	}
	code := r.proc.Exit().Code
	if code < 0 {
		code = 137 // as container engines say it of a process that was killed
	}
	return engine.Exit{Code: code, At: s.cfg.Clock.Now()}, nil
}

// Stop asks a process group to end and kills it after grace.
func (s *site) Stop(ctx context.Context, id string, grace time.Duration) error {
	r, err := s.get(id)
	if err != nil {
		return nil // it is not there any more
	}
	if grace > 0 {
		r.proc.Terminate()
	}
	t := s.cfg.Clock.NewTimer(grace)
	defer t.Stop()
	select {
	case <-r.proc.Done():
		return nil
	case <-t.C():
	case <-ctx.Done():
	}
	r.proc.Kill()
	killed := s.cfg.Clock.NewTimer(stopPatience)
	defer killed.Stop()
	select {
	case <-r.proc.Done():
		return ctx.Err()
	case <-killed.C():
		return problem.New(problem.Unavailable, id+" does not end although it was killed")
	}
}

// Addresses tells which port of this machine each port of a replica is.
func (s *site) Addresses(_ context.Context, replica string) (map[int]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.ports[replica]), nil
}

// Environment gives what a process was started with.
func (s *site) Environment(_ context.Context, id string) ([]engine.Env, error) {
	r, err := s.get(id)
	if err != nil {
		return nil, err
	}
	return slices.Clone(r.env), nil
}

// Remove ends everything of a replica, also what left its process group, and
// removes its files.
func (s *site) Remove(ctx context.Context, replica string) error {
	if replica == "" || replica != filepath.Base(replica) {
		return problem.New(problem.Invalid, "no replica has such a name")
	}
	for _, r := range s.of(replica) {
		if err := s.endContainer(context.WithoutCancel(ctx), replica, r.found.Container); err != nil {
			return err
		}
	}
	killMarked(replica)
	if err := os.RemoveAll(filepath.Join(s.dir, replica)); err != nil {
		return problem.Wrap(problem.Unavailable, "the files of replica "+replica+" cannot be removed", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ports, replica)
	return nil
}

// killMarked kills processes that carry the mark of a replica, wherever they went.
func killMarked(replica string) {
	mark := []byte("\x00" + marker + "=" + replica + "\x00")
	paths, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, p := range paths {
		env, err := os.ReadFile(p)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(p)))
		if err == nil && pid > 1 && pid != os.Getpid() && bytes.Contains(append([]byte{0}, env...), mark) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// List gives what is written down, and whether it runs, and folders of replicas that
// a crash left before anything was.
func (s *site) List(context.Context) ([]supervise.Found, error) {
	notes, err := filepath.Glob(filepath.Join(s.dir, "*", "*"+noteSuffix))
	if err != nil {
		return nil, problem.Wrap(problem.Internal, "the folder of the process engine cannot be listed", err)
	}
	var out []supervise.Found
	told := map[string]bool{}
	for _, path := range notes {
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue
		} else if err != nil {
			return nil, problem.Wrap(problem.Unavailable, "a note about a container cannot be read", err)
		}
		var f supervise.Found
		if json.Unmarshal(text, &f) != nil {
			continue // torn by a crash; its folder is told of below
		}
		f.Running = false
		if r, err := s.get(f.ID); err == nil && r.found.Replica == f.Replica {
			f.Running = r.runs()
		}
		told[f.Replica] = true
		out = append(out, f)
	}
	return append(out, s.left(told)...), nil
}

// left gives the folders of replicas of before that no note tells of.
func (s *site) left(told map[string]bool) (out []supervise.Found) {
	folders, _ := filepath.Glob(filepath.Join(s.dir, "*"))
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range folders {
		name := filepath.Base(f)
		if _, ours := s.ports[name]; !ours && !told[name] { // what is being started has its ports first
			out = append(out, supervise.Found{Object: engine.Object{Replica: name, Kind: "folder", ID: name}})
		}
	}
	return out
}

// Logs copies what a process wrote.
func (s *site) Logs(ctx context.Context, id string, opts engine.LogOptions, w io.Writer) error {
	r, err := s.get(id)
	if err != nil {
		return err
	}
	return r.log.Copy(ctx, opts, w)
}

// Exec runs a command where the container's own runs.
func (s *site) Exec(ctx context.Context, id string, cmd engine.Exec) (int, error) {
	r, err := s.get(id)
	switch {
	case err != nil:
		return 0, err
	case cmd.TTY:
		return 0, problem.New(problem.Unsupported, "the process engine gives no terminal").WithNext("run the command without one")
	case !r.runs():
		return 0, problem.New(problem.Conflict, "the container does not run")
	}
	path, err := find(r.cmd.Dir, cmd.Command[0])
	if err != nil {
		return 0, engine.Fail(engine.ReasonCommand, problem.Wrap(problem.Invalid, "the command cannot be executed", err))
	}
	c := exec.CommandContext(ctx, path, cmd.Command[1:]...)
	c.Dir, c.Env, c.Stdin, c.Stdout, c.Stderr = r.cmd.Dir, r.cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	err = c.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return exit.ExitCode(), nil
	case errors.Is(err, exec.ErrWaitDelay): // it ended while nobody had typed to its end
		return 0, nil
	case err != nil:
		return 0, engine.Fail(engine.ReasonCommand, problem.Wrap(problem.Invalid, "the command cannot be executed", err))
	}
	return 0, nil
}
