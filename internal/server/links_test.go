package server_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server"
)

// stranger is a user other than root, which the tests of this file need to be.
const stranger = 12345

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// link makes a symbolic link that belongs to a user.
func link(t *testing.T, owner int, target, path string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.Symlink(target, path), os.Lchown(path, owner, owner)); err != nil {
		t.Fatal(err)
	}
}

// list opens the keys of an app as a command does.
func list(t *testing.T, cfg server.Config) error {
	t.Helper()
	keys, err := server.OpenKeys(t.Context(), cfg)
	if err != nil {
		return err
	}
	defer keys.Close()
	_, err = keys.List(t.Context(), keyring.HostKeys())
	return err
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("root wrote %v there, %v", entries, err)
	}
}

func TestRootRefusesFoldersOfKeysThatAreStrangersLinks(t *testing.T) {
	needRoot(t)
	for _, name := range []string{".latchkey", ".latchkey/secrets", ".latchkey/seal", ".latchkey/seal/kek", "deep/er", "outside"} {
		t.Run(name, func(t *testing.T) {
			cfg, target := shop(t), t.TempDir()
			path := filepath.Join(cfg.Dir, name)
			switch name {
			case "deep/er":
				cfg.DataDir = filepath.Join(path, "data")
			case "outside":
				path = filepath.Join(t.TempDir(), "data")
				cfg.DataDir = path
			}
			link(t, stranger, target, path)
			// Even what belongs to the stranger is not reached by such a link.
			for _, owner := range []int{0, stranger} {
				if err := os.Chown(target, owner, owner); err != nil {
					t.Fatal(err)
				}
				err := list(t, cfg)
				if problem.KindOf(err) != problem.Denied || !strings.Contains(err.Error(), path) || problem.NextOf(err) == "" {
					t.Errorf("got %v", err)
				}
				wantEmpty(t, target)
			}
		})
	}
}

func TestANodeOfRootsRefusesStrangersLinksToo(t *testing.T) {
	needRoot(t)
	cfg, target := shop(t), t.TempDir()
	link(t, stranger, target, filepath.Join(cfg.Dir, ".latchkey", "secrets"))
	node, err := server.Open(t.Context(), cfg)
	if err == nil {
		node.Close()
	}
	if problem.KindOf(err) != problem.Denied {
		t.Errorf("got %v", err)
	}
	wantEmpty(t, target)
}

func TestRootFollowsItsOwnLinks(t *testing.T) {
	cfg, target := shop(t), t.TempDir()
	link(t, os.Geteuid(), target, filepath.Join(cfg.Dir, ".latchkey", "secrets"))
	if err := list(t, cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(target, "host.json")); err != nil {
		t.Error(err)
	}
}

// TestRootReadsNoKeysThatAStrangerMayNot: root would seal another app's keys with
// a keyset of the stranger's and give them the file.
func TestRootReadsNoKeysThatAStrangerMayNot(t *testing.T) {
	needRoot(t)
	cfg := shop(t)
	victim := put(t, t.TempDir(), "host.json", clearHost)
	path := filepath.Join(cfg.Dir, ".latchkey", "secrets", "host.json")
	link(t, stranger, victim, path)
	if err := list(t, cfg); !errors.Is(err, problem.Denied) {
		t.Errorf("got %v", err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info, err)
	}
}

func TestRootTakesNoFolderOfKeysFromTheApp(t *testing.T) {
	needRoot(t)
	cfg, target := shop(t), t.TempDir()
	local := `{"IsEncrypted": false, "Values": {"Functions_Secrets_Path": "` + target + `"}}`
	if err := os.WriteFile(filepath.Join(cfg.Dir, "local.settings.json"), []byte(local), 0o600); err != nil {
		t.Fatal(err)
	}
	err := list(t, cfg)
	if problem.KindOf(err) != problem.Denied || !strings.Contains(err.Error(), "FUNCTIONS_SECRETS_PATH") || problem.NextOf(err) == "" {
		t.Errorf("got %v", err)
	}
	wantEmpty(t, target)
	cfg.Environ = append(cfg.Environ, "FUNCTIONS_SECRETS_PATH="+target)
	if err := list(t, cfg); err != nil {
		t.Errorf("from the environment: %v", err)
	}
}
