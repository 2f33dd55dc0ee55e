package child

import (
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/internal/problem"
)

// Credential is the user a handler runs as when it is not our own: a number is
// enough, no account needs to have it. The process gets no further groups, no
// capability and no way to gain one (no_new_privs), and a session without a
// terminal. Its umask is ours. Only root can start such a process.
type Credential struct {
	UID, GID uint32 // neither is 0
}

// attributes says how the kernel is to start a process for a credential; nil is
// our own.
func attributes(as *Credential) *syscall.SysProcAttr {
	// The kernel forgets the parent-death signal with a change of credentials; the
	// child asks for it after that.
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if as != nil {
		// A new session is also a new group. Without one, a handler could type into
		// the terminal root sits at.
		a.Setpgid, a.Setsid = false, true
		a.Credential = &syscall.Credential{Uid: as.UID, Gid: as.GID} // no groups
	}
	return a
}

// start starts cmd on this goroutine's thread, which is locked. For a credential
// the thread is changed first, since a child has from its thread what cannot be
// said in attributes; the thread must then not be used for anything else.
func start(cmd *exec.Cmd, as *Credential) error {
	if as == nil {
		return cmd.Start()
	}
	if as.UID == 0 || as.GID == 0 {
		return problem.New(problem.Internal, "a handler's user must not be root")
	}
	if err := confine(); err != nil {
		return problem.Wrap(problem.Unavailable, "the handler's process cannot be kept from gaining rights", err)
	}
	return cmd.Start()
}

// confine takes from this thread, and so from its children, what a change of user
// would leave: the way to more rights by setuid programs, and capabilities to be
// inherited.
func confine() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return err
	}
	caps[0].Inheritable, caps[1].Inheritable = 0, 0
	return unix.Capset(&header, &caps[0])
}

// unlock gives the thread back, unless it was changed for a credential: then it
// ends with its goroutine.
func unlock(as *Credential) {
	if as == nil {
		runtime.UnlockOSThread()
	}
}
