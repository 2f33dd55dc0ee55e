package isolation

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/internal/problem"
)

// choose gives an id that no app has, no account, and no process on the machine:
// another node may use the same range.
func (u *Users) choose() (uint32, error) {
	running, err := processes()
	if err != nil {
		return 0, err
	}
	if len(u.taken) >= Count {
		return 0, problem.New(problem.Unavailable, fmt.Sprintf("all %d ids are given", Count))
	}
	busy := map[uint32]bool{}
	for _, p := range running {
		for _, id := range p.ids {
			busy[id] = true
		}
	}
	// Somewhere in the range, so that an id that became free is not soon used again.
	var b [2]byte
	_, _ = rand.Read(b[:])
	start := uint32(binary.LittleEndian.Uint16(b[:]))
	for i := range uint32(Count) {
		id := u.cfg.First + (start+i)%Count
		if !u.taken[id] && !busy[id] {
			return id, nil
		}
	}
	return 0, problem.New(problem.Unavailable, fmt.Sprintf("all %d ids are given", Count))
}

// process is a process with its real, effective, saved and file system user.
type process struct {
	pid int
	ids []uint32
}

func (p process) isOf(ids map[uint32]bool) bool {
	for _, id := range p.ids {
		if ids[id] {
			return true
		}
	}
	return false
}

// processes lists those of the machine. One that ends meanwhile is left out.
func processes() ([]process, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	_ = dir.Close()
	if err != nil {
		return nil, err
	}
	var list []process
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			if ids := usersOf(pid); ids != nil {
				list = append(list, process{pid, ids})
			}
		}
	}
	return list, nil
}

// usersOf gives the users of a process; nil if it is gone or a zombie.
func usersOf(pid int) []uint32 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil
	}
	return parseStatus(text)
}

func parseStatus(text []byte) (ids []uint32) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		name, value, _ := bytes.Cut(lines.Bytes(), []byte(":"))
		fields := bytes.Fields(value)
		switch {
		case string(name) == "State" && len(fields) > 0 && string(fields[0]) == "Z":
			return nil
		case string(name) == "Uid":
			for _, f := range fields {
				if id, err := strconv.ParseUint(string(f), 10, 32); err == nil {
					ids = append(ids, uint32(id))
				}
			}
			return ids
		}
	}
	return nil
}

// Looks for processes that are about to end, or were started by such: how many,
// and how long the kernel gets before each.
const (
	rounds = 200
	pause  = 10 // milliseconds
)

// endProcesses kills all processes of users, also such that left their group. None
// of them is started by us meanwhile.
func endProcesses(ids map[uint32]bool) error {
	if len(ids) == 0 {
		return nil
	}
	for range rounds {
		list, err := processes()
		if err != nil {
			return err
		}
		found := false
		for _, p := range list {
			if p.isOf(ids) {
				found = true
				kill(p.pid, ids)
			}
		}
		if !found {
			return nil
		}
		_, _ = unix.Poll(nil, pause)
	}
	return problem.New(problem.Unavailable, "processes of apps that ended are still there")
}

// kill kills a process if it still is one of the users': its number could be
// another's by now.
func kill(pid int, ids map[uint32]bool) {
	p, err := os.FindProcess(pid)
	if err != nil {
		return
	}
	defer func() { _ = p.Release() }()
	if (process{pid, usersOf(pid)}).isOf(ids) {
		_ = p.Kill()
	}
}
