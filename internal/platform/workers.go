package platform

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/app"
	"github.com/latchkey/latchkey/internal/platform/isolation"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/worker/child"
)

// openWorkers finds out whether workers get users of their own, and makes the data
// folder ready for that.
func (n *Node) openWorkers(ctx context.Context) (err error) {
	n.users, err = isolation.Open(ctx, isolation.Config{
		Dir: n.cfg.DataDir, Mode: isolation.Mode(n.cfg.Workers.Isolation), First: n.cfg.Workers.FirstID, Clock: n.cfg.Clock, Log: n.log,
	})
	if err == nil && n.users != nil {
		n.onClose(n.users.Close)
	}
	return err
}

// keepUsers clears up after apps that ended or were deleted.
func (n *Node) keepUsers(ctx context.Context) {
	if n.users != nil {
		n.users.Run(ctx, n.isGone)
	}
}

// isGone reports whether a life of an app is over for sure.
func (n *Node) isGone(ctx context.Context, name, uid string) bool {
	a, err := n.apps.ByName(ctx, name)
	if err != nil {
		return errors.Is(err, problem.NotFound)
	}
	return a.UID != uid || a.Deleting
}

// takeUser gives the user of an app's workers, nil for the node's own. The caller
// calls leave once its worker has ended.
func (n *Node) takeUser(a app.App) (user *isolation.User, leave func(), err error) {
	if n.users == nil {
		return nil, func() {}, nil
	}
	u, leave, err := n.users.Take(a.Name, a.UID)
	return &u, leave, err
}

// grant lets a user read an unpacked package.
func (n *Node) grant(user *isolation.User, dir string) error {
	if user == nil {
		return nil
	}
	return n.users.Grant(*user, dir)
}

func credential(user *isolation.User) *child.Credential {
	if user == nil {
		return nil
	}
	return &child.Credential{UID: user.ID, GID: user.ID}
}

// publish opens a file in the data folder that every worker is to read.
func (n *Node) publish(path string) error {
	if n.users == nil {
		return nil
	}
	return os.Chmod(path, 0o644)
}

// passed are variables of the node's own environment that workers get too: what
// programs need to run on this machine, and nothing that could be secret.
var passed = []string{"PATH", "LANG", "LC_ALL", "TZ", "HOSTNAME"}

// personal are those of the node's user, for workers that run as the same.
var personal = []string{"HOME", "TMPDIR", "USER", "LOGNAME", "SHELL"}

// baseEnv gives what every worker's environment begins with. The installation's
// authority is trusted by the usual clients.
func (n *Node) baseEnv(user *isolation.User) map[string]string {
	env := map[string]string{
		"SSL_CERT_FILE": n.path(BundleFile), "REQUESTS_CA_BUNDLE": n.path(BundleFile), "NODE_EXTRA_CA_CERTS": n.path(CAFile),
	}
	for _, entry := range n.cfg.Environ {
		name, value, _ := strings.Cut(entry, "=")
		if slices.Contains(passed, name) || user == nil && slices.Contains(personal, name) {
			env[name] = value
		}
	}
	if n.proxy != "" {
		env["HTTPS_PROXY"] = n.proxy
		env["NO_PROXY"] = "127.0.0.1,::1" // not localhost: clients would take it for all names below it
	}
	if user != nil {
		env["HOME"], env["TMPDIR"] = user.Home, user.Temp
	}
	return env
}
