package platform

import (
	"context"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal/keyset"
	"github.com/latchkey/latchkey/internal/state"
	"github.com/latchkey/latchkey/internal/state/bolt"
	"github.com/latchkey/latchkey/internal/state/etcd"
	"github.com/latchkey/latchkey/internal/state/sealed"
)

// openState opens the backend the configuration asks for.
func (n *Node) openState(ctx context.Context) (err error) {
	if n.raw, err = openBackend(ctx, n.cfg); err != nil {
		return err
	}
	n.onClose(func() {
		if err := n.raw.Close(); err != nil {
			n.log.Error("closing the state failed", "reason", err)
		}
	})
	return checkComplete(ctx, n.raw)
}

func openBackend(ctx context.Context, cfg Config) (state.Store, error) {
	switch c := cfg.State; c.Kind {
	case "bolt":
		return bolt.Open(ctx, c.Path, cfg.Clock)
	case "etcd":
		return etcd.Open(ctx, etcd.Config{
			Endpoints: c.Etcd.Endpoints, Prefix: c.Etcd.Prefix, Username: c.Etcd.Username, Password: c.Etcd.Password,
			TLS: c.Etcd.TLS, Clock: cfg.outside(),
		})
	default:
		return nil, problem.New(problem.Invalid, "unknown kind of state "+c.Kind).WithNext("use bolt or etcd")
	}
}

// openSeal opens the installation's keyset, and makes it in a state that is empty.
// A state without a keyset that has documents is not touched: they could not be
// read with a new one.
func (n *Node) openSeal(ctx context.Context) (err error) {
	first, err := isEmpty(ctx, n.raw)
	if err != nil {
		return err
	}
	n.keyset, err = keyset.OpenIn(ctx, sealed.Box(n.raw, sealed.KeysetKey), n.cfg.kek(), first)
	if err != nil {
		return err
	}
	for _, w := range n.keyset.Warnings() {
		n.log.Warn(w)
	}
	n.store = sealed.New(n.raw, n.keyset, sealed.Log(n.log))
	return nil
}

func isEmpty(ctx context.Context, s state.Store) (bool, error) {
	list, err := s.List(ctx, "/", state.Page{Limit: 100, KeysOnly: true})
	if err != nil {
		return false, err
	}
	for _, doc := range list.Documents {
		if doc.Key != sealed.KeysetKey {
			return false, nil
		}
	}
	return true, nil
}
