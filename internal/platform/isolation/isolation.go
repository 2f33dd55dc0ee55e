// Package isolation owns which Linux user each app's worker runs as on this node,
// and what belongs to that user: a home, a folder for temporary files, the right
// to read the app's package, and the processes that are left of it. It does not
// know how workers are started or where packages come from.
package isolation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

// Mode says whether workers have users of their own.
type Mode string

// Modes.
const (
	Auto     Mode = "auto"     // where it is possible, which needs root
	Off      Mode = "off"      // workers run as the node's user
	Required Mode = "required" // a node that cannot do so does not start
)

// Ids of users.
const (
	// DefaultFirst begins a range that neither distributions, systemd, sssd nor the
	// usual ranges of containers (subuid) give to anybody.
	DefaultFirst = 2_100_000_000
	// Count is how many ids there are from the first one.
	Count = 1 << 16
)

// Folders in the data folder.
const (
	PackagesDir = "apps"
	HomesDir    = "homes"
	lockFile    = "homes.lock"
)

// Config says for whom ids are given. Dir is required.
type Config struct {
	Dir   string // the node's data folder, there already
	Mode  Mode   // default Auto
	First uint32 // default DefaultFirst
	Clock clock.Clock
	Log   *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.First == 0 {
		c.First = DefaultFirst
	}
	if c.Clock == nil {
		c.Clock = clock.Real{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// User is the user of an app's workers. Its group has the same id.
type User struct {
	ID   uint32
	Home string // mode 0700, for the user alone, kept until the app is deleted
	Temp string // the same, emptied when the node starts
}

// life is one life of an app on this node.
type life struct {
	name, uid string
	id        uint32
	users     int  // copies that run, or are about to
	clean     bool // what a former node left in Temp is gone
	over      bool // the app was deleted
}

// Users gives users to apps. It is safe for concurrent use; one process at a time
// has a data folder.
type Users struct {
	cfg     Config
	homes   string
	release func() // of the lock
	wake    chan struct{}

	mu    sync.Mutex // held while processes are ended, so that no new ones are
	lives map[string]*life
	taken map[uint32]bool
	idle  map[string]bool // uids whose last copy has ended since the last look
	trash []string        // folders to remove
}

// Open makes the data folder ready for workers of other users, and ends what is
// left of workers of a former node. It sets the process's umask to 077, which
// workers have from it. It gives nil where workers run as the node's
// user, having said why in the log, unless that is asked for. It returns
// problem.Unsupported if isolation is
// required and not possible, problem.Unavailable if another node has the folder.
func Open(ctx context.Context, cfg Config) (*Users, error) {
	switch cfg.Mode {
	case "", Auto, Required:
	case Off:
		return nil, nil
	default:
		return nil, problem.New(problem.Invalid, fmt.Sprintf("workers.isolation %q is none of auto, off, required", cfg.Mode))
	}
	cfg = cfg.withDefaults()
	if why := obstacle(cfg); why != nil {
		if cfg.Mode == Required {
			return nil, problem.Wrap(problem.Unsupported, "workers cannot have users of their own, and workers.isolation is required", why).
				WithNext(problem.NextOf(why))
		}
		cfg.Log.Warn("apps are not isolated: all run as the node's user, and the code of each can read the data folder and the other apps; run only apps that may",
			"reason", why, "next", problem.NextOf(why))
		return nil, nil
	}
	u := &Users{
		cfg: cfg, homes: filepath.Join(cfg.Dir, HomesDir), wake: make(chan struct{}, 1),
		lives: map[string]*life{}, taken: map[uint32]bool{}, idle: map[string]bool{},
	}
	syscall.Umask(0o077)
	if err := u.lock(ctx); err != nil {
		return nil, err
	}
	if err := u.load(); err != nil {
		u.Close()
		return nil, problem.Wrap(problem.Unavailable, "the folders of workers cannot be made", err)
	}
	return u, nil
}

// lockPatience is how long the lock of a node that ends is waited for.
const lockPatience = 10 * time.Second

func (u *Users) lock(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	u.release, err = atomicfile.NewLock(filepath.Join(u.cfg.Dir, lockFile)).Acquire(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return problem.New(problem.Unavailable, "another node runs on the data folder "+u.cfg.Dir).
			WithNext("give each node a data folder of its own")
	}
	return err
}

// Close lets another node have the folder. It is called when no worker runs.
func (u *Users) Close() { u.release() }

// load reads whose ids are given: a home belongs to the group of its id.
func (u *Users) load() error {
	for _, dir := range []string{filepath.Join(u.cfg.Dir, PackagesDir), u.homes} {
		if err := atomicfile.MakeDir(dir); err != nil {
			return err
		}
		if err := os.Chmod(dir, passable); err != nil {
			return err
		}
	}
	if err := os.Chmod(u.cfg.Dir, passable); err != nil {
		return err
	}
	entries, err := os.ReadDir(u.homes)
	if err != nil {
		return err
	}
	for _, e := range entries {
		l, ok := u.read(e.Name())
		if !ok || u.taken[l.id] {
			if err := u.discard(filepath.Join(u.homes, e.Name())); err != nil {
				return err
			}
			continue
		}
		u.lives[l.uid], u.taken[l.id] = l, true
	}
	return endProcesses(u.taken)
}

// read reads a life from its home, <name>.<uid>.
func (u *Users) read(entry string) (*life, bool) {
	name, uid, ok := strings.Cut(entry, ".")
	id, err := groupOf(filepath.Join(u.homes, entry))
	return &life{name: name, uid: uid, id: id}, ok && name != "" && uid != "" && err == nil && u.inRange(id)
}

func (u *Users) inRange(id uint32) bool { return id >= u.cfg.First && id-u.cfg.First < Count }

func (u *Users) folder(l *life) string { return filepath.Join(u.homes, l.name+"."+l.uid) }

// Take gives the user of an app in one of its lives: the same one each time, and
// no two apps the same. The caller calls release once no worker of its runs. It
// returns problem.Unavailable if there is no id left or its folders cannot be
// made.
func (u *Users) Take(name, uid string) (user User, release func(), err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	l := u.lives[uid]
	if l == nil {
		if l, err = u.add(strings.ToLower(name), uid); err != nil {
			return user, nil, problem.Wrap(problem.Unavailable, "the app cannot get a user of its own", err)
		}
	}
	if l.over {
		return user, nil, problem.New(problem.Unavailable, "the app was deleted")
	}
	user = User{ID: l.id, Home: filepath.Join(u.folder(l), "home"), Temp: filepath.Join(u.folder(l), "tmp")}
	if !l.clean {
		if err := u.clean(l, user.Temp); err != nil {
			return user, nil, problem.Wrap(problem.Unavailable, "the app's temporary files cannot be cleared", err)
		}
	}
	l.users++
	delete(u.idle, uid)
	return user, sync.OnceFunc(func() { u.leave(l) }), nil
}

// clean takes away what a former node's workers left in a life's folder for
// temporary files.
func (u *Users) clean(l *life, temp string) error {
	if err := u.discard(temp); err != nil {
		return err
	}
	if err := makeOwn(temp, l.id); err != nil {
		return err
	}
	l.clean = true
	return nil
}

// discard moves a folder out of the way; it is removed when nobody waits. Callers
// hold mu, or are the only ones to know u.
func (u *Users) discard(dir string) error {
	away := filepath.Join(u.homes, tempHome+rand.Text())
	err := os.Rename(dir, away)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		u.trash = append(u.trash, away)
		u.kick()
	}
	return err
}

// add gives an id to a new life.
func (u *Users) add(name, uid string) (*life, error) {
	if strings.ContainsAny(name+uid, "/.") || name == "" || uid == "" {
		return nil, problem.New(problem.Internal, "the app has no usable name")
	}
	id, err := u.choose()
	if err != nil {
		return nil, err
	}
	l := &life{name: name, uid: uid, id: id, clean: true}
	if err := makeHome(u.homes, u.folder(l), id); err != nil {
		return nil, err
	}
	u.lives[uid], u.taken[id] = l, true
	return l, nil
}

func (u *Users) leave(l *life) {
	u.mu.Lock()
	if l.users--; l.users == 0 {
		u.idle[l.uid] = true
	}
	u.mu.Unlock()
	u.kick()
}

// kick makes Run look.
func (u *Users) kick() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}
