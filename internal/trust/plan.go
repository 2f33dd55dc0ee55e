package trust

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
)

// Change is one thing that is done to the machine.
type Change struct {
	What string // for people: the file, then lines that begin with + or -
	do   func(ctx context.Context) error
}

// Plan is what is to be done, in order. An empty one says that all is well.
type Plan []Change

// Do does it, and stops at the first error; doing the rest later is making and
// doing another plan.
func (p Plan) Do(ctx context.Context) error {
	for _, c := range p {
		if err := c.do(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Privileged returns problem.Denied if the plan needs rights that we do not have.
func (m Machine) Privileged(p Plan) error {
	if len(p) == 0 || m.Root {
		return nil
	}
	return problem.New(problem.Denied, "changing the system's store and "+m.Hosts+" needs root")
}

// Install plans to put the authority into the system's store and the entries into
// the file of host entries. It changes nothing. It returns problem.Denied for an
// authority that is not limited to its installation, problem.Unsupported for a
// system that it does not know.
func (m Machine) Install(a Authority, entries []Entry) (Plan, error) {
	if err := a.fit(m.Clock.Now()); err != nil {
		return nil, err
	}
	store, err := m.store()
	if err != nil {
		return nil, err
	}
	var plan Plan
	switch state, err := store.state(a); {
	case err != nil:
		return nil, err
	case state == Foreign:
		return nil, problem.New(problem.Conflict, store.anchor(a)+" is there and is something else").WithNext("look at it and move it away")
	case state != Installed:
		plan = append(plan, m.add(store, a))
	}
	hosts, err := m.SetHosts(a, entries)
	return append(plan, hosts...), err
}

func (m Machine) add(s Store, a Authority) Change {
	path := s.anchor(a)
	return Change{
		What: "system store of " + s.Name + "\n  + " + path + "\n  run " + strings.Join(s.Added, " "),
		do: func(ctx context.Context) error {
			staged, err := atomicfile.Stage(path, a.pem())
			if err != nil {
				return err
			}
			if err := staged.Replace(); err != nil {
				return err
			}
			if err := os.Chmod(path, 0o644); err != nil { // it is no secret, and programs of all users read it
				return err
			}
			return m.runStore(ctx, s.Added)
		},
	}
}

// SetHosts plans to make the installation's entries these; none removes them all.
func (m Machine) SetHosts(a Authority, entries []Entry) (Plan, error) {
	return m.setHosts(a.ID(), entries)
}

func (m Machine) setHosts(id string, entries []Entry) (Plan, error) {
	text, err := readHosts(m.Hosts)
	if err != nil {
		return nil, err
	}
	blocks, err := Blocks(text)
	if err != nil {
		return nil, err
	}
	var have []Entry
	for _, b := range blocks {
		if b.ID == id {
			have = b.Entries
		}
	}
	lines := difference(have, entries)
	if want, err := WithBlock(text, id, entries); err != nil || bytes.Equal(want, text) {
		return nil, err
	}
	if lines == "" {
		lines = "\n  the marks only"
	}
	return Plan{{What: m.Hosts + lines, do: func(context.Context) error {
		return rewrite(m.Hosts, func(old []byte) ([]byte, error) { return WithBlock(old, id, entries) })
	}}}, nil
}

func difference(have, want []Entry) string {
	var out strings.Builder
	equal := func(a Entry) func(Entry) bool { return func(b Entry) bool { return a.String() == b.String() } }
	for _, e := range have {
		if !slices.ContainsFunc(want, equal(e)) {
			out.WriteString("\n  - " + e.String())
		}
	}
	for _, e := range want {
		if !slices.ContainsFunc(have, equal(e)) {
			out.WriteString("\n  + " + e.String())
		}
	}
	return out.String()
}

// Uninstall plans to undo what Install did for this authority.
func (m Machine) Uninstall(a Authority) (Plan, error) {
	var plan Plan
	if store, err := m.store(); err == nil {
		switch state, err := store.state(a); {
		case err != nil:
			return nil, err
		case state != Absent && state != Foreign:
			plan = append(plan, m.remove(store, store.anchor(a)))
		}
	} // there can be entries without a store
	hosts, err := m.SetHosts(a, nil)
	return append(plan, hosts...), err
}

// UninstallAll plans to undo what Install did for any installation, also such
// whose folder is gone.
func (m Machine) UninstallAll() (Plan, error) {
	var plan Plan
	if store, err := m.store(); err == nil {
		paths, err := filepath.Glob(filepath.Join(store.Folder, "latchkey-*.crt"))
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if a, err := ReadAuthority(path); err == nil && strings.HasPrefix(a.Cert.Subject.CommonName, ownerName) && store.anchor(a) == path {
				plan = append(plan, m.remove(store, path))
			}
		}
	}
	text, err := readHosts(m.Hosts)
	if err != nil {
		return nil, err
	}
	blocks, err := Blocks(text)
	for _, b := range blocks {
		hosts, err := m.setHosts(b.ID, nil)
		if err != nil {
			return nil, err
		}
		plan = append(plan, hosts...)
	}
	return plan, err
}

func (m Machine) remove(s Store, path string) Change {
	return Change{
		What: "system store of " + s.Name + "\n  - " + path + "\n  run " + strings.Join(s.Removed, " "),
		do: func(ctx context.Context) error {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return m.runStore(ctx, s.Removed)
		},
	}
}
