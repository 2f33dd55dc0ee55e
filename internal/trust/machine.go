package trust

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/problem"
)

// Machine is what trust is told about the machine it works on. Tests give their
// own paths.
type Machine struct {
	Hosts  string  // the file of host entries
	Stores []Store // kinds of system stores; the first one present is this machine's
	Root   bool    // whether both may be changed
	Clock  clock.Clock
	// Run runs one of the store's programs; its output is for the error.
	Run func(ctx context.Context, argv []string) ([]byte, error)
}

// Store is a kind of system store of authorities: a folder to put certificates in
// and a program that makes the bundle that clients read.
type Store struct {
	Name    string   // for people
	Folder  string   // where administrators put certificates
	Bundle  string   // what the program makes
	Added   []string // the program after adding
	Removed []string // the program after removing
}

// Local gives this machine.
func Local() Machine {
	return Machine{Hosts: "/etc/hosts", Stores: KnownStores("/"), Root: os.Geteuid() == 0, Clock: clock.Real{}, Run: run}
}

// KnownStores gives the kinds of stores that trust works with, below a root.
func KnownStores(root string) []Store {
	at := func(path string) string { return filepath.Join(root, path) }
	return []Store{
		{
			Name: "Debian and Ubuntu", Folder: at("usr/local/share/ca-certificates"), Bundle: at("etc/ssl/certs/ca-certificates.crt"),
			// Without --fresh links to a certificate that is gone stay.
			Added: []string{"update-ca-certificates"}, Removed: []string{"update-ca-certificates", "--fresh"},
		},
		{
			Name: "Fedora and RHEL", Folder: at("etc/pki/ca-trust/source/anchors"), Bundle: at("etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
			Added: []string{"update-ca-trust", "extract"}, Removed: []string{"update-ca-trust", "extract"},
		},
	}
}

// store gives the machine's store.
func (m Machine) store() (Store, error) {
	for _, s := range m.Stores {
		if info, err := os.Stat(s.Folder); err == nil && info.IsDir() {
			return s, nil
		}
	}
	names := make([]string, len(m.Stores))
	for i, s := range m.Stores {
		names[i] = s.Name + " (" + s.Folder + ")"
	}
	return Store{}, problem.New(problem.Unsupported, "this system's store of certificate authorities is none that is known here: "+strings.Join(names, ", ")).
		WithNext("install the package ca-certificates, add the certificate with the system's own tools, or set the variables that latchkey trust env prints")
}

func run(ctx context.Context, argv []string) ([]byte, error) {
	return exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
}

// runStore runs a store's program.
func (m Machine) runStore(ctx context.Context, argv []string) error {
	out, err := m.Run(ctx, argv)
	if err == nil {
		return nil
	}
	text := strings.TrimSpace(string(out))
	if len(text) > 500 {
		text = text[len(text)-500:]
	}
	return problem.Wrap(problem.Unavailable, fmt.Sprintf("%s failed: %s", strings.Join(argv, " "), text), err).
		WithNext("repair what it says, then run the same latchkey trust command again")
}
