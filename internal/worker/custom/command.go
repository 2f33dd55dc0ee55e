package custom

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker/child"
)

const (
	loopback          = "127.0.0.1"
	executableSetting = "host.json customHandler.description.defaultExecutablePath"
)

// resolve finds the executable and puts the command line together: arguments,
// the worker path if there is one, worker arguments. Nothing else is added.
func resolve(root string, h *funcapp.CustomHandler, env map[string]string) (child.Command, error) {
	path, err := LookUp(root, h, pathVariable(env))
	if err != nil {
		return child.Command{}, err
	}
	c := child.Command{Path: path, Dir: h.WorkingDirectory}
	if c.Dir == "" {
		c.Dir = root
	}
	c.Args = append(c.Args, h.Arguments...)
	if h.WorkerPath != "" {
		c.Args = append(c.Args, h.WorkerPath)
	}
	c.Args = append(c.Args, h.WorkerArguments...)
	return c, checkDirectory(c.Dir)
}

func checkDirectory(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && info.IsDir() {
		return nil
	}
	return problem.New(problem.Unavailable, "the custom handler's working directory "+dir+" is not a directory").
		WithNext("create it or change host.json customHandler.description.workingDirectory")
}

// LookUp finds the executable: an absolute path as it is; else the file below
// the worker directory or the app root when there is one; else, for a bare
// name, the absolute folders of the search path. Errors are problem.Unavailable
// and say where was looked.
func LookUp(root string, h *funcapp.CustomHandler, searchPath string) (string, error) {
	if h.Executable == "" {
		return "", problem.New(problem.Unavailable, executableSetting+" is empty").
			WithNext("name the program that serves the functions")
	}
	local := localCandidates(root, h)
	for _, path := range local {
		if !isFile(path) {
			continue
		}
		if !isExecutable(path) {
			return "", notExecutable(path)
		}
		return path, nil
	}
	listed := pathCandidates(h.Executable, searchPath)
	for _, path := range listed {
		if isFile(path) && isExecutable(path) {
			return path, nil
		}
	}
	tried := strings.Join(local, ", ")
	if len(listed) > 0 {
		tried += fmt.Sprintf(" and the folders of PATH, %d in all", len(listed))
	}
	return "", problem.New(problem.Unavailable, fmt.Sprintf("%s is %q, and there is no such program; tried %s",
		executableSetting, h.Executable, tried)).
		WithNext("build the handler, or correct the path (relative to the app folder, or a program on PATH)")
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}

func localCandidates(root string, h *funcapp.CustomHandler) []string {
	if filepath.IsAbs(h.Executable) {
		return []string{h.Executable}
	}
	below := filepath.Join(root, h.Executable)
	if h.WorkerDirectory == "" {
		return []string{below}
	}
	if p := filepath.Join(rooted(root, h.WorkerDirectory), h.Executable); p != below {
		return []string{p, below}
	}
	return []string{below}
}

// pathCandidates lists where the search path may have a bare name. A relative
// entry is skipped: it would run whatever the working directory holds.
func pathCandidates(name, searchPath string) []string {
	var found []string
	if strings.ContainsRune(name, filepath.Separator) {
		return nil
	}
	for _, dir := range filepath.SplitList(searchPath) {
		if filepath.IsAbs(dir) {
			found = append(found, filepath.Join(dir, name))
		}
	}
	return found
}

func rooted(root, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(root, path)
}

func notExecutable(path string) error {
	return problem.New(problem.Unavailable, fmt.Sprintf("%s: %s is not executable", executableSetting, path)).
		WithNext("run chmod +x " + path)
}

// startError explains why the kernel refused to run the file.
func startError(c child.Command, err error) error {
	e := problem.Wrap(problem.Unavailable, fmt.Sprintf("%s: cannot run %s", executableSetting, c.Path), err)
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return e.WithNext("it is not a program for this machine; a script needs a first line such as #!/usr/bin/env node")
	case errors.Is(err, fs.ErrNotExist):
		return e.WithNext("the interpreter or loader it asks for is missing on this machine")
	case errors.Is(err, fs.ErrPermission) && c.As != nil:
		return e.WithNext(fmt.Sprintf("the app runs as user %d, which is no account: the file, its interpreter and %s must be open to every user (mode and folders), or be part of the package",
			c.As.UID, c.Dir))
	case errors.Is(err, fs.ErrPermission):
		return e.WithNext("the file or its folder does not permit running it (mode, owner or a noexec mount)")
	}
	return e
}

// environ gives base with the additions, which win, in a stable order.
func environ(base, additions map[string]string) []string {
	env := make([]string, 0, len(base)+len(additions))
	for k, v := range base {
		if _, replaced := additions[k]; !replaced {
			env = append(env, k+"="+v)
		}
	}
	for k, v := range additions {
		env = append(env, k+"="+v)
	}
	sort.Strings(env)
	return env
}

// choosePort gives the port the handler is to listen on: the fixed one if it is
// free, or any free one. The port is not held, so another process can take it
// before the handler does; the handler then fails to bind and says so.
func choosePort(fixed int) (int, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", loopback, fixed))
	if err != nil && fixed != 0 {
		return 0, problem.Wrap(problem.Unavailable,
			fmt.Sprintf("port %d from host.json customHandler.port is not free on %s", fixed, loopback), err).
			WithNext("end the process that listens there, choose another port, or remove customHandler.port to get a free one")
	}
	if err != nil {
		return 0, problem.Wrap(problem.Unavailable, "no free port on "+loopback+" for the custom handler", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
