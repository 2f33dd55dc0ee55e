package server

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/latchkey/latchkey/internal/keystore/containerapps"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal/keyset"
)

// checkPlace refuses, for root, places of keys that are chosen by who may write
// to the app's folder: root would read and write for that user what the user may
// not. Others follow links as ever; what they may do is the system's to decide.
func checkPlace(cfg Config, s settings, p keyPlace) error {
	if os.Geteuid() != 0 {
		return nil
	}
	if err := checkPathSettings(cfg.Environ, s); err != nil {
		return err
	}
	for _, path := range []string{
		cfg.DataDir, p.dir, p.sealDir, filepath.Join(p.sealDir, keyset.KEKFile), filepath.Join(p.sealDir, keyset.KeysetFile),
	} {
		if err := checkLinks(trustedAbove(cfg, path), path); err != nil {
			return err
		}
	}
	return nil
}

// kubeconfigSetting names a file with a cluster and who one is there.
const kubeconfigSetting = "KUBECONFIG"

// checkPathSettings refuses settings that send root to a folder or file unless root's own
// environment has them.
func checkPathSettings(environ []string, s settings) error {
	for _, setting := range []string{secretsPathSetting, containerapps.DirSetting, kubeconfigSetting} {
		if s.Get(setting) == "" || hasSetting(environ, setting) {
			continue
		}
		return problem.New(problem.Denied, "root does not take setting "+setting+" from the app's local.settings.json").
			WithNext("run this as the user that runs the app, or set " + setting + " in the environment")
	}
	return nil
}

func hasSetting(environ []string, setting string) bool {
	return slices.ContainsFunc(environ, func(e string) bool {
		name, _, ok := strings.Cut(e, "=")
		return ok && strings.EqualFold(name, setting)
	})
}

// trustedAbove gives the folder whose own path is taken as it was given: the
// app's, or else the one that holds the data folder or the folder named by a
// setting.
func trustedAbove(cfg Config, path string) string {
	for _, top := range []string{cfg.Dir, filepath.Dir(absolute(cfg.DataDir))} {
		if isBelow(top, path) {
			return top
		}
	}
	return filepath.Dir(absolute(path))
}

func isBelow(top, path string) bool {
	rel, err := filepath.Rel(top, absolute(path))
	return err == nil && rel != "." && rel != ".." && !strings.HasPrefix(rel, "../")
}

func absolute(path string) string {
	whole, err := filepath.Abs(path)
	if err != nil {
		return filepath.Clean(path)
	}
	return whole
}

// checkLinks looks at path and what is above it, below top: none of it may be a
// link of another user. What is not there is nobody's.
func checkLinks(top, path string) error {
	for path = absolute(path); isBelow(top, path); path = filepath.Dir(path) {
		info, err := os.Lstat(path)
		if err != nil || info.Mode()&os.ModeSymlink == 0 {
			continue
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 {
			return problem.New(problem.Denied, fmt.Sprintf("%s is a symbolic link of user %d, which root does not follow", path, owner.Uid)).
				WithNext("run this as the user that runs the app; if the link is meant to be there, give it to root with: chown -h root " + path)
		}
	}
	return nil
}
