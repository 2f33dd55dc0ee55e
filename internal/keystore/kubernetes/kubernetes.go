// Package kubernetes owns the key store that is one Secret or ConfigMap, with an
// entry per key, as the functions host keeps keys on Kubernetes, and its read-only
// form, the folder such a Secret is mounted at. The stock host can read what it
// writes and the other way round. The names of entries belong to package flat;
// what a flat layout cannot say, the order and the metadata of keys, is in an
// annotation of the object. It knows the few calls of the API server it needs and
// nothing of who asks for keys.
package kubernetes

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/clock"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/kubeapi"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	// DefaultDir is where the keys are mounted if no object is named.
	DefaultDir = "/run/secrets/functions-keys"
	// DefaultPoll is how often changes by others are looked for where the object
	// may not be watched.
	DefaultPoll = 15 * time.Second

	defaultRetry = 250 * time.Millisecond
)

// Kind is a kind of object that keys can be in.
type Kind string

// The kinds, as they are written in addresses.
const (
	Secret    Kind = "secrets"
	ConfigMap Kind = "configmaps"
)

// Config says which object, or which folder one is mounted at.
type Config struct {
	// Name is the object's name; "" makes the store the read-only folder Dir.
	Name string
	// Kind is the object's kind; "" is Secret.
	Kind Kind
	// Access says how to get to the API server; it is needed with a Name.
	Access Access
	// Dir is the folder with the mounted files; "" is DefaultDir. It need not exist.
	Dir string
	// ReadOnly makes the store refuse to write.
	ReadOnly bool

	// Poll is about how often changes are looked for without the permission to
	// watch; 0 is DefaultPoll.
	Poll time.Duration
	// Retry is the wait before a request is tried again, doubling; 0 is 250 ms.
	Retry time.Duration
	// Transport sends the requests; nil is a transport of the store's own that
	// trusts the authorities and shows the certificate that Access has.
	Transport http.RoundTripper
	// Clock is for all waits; nil is the system clock.
	Clock clock.Clock
	// Log hears of what operators should know; nil is nobody.
	Log *slog.Logger
}

// Mounted reports whether the keys are a read-only folder.
func (c Config) Mounted() bool { return c.Name == "" }

// Store is the keys of one app in a Kubernetes object or in the folder it is
// mounted at. It is safe for concurrent use by goroutines and processes: every
// write says which state of the object it is meant to replace.
type Store struct {
	backing
}

// backing is one of the two forms of the store.
type backing interface {
	keystore.Store
	keystore.Watcher
	keystore.AllLoader
}

var (
	_ backing               = (*Store)(nil)
	_ keystore.ExactDeleter = (*Store)(nil)
)

// DeleteAt implements [keystore.ExactDeleter]. A folder is never written.
func (s *Store) DeleteAt(ctx context.Context, doc keystore.Doc, rev keystore.Revision) error {
	return keystore.DeleteAt(ctx, s.backing, doc, rev)
}

// Open gives the store a Config describes. It asks nobody; a place that is wrong
// or cannot be reached shows at the first use. It returns problem.Invalid for a
// Config that cannot work.
func Open(_ context.Context, cfg Config) (*Store, error) {
	cfg.Kind = cmp.Or(cfg.Kind, Secret)
	cfg.Dir = cmp.Or(cfg.Dir, DefaultDir)
	cfg.Poll = cmp.Or(cfg.Poll, DefaultPoll)
	cfg.Retry = cmp.Or(cfg.Retry, defaultRetry)
	if cfg.Clock == nil {
		cfg.Clock = clock.Real{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Mounted() {
		return &Store{newFolder(cfg)}, nil
	}
	if err := checkName(cfg.Kind, cfg.Name); err != nil {
		return nil, err
	}
	o, err := newObject(cfg)
	if err != nil {
		return nil, err
	}
	return &Store{o}, nil
}

func checkName(kind Kind, name string) error {
	if kind != Secret && kind != ConfigMap || !kubeapi.IsSubdomain(name) {
		return problem.New(problem.Invalid, "setting "+NameSetting+" does not name a Secret or ConfigMap").
			WithNext("set it to secrets/{name} or configmaps/{name}, with the name in lower case as Kubernetes has it")
	}
	return nil
}

func check(ctx context.Context, doc keystore.Doc) error {
	if err := keystore.Alive(ctx); err != nil {
		return err
	}
	return keystore.CheckDoc(doc)
}
