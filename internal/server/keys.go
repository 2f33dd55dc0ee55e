package server

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/blob"
	"github.com/latchkey/latchkey/internal/keystore/codec"
	"github.com/latchkey/latchkey/internal/keystore/files"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/seal"
	"github.com/latchkey/latchkey/internal/seal/dataprotection"
	"github.com/latchkey/latchkey/internal/seal/keyset"
	"github.com/latchkey/latchkey/internal/server/stores"
	"github.com/latchkey/latchkey/internal/telemetry"
)

const (
	secretsPathSetting = "FUNCTIONS_SECRETS_PATH"
	kekSetting         = "LATCHKEY_KEK"
)

// keyPlace says where an app's keys are and how they are sealed.
type keyPlace struct {
	dir     string // of the key documents
	sealDir string // of Latchkey's own keyset
	shared  bool   // the folder is one a stock host uses too
}

func placeOf(dataDir string, s settings) keyPlace {
	p := keyPlace{dir: filepath.Join(dataDir, "secrets"), sealDir: filepath.Join(dataDir, "seal")}
	if shared := s.Get(secretsPathSetting); shared != "" {
		p.dir, p.shared = shared, true
	}
	return p
}

// openStore opens the key store the settings ask for. What is missing or unknown is
// refused: falling back to another store would mean other keys.
func openStore(ctx context.Context, cfg Config, s settings, log *slog.Logger) (keystore.Store, keyPlace, error) {
	place := placeOf(cfg.DataDir, s)
	if err := checkPlace(cfg, s, place); err != nil {
		return nil, place, err
	}
	elsewhere, err := storesConfig(cfg, s, log)
	if err != nil {
		return nil, place, err
	}
	elsewhere.Default = func() (keystore.Store, error) {
		sealer, err := openSealer(ctx, place, s)
		if err != nil {
			return nil, err
		}
		if !place.shared {
			ignoreInGit(cfg.DataDir)
		}
		return files.New(files.Config{Dir: place.dir, Codec: codec.New(codec.Config{
			Sealer: sealer, HostName: s.Get("WEBSITE_HOSTNAME"), InstanceID: s.Get("WEBSITE_INSTANCE_ID"),
			App: codec.SiteOf(s.Get), TakeOver: s.Get(codec.TakeOverSetting),
		})}), nil
	}
	elsewhere.Files = elsewhere.Default
	store, err := stores.Open(ctx, elsewhere)
	return store, placedIn(place, store), err
}

// storesConfig gives what all stores but files take. A service's store may be shared
// with a stock host, so values are sealed in its format or not at all.
func storesConfig(cfg Config, s settings, log *slog.Logger) (stores.Config, error) {
	sealer, err := sharedSealers(keyPlace{shared: true}, s)
	return stores.Config{
		Setting: liveSettings(cfg, s), Local: true, Sealer: sealer, Clock: cfg.Clock, Log: log,
	}, err
}

// liveSettings gives settings by name. A renewed signature counts without a restart;
// for all else the settings that were read first stay.
func liveSettings(cfg Config, s settings) func(string) string {
	return func(name string) string {
		if known := s.Get(name); known == "" || !strings.EqualFold(name, blob.SASSetting) {
			return known
		}
		if now, _, _, _ := readSettings(cfg.Dir, cfg.Environ); now.Get(name) != "" {
			return now.Get(name)
		}
		return s.Get(name) // while the file is being written
	}
}

// placedIn gives the place of a store that is open: files have a folder.
func placedIn(p keyPlace, store keystore.Store) keyPlace {
	if _, ok := store.(*files.Store); !ok && store != nil {
		p.dir = store.String()
	}
	return p
}

// ignoreInGit makes the data folder and keeps it out of version control. It is a
// help, not a condition: what cannot be made is missed by those who need it.
func ignoreInGit(dataDir string) {
	path := filepath.Join(dataDir, ".gitignore")
	if !exists(path) && atomicfile.MakeDir(dataDir) == nil {
		_ = atomicfile.Create(path, []byte("*\n"))
	}
}

// openSealer chooses how values are sealed. With AzureWebEncryptionKey it is the
// stock host's format; in a folder shared with a stock host, which could not
// read ours and would answer by making new keys, nothing; otherwise ours. What
// another of these formats sealed before can still be opened.
func openSealer(ctx context.Context, p keyPlace, s settings) (seal.Sealer, error) {
	chain, err := sharedSealers(p, s)
	if err != nil {
		return nil, err
	}
	if len(chain) > 0 && !exists(filepath.Join(p.sealDir, keyset.KeysetFile)) {
		return chain, nil
	}
	if err := checkKeysetNotLost(p, chain); err != nil {
		return nil, err
	}
	own, err := keyset.Open(ctx, p.sealDir, s.Get(kekSetting))
	if err != nil {
		return nil, err
	}
	return append(chain, own), nil
}

