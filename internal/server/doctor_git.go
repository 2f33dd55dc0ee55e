package server

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// secretFiles are what must not be in a repository.
type secretFiles struct {
	path   string // relative to the app, or absolute
	status CheckStatus
	what   string
}

// git finds out whether git knows files with secrets, or would with the next
// "git add". Without git, or outside a repository, there is nothing to say.
func (e *examination) git(ctx context.Context) {
	if _, err := gitSays(ctx, e.cfg.Dir, "rev-parse", "--is-inside-work-tree"); err != nil {
		return
	}
	clean := true
	for _, f := range []secretFiles{
		{"local.settings.json", CheckWarn, "app settings, which often are secret"},
		{e.cfg.DataDir, CheckFailed, "access keys and the key that seals them"},
	} {
		clean = e.gitKnows(ctx, f) && clean
	}
	if clean {
		e.ok(checkGit, "git has no settings or keys of this app")
	}
}

// gitKnows reports whether a path is out of git's reach.
func (e *examination) gitKnows(ctx context.Context, f secretFiles) (clean bool) {
	path := f.path
	if !filepath.IsAbs(path) {
		path = filepath.Join(e.cfg.Dir, path)
	}
	if listed, err := gitSays(ctx, e.cfg.Dir, "ls-files", "--", path); err == nil && listed != "" {
		e.add(checkGit, f.status, f.path+" is in git: "+f.what, "run git rm --cached -r "+f.path+", add it to .gitignore, and replace the secrets: the history still has them")
		return false
	}
	others, err := gitSays(ctx, e.cfg.Dir, "ls-files", "--others", "--exclude-standard", "--", path)
	if err == nil && others != "" {
		e.add(checkGit, CheckWarn, f.path+" is not in git, but nothing keeps it out: "+f.what, "add it to .gitignore")
		return false
	}
	return true
}

// gitSays runs a git command that only looks. A repository's own programs, such
// as a file system monitor, are not run.
func gitSays(ctx context.Context, dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-c", "core.fsmonitor=false"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}
