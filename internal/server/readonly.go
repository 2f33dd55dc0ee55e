package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/codec"
	"github.com/latchkey/latchkey/internal/keystore/files"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/seal/keyset"
)

// keyView is an app's key store opened for looking only: neither opening nor
// reading makes or changes anything, not even what a start would make.
type keyView struct {
	store   *files.Store
	place   keyPlace
	keyset  string // path of Latchkey's own keyset
	hasOwn  bool   // there is such a keyset
	ownErr  error  // why it cannot be opened; nil when there is none
	foreign bool   // values are sealed in the stock host's format, or not at all
}

// viewKeys opens the store the settings ask for. It returns problem.Unsupported
// for a store this version does not have, and the faults of the settings that
// seal. A keyset that cannot be opened is in the view.
func viewKeys(ctx context.Context, dataDir string, s settings) (*keyView, error) {
	if err := checkStoreKind(s); err != nil {
		return nil, err
	}
	place := placeOf(dataDir, s)
	v := &keyView{place: place, keyset: filepath.Join(place.sealDir, keyset.KeysetFile)}
	chain, err := sharedSealers(place, s)
	if err != nil {
		return nil, err
	}
	v.foreign = len(chain) > 0
	chain = append(chain, v.own(ctx, s))
	v.store = files.New(files.Config{Dir: place.dir, ReadOnly: true, Codec: codec.New(codec.Config{Sealer: chain})})
	return v, nil
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

// checkStoreKind refuses a key store this version does not have.
func checkStoreKind(s settings) error {
	kind := s.Get(storageTypeSetting)
	if kind == "" || strings.EqualFold(kind, "files") {
		return nil
	}
	return problem.New(problem.Unsupported,
		fmt.Sprintf("setting %s asks for key store %q, which this version does not have", storageTypeSetting, kind)).
		WithNext("set " + storageTypeSetting + " to files, or remove it")
}

// file gives the path of a document.
func (v *keyView) file(doc keystore.Doc) string {
	return filepath.Join(v.place.dir, string(doc)+".json")
}