// sharedSealers gives what values are sealed with where a stock host must be able
// to read them: its own format, or nothing. It is empty where only Latchkey does.
func sharedSealers(p keyPlace, s settings) (seal.Chain, error) {
	compatible, err := dataprotection.FromEnviron(s.Environ())
	switch {
	case err != nil:
		return nil, err
	case compatible != nil:
		return seal.Chain{compatible}, nil
	case p.shared:
		return seal.Chain{seal.None{}}, nil
	}
	return nil, nil
}

// maxLook is more than any key document has, in bytes.
const maxLook = 4 << 20

// stockPrefix begins every value sealed in the stock host's format.
const stockPrefix = "CfDJ8"

// checkKeysetNotLost refuses to make a keyset beside documents that were sealed
// with something else that is not at hand: keys made now would be unreadable once the old keyset is put
// back.
func checkKeysetNotLost(p keyPlace, chain seal.Chain) error {
	path := filepath.Join(p.sealDir, keyset.KeysetFile)
	if exists(path) {
		return nil
	}
	documents, _ := filepath.Glob(filepath.Join(globEscape(p.dir), "*.json"))
	for _, d := range documents {
		if isCopy(filepath.Base(d)) {
			continue
		}
		text, err := atomicfile.Read(d, maxLook)
		if err == nil && bytes.Contains(text, []byte(`"`+stockPrefix)) && len(chain) == 0 {
			return problem.New(problem.Undecryptable, d+" is sealed in the stock host's format and AzureWebEncryptionKey is not set").
				WithNext("set AzureWebEncryptionKey to the value it had when the keys were stored; to start over with new keys, move " + p.dir + " aside and run: latchkey start --new-keys")
		}
		if err == nil && bytes.Contains(text, []byte(`"`+keyset.Prefix)) {
			return problem.New(problem.Undecryptable, d+" is sealed and the keyset "+path+" is not there").
				WithNext("put the folder " + p.sealDir + " back from a backup; to start over with new keys, move " + p.dir + " aside and run: latchkey start --new-keys")
		}
	}
	return nil
}

// isCopy reports whether a file is a copy that was kept of a document. Those of
// documents that were given up stay, and are no reason against new keys.
func isCopy(name string) bool {
	doc, _, _ := strings.Cut(name, ".")
	return keystore.IsCopy(keystore.Doc(doc), name)
}

// globEscape makes a path match only itself.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Keys is an app's keyring opened without running the app.
type Keys struct {
	*keyring.Ring
	App         string
	SecretsPath string
	Store       keystore.Store
}

// OpenKeys opens the keys of the app in cfg.Dir directly in their store. It
// returns problem.Unsupported for a store this version does not have,
// problem.Invalid for settings of one that are missing or wrong, problem.Denied where others would choose root's folders, and the sealer's errors. The keys themselves are read when they are asked for.
// Where the app ran before and its keys are not in the store, none are made: asking gives problem.Unavailable.
func OpenKeys(ctx context.Context, cfg Config) (*Keys, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s, _, _, _ := readSettings(cfg.Dir, cfg.Environ)
	log := telemetry.NewLogger(cfg.Log, cfg.LogFormat, slog.LevelWarn)
	store, place, err := openStore(ctx, cfg, s, log)
	if err != nil {
		return nil, err
	}
	ring, err := newRing(cfg, store, s, slog.New(slog.DiscardHandler), tellFound(cfg))
	if err != nil {
		return nil, err
	}
	return &Keys{Ring: ring, App: appName(cfg.Dir, s), SecretsPath: place.dir, Store: store}, nil
}

// tellFound writes to cfg.Log, which gets nothing else here, what the first look
// puts right so that it no longer shows: keys that were in clear, and restrictions
// that others dropped.
func tellFound(cfg Config) func(keyring.Event) {
	log := telemetry.NewLogger(cfg.Log, cfg.LogFormat, slog.LevelWarn)
	return func(e keyring.Event) {
		switch e.Type {
		case keyring.KeysInClear, keyring.KeysIgnored, keyring.MetadataRestored, keyring.MetadataLost:
			log.Warn(e.Text)
		}
	}
}

func newRing(cfg Config, store keystore.Store, s settings, log *slog.Logger, onEvent func(keyring.Event)) (*keyring.Ring, error) {
	uses, restrictions := keyNotes(cfg)
	hash, err := keyring.ParseValues(s.Get(keyring.ValuesSetting))
	if err != nil {
		return nil, err
	}
	kept, keep, err := keyring.ParseGoneKept(s.Get(keyring.GoneKeptSetting))
	if err != nil {
		return nil, err
	}
	var roster keyring.Roster
	if !keep {
		roster = keyRoster(cfg)
	}
	return keyring.New(keyring.Config{
		Roster: roster, Limits: keyring.Limits{GoneKept: kept},
		Store: store, Clock: cfg.Clock, Log: log, OnEvent: onEvent, Usage: uses, Memory: restrictions,
		Mode: keyring.ParseMode(s.Get("AzureWebJobsFeatureFlags")), HashOnly: hash, MayMake: mayMake(cfg, store),
	})
}
