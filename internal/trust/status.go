package trust

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io/fs"
	"net/netip"
	"path/filepath"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
)

// StoreState is how an authority stands in the system's store.
type StoreState string

// States of an authority in the system's store.
const (
	Installed StoreState = "installed"
	Absent    StoreState = "not installed"
	Stale     StoreState = "half installed" // the file is there, but the bundle is without it, or the other way round
	Foreign   StoreState = "something else" // at the file's place
	NoStore   StoreState = "no known store"
)

const maxBundle = 16 << 20

func (s Store) anchor(a Authority) string {
	return filepath.Join(s.Folder, "latchkey-"+a.ID()+".crt")
}

// state looks; it changes nothing.
func (s Store) state(a Authority) (StoreState, error) {
	inBundle, err := s.bundled(a)
	if err != nil {
		return "", err
	}
	text, err := atomicfile.Read(s.anchor(a), maxCertificate)
	switch {
	case errors.Is(err, fs.ErrNotExist) && inBundle:
		return Stale, nil
	case errors.Is(err, fs.ErrNotExist):
		return Absent, nil
	case errors.Is(err, problem.Undecryptable): // no file, or far too large
		return Foreign, nil
	case err != nil:
		return "", err
	}
	cert, err := onlyCertificate(text)
	switch {
	case err == nil && !cert.Equal(a.Cert):
		return Foreign, nil
	case err != nil || !inBundle: // a half-written file is ours to write again: its name has the fingerprint
		return Stale, nil
	}
	return Installed, nil
}

func (s Store) bundled(a Authority) (bool, error) {
	text, err := atomicfile.Read(s.Bundle, maxBundle)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return false, nil
		}
		if bytes.Equal(block.Bytes, a.Cert.Raw) {
			return true, nil
		}
	}
}

// Status is how a machine stands with an installation.
type Status struct {
	Store     StoreState
	StoreFile string   // in the store, whether it is there or not
	Block     []Entry  // between the installation's marks
	Missing   []Entry  // wanted, and nowhere in the file
	Elsewhere []string // names for which the file has another address
}

// Status compares the machine with what the installation wants. It changes
// nothing.
func (m Machine) Status(a Authority, wanted []Entry) (Status, error) {
	s := Status{Store: NoStore}
	if store, err := m.store(); err == nil {
		s.StoreFile = store.anchor(a)
		if s.Store, err = store.state(a); err != nil {
			return s, err
		}
	}
	text, err := readHosts(m.Hosts)
	if err != nil {
		return s, err
	}
	blocks, err := Blocks(text)
	if err != nil {
		return s, err
	}
	for _, b := range blocks {
		if b.ID == a.ID() {
			s.Block = b.Entries
		}
	}
	s.compare(Resolve(text), wanted)
	return s, nil
}

func (s *Status) compare(known map[string]netip.Addr, wanted []Entry) {
	for _, e := range wanted {
		missing := false
		for _, name := range e.Names {
			switch at, ok := known[name]; {
			case !ok:
				missing = true
			case at != e.Address:
				s.Elsewhere = append(s.Elsewhere, name+" is "+at.String())
			}
		}
		if missing {
			s.Missing = append(s.Missing, e)
		}
	}
}
