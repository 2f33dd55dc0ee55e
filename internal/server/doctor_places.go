package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/web"
)

// data looks at the data folder.
func (e *examination) data() {
	dir := e.cfg.DataDir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.newData(dir)
	case err != nil:
		e.fail(checkData, problem.Wrap(problem.Unavailable, "the data folder cannot be read", err), asOwner+", or choose another with --data-dir")
	case !info.IsDir():
		e.add(checkData, CheckFailed, dir+" is not a folder", "move it aside, or choose another data folder with --data-dir")
	case syscall.Access(dir, writable) != nil:
		e.add(checkData, CheckWarn, dir+" cannot be written: keys can be used, but not made or changed", "make it writable for the user that runs the app")
	default:
		e.ok(checkData, "%s", dir)
	}
	e.modes(dir)
}

// writable is W_OK and X_OK of access(2).
const writable = 0x2 | 0x1

// newData says whether a start could make the data folder.
func (e *examination) newData(dir string) {
	above := dir
	for !exists(above) && above != filepath.Dir(above) {
		above = filepath.Dir(above)
	}
	if info, err := os.Stat(above); err != nil || !info.IsDir() || syscall.Access(above, writable) != nil {
		e.add(checkData, CheckFailed, fmt.Sprintf("the data folder %s is not there, and %s cannot be written to make it", dir, above),
			"choose another with --data-dir, or make it writable for the user that runs the app")
		return
	}
	e.ok(checkData, "%s is not there yet; the first start makes it", dir)
}

// modes warns of what other users can read. The sealing key matters most: with
// it, copies of the sealed keys can be read.
func (e *examination) modes(dir string) {
	for _, path := range []string{dir, filepath.Join(dir, "seal"), filepath.Join(dir, "seal", "kek"), filepath.Join(dir, "seal", "keyset.json")} {
		info, err := os.Stat(path)
		open := fs.FileMode(0o077)
		if path == dir {
			open = 0o066 // latchkey up lets the users of isolated apps pass through; what is secret in it is closed
		}
		if err == nil && info.Mode().Perm()&open != 0 {
			e.add(checkData, CheckWarn, fmt.Sprintf("%s is open to other users (mode %04o)", path, info.Mode().Perm()), "run chmod go-rwx "+path)
		}
	}
}

// port finds out whether a start could listen.
func (e *examination) port(ctx context.Context) {
	host, port := localHost(e.cfg), localPort(e.cfg)
	l, err := web.Listen(ctx, host, port)
	switch {
	case err == nil:
		_ = l.Close() // nothing was sent
		e.ok(checkPort, "port %d is free on %s", port, host)
	case errors.Is(err, syscall.EADDRINUSE):
		e.add(checkPort, CheckWarn, fmt.Sprintf("port %d is taken; that is fine if the app is running", port), problem.NextOf(err))
	default:
		e.fail(checkPort, err, "")
	}
}
