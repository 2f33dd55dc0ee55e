package platform

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/web/localca"
)

// Keys of the installation's own documents.
const (
	installationKey state.Key = "/platform/installation"
	authorityKey    state.Key = "/platform/ca"
)

// Files in the data folder for clients on the same machine.
const (
	CAFile     = "ca.pem"        // the authority's certificate
	BundleFile = "ca-bundle.pem" // with the system's
	OwnerFile  = "owner.json"    // the owner's credential, mode 0600
)

// installed is what all nodes of an installation share, made once.
type installed struct {
	TenantID       string    `json:"tenantId"`
	SubscriptionID string    `json:"subscriptionId"`
	OwnerID        string    `json:"ownerId"` // object id of the first principal
	Created        time.Time `json:"created"`
}

// openInstallation reads or makes the installation's document. When two nodes
// start at the same time one of them makes it.
func (n *Node) openInstallation(ctx context.Context) error {
	doc, err := createOnce(ctx, n.store, installationKey, func() ([]byte, error) {
		return json.Marshal(installed{
			TenantID: uuid.NewString(), SubscriptionID: uuid.NewString(), OwnerID: uuid.NewString(), Created: n.cfg.Clock.Now().UTC(),
		})
	})
	if err != nil {
		return err
	}
	if err := json.Unmarshal(doc.Value, &n.install); err != nil || n.install.TenantID == "" {
		return problem.Wrap(problem.Undecryptable, "the installation's document cannot be understood", err)
	}
	return nil
}

// createOnce reads a document, or makes it if there is none.
func createOnce(ctx context.Context, s state.Store, key state.Key, make func() ([]byte, error)) (state.Document, error) {
	doc, err := s.Get(ctx, key)
	if !errors.Is(err, state.ErrNotFound) {
		return doc, err
	}
	value, err := make()
	if err != nil {
		return doc, err
	}
	if _, err := s.Write(ctx, state.Put(key, value, state.Absent)); err != nil && !errors.Is(err, state.ErrConflict) {
		return doc, err
	}
	return s.Get(ctx, key) // whoever made it
}

// openAuthority reads or makes the certificate authority, and puts its
// certificate where clients on this machine find it.
func (n *Node) openAuthority(ctx context.Context) error {
	doc, err := createOnce(ctx, n.store, authorityKey, func() ([]byte, error) {
		return localca.Generate("Latchkey "+n.install.TenantID[:8], []string{n.cfg.Domain}, n.outside().Now())
	})
	if err != nil {
		return err
	}
	if n.ca, err = localca.Open(doc.Value, n.outside(), n.names.vouches); err != nil {
		return err
	}
	if n.tls, err = n.newTLS(); err != nil {
		return err
	}
	n.tls = n.askForCertificates(n.tls)
	for name, text := range map[string][]byte{CAFile: n.ca.PEM(), BundleFile: append(systemRoots(), n.ca.PEM()...)} {
		err := atomicfile.Write(n.path(name), text)
		if err == nil {
			err = n.publish(n.path(name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) path(name string) string { return filepath.Join(n.cfg.DataDir, name) }

// systemRoots gives the certificates this machine trusts, where its kind of Linux
// keeps them.
func systemRoots() []byte {
	for _, path := range []string{
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem",
	} {
		if text, err := atomicfile.Read(path, 8<<20); err == nil {
			return append(text, '\n')
		}
	}
	return nil
}
