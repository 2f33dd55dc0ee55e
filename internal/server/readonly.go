package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/codec"
	"github.com/latchkey/latchkey/internal/keystore/files"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/seal/keyset"
	"github.com/latchkey/latchkey/internal/server/stores"
)

// keyView is an app's key store opened for looking only: neither opening nor
// reading makes or changes anything, not even what a start would make.
type keyView struct {
	store   keystore.Store
	files   bool // the store is a folder of documents
	place   keyPlace
	keyset  string // path of Latchkey's own keyset
	hasOwn  bool   // there is such a keyset
	ownErr  error  // why it cannot be opened; nil when there is none
	write   bool   // the store may be written
	foreign bool   // values are sealed in the stock host's format, or not at all
}

// viewKeys opens the store the settings ask for. It returns problem.Unsupported for
// a store this version does not have, problem.Invalid for settings of one that are
// missing or wrong, and the faults of the settings that seal. A keyset that cannot be
// opened is in the view.
func viewKeys(ctx context.Context, cfg Config, s settings) (*keyView, error) {
	return openKeyView(ctx, cfg, s, false)
}

// openKeyView is viewKeys for a store that may also be written, though with nothing
// that is sealed in Latchkey's own form.
func openKeyView(ctx context.Context, cfg Config, s settings, write bool) (*keyView, error) {
	v := &keyView{place: placeOf(cfg.DataDir, s), write: write}
	v.keyset = filepath.Join(v.place.sealDir, keyset.KeysetFile)
	elsewhere, err := storesConfig(cfg, s, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	elsewhere.ReadOnly = !write
	elsewhere.Default = func() (keystore.Store, error) { return v.openFiles(ctx, s) }
	elsewhere.Files = elsewhere.Default
	if v.store, err = stores.Open(ctx, elsewhere); err != nil {
		return nil, err
	}
	v.foreign = v.foreign || !v.files
	v.place = placedIn(v.place, v.store)
	return v, nil
}

func (v *keyView) openFiles(ctx context.Context, s settings) (keystore.Store, error) {
	chain, err := sharedSealers(v.place, s)
	if err != nil {
		return nil, err
	}
	v.files, v.foreign = true, len(chain) > 0
	chain = append(chain, v.own(ctx, s))
	return files.New(files.Config{Dir: v.place.dir, ReadOnly: !v.write, Codec: codec.New(codec.Config{
		Sealer: chain, HostName: s.Get("WEBSITE_HOSTNAME"), App: codec.SiteOf(s.Get), TakeOver: s.Get(codec.TakeOverSetting),
	})}), nil
}

// warningsOf gives what a store says about its place, if it is one that does.
func warningsOf(store keystore.Store) []string {
	if w, ok := store.(interface{ Warnings() []string }); ok {
		return w.Warnings()
	}
	return nil
}

// own opens the keyset if there is one. It must be there before it is opened,
// because opening makes it otherwise.
func (v *keyView) own(ctx context.Context, s settings) seal.Sealer {
	if _, err := os.Stat(v.keyset); errors.Is(err, fs.ErrNotExist) {
		return lost{err: problem.New(problem.Undecryptable, "the value is sealed and the keyset "+v.keyset+" is not there")}
	} else if err != nil {
		v.ownErr = problem.Wrap(problem.Unavailable, "the keyset cannot be read", err).WithNext(asOwner)
		return lost{err: v.ownErr}
	}
	v.hasOwn = true
	sealer, err := keyset.Open(ctx, v.place.sealDir, s.Get(kekSetting))
	if err != nil {
		v.ownErr = err
		return lost{err: err}
	}
	return sealer
}

// asOwner is the advice for what this user may not read.
const asOwner = "run this as the user that runs the app"

// lost stands in for a sealer that cannot be had: it says why.
type lost struct {
	seal.None
	err error
}

// Open gives the reason why the sealer is missing.
func (l lost) Open(string, string) (string, bool, error) { return "", false, l.err }

// file names a document for people: the path of its file where it has one.
func (v *keyView) file(doc keystore.Doc) string {
	if !v.files {
		return fmt.Sprintf("key document %q of %s", string(doc), v.store)
	}
	return filepath.Join(v.place.dir, string(doc)+".json")
}
