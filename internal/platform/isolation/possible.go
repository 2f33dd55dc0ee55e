package isolation

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/internal/problem"
)

// obstacle says why workers cannot have users of their own here; nil if they can.
func obstacle(cfg Config) error {
	if os.Geteuid() != 0 {
		return problem.New(problem.Unsupported, "this node does not run as root").
			WithNext("run it as root, for example as a system service, or set workers.isolation to off")
	}
	for _, check := range []func(Config) error{checkRange, checkCapabilities, checkIDs, checkPath, checkProc} {
		if err := check(cfg); err != nil {
			return err
		}
	}
	return nil
}

func checkRange(cfg Config) error {
	if cfg.First < 1000 || uint64(cfg.First)+Count > 1<<32-2 {
		return problem.New(problem.Unsupported, fmt.Sprintf("workers.firstId %d begins no range of %d ids for users", cfg.First, Count)).
			WithNext("choose one that nobody else uses, or leave it out")
	}
	return nil
}

// needed are the capabilities of root that a container may have taken away.
var needed = map[string]uint{
	"CAP_CHOWN": unix.CAP_CHOWN, "CAP_DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "CAP_FOWNER": unix.CAP_FOWNER,
	"CAP_KILL": unix.CAP_KILL, "CAP_SETGID": unix.CAP_SETGID, "CAP_SETUID": unix.CAP_SETUID,
}

func checkCapabilities(Config) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return err
	}
	for name, c := range needed {
		if caps[c/32].Effective&(1<<(c%32)) == 0 {
			return problem.New(problem.Unsupported, "this node has no "+name).WithNext("give the service or container that capability")
		}
	}
	return nil
}

// checkIDs looks whether the ids exist in this user namespace.
func checkIDs(cfg Config) error {
	for _, path := range []string{"/proc/self/uid_map", "/proc/self/gid_map"} {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		ok := mapped(f, cfg.First)
		_ = f.Close()
		if !ok {
			return problem.New(problem.Unsupported, fmt.Sprintf("ids %d to %d do not exist in this container (%s)", cfg.First, uint64(cfg.First)+Count-1, path)).
				WithNext("choose workers.firstId so that the ids are in its range, or give the container a larger one")
		}
	}
	return nil
}

// mapped reports whether a range of the map of a namespace has all ids.
func mapped(m io.Reader, first uint32) bool {
	for lines := bufio.NewScanner(m); lines.Scan(); {
		var inside, outside, count uint64
		if _, err := fmt.Sscan(lines.Text(), &inside, &outside, &count); err != nil {
			return false
		}
		if inside <= uint64(first) && uint64(first)+Count <= inside+count {
			return true
		}
	}
	return false
}

// checkPath looks whether workers can get to the data folder, and whether nobody
// but root can put another folder in its place.
func checkPath(cfg Config) error {
	real, err := filepath.EvalSymlinks(cfg.Dir)
	if err != nil {
		return err
	}
	for _, dir := range []string{filepath.Dir(cfg.Dir), real} {
		for {
			if err := checkFolder(dir, dir != real); err != nil {
				return err
			}
			if dir == filepath.Dir(dir) {
				break
			}
			dir = filepath.Dir(dir)
		}
	}
	return nil
}

// checkFolder checks one folder of the way; above says that it is not the data
// folder, whose mode is ours to set.
func checkFolder(dir string, above bool) error {
	const next = "choose a data folder such as /var/lib/latchkey"
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	mode, st := info.Mode(), info.Sys().(*syscall.Stat_t)
	switch {
	case st.Uid != 0:
		return problem.New(problem.Unsupported, fmt.Sprintf("folder %s belongs to user %d, who could put other files in place of the node's", dir, st.Uid)).WithNext(next)
	case mode.Perm()&0o022 != 0 && mode&fs.ModeSticky == 0:
		return problem.New(problem.Unsupported, fmt.Sprintf("others may write to folder %s (mode %04o)", dir, mode.Perm())).WithNext(next)
	case above && mode.Perm()&0o001 == 0:
		return problem.New(problem.Unsupported, fmt.Sprintf("other users cannot pass through folder %s (mode %04o) to the apps' files", dir, mode.Perm())).WithNext(next)
	}
	return nil
}

// checkProc looks whether processes and sockets can be seen.
func checkProc(Config) error {
	for _, path := range []string{"/proc/self/status", "/proc/self/net/tcp"} {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		_ = f.Close()
	}
	return nil
}
