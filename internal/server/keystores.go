package server

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"

	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/migrate"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/server/stores"
	"github.com/latchkey/latchkey/internal/telemetry"
)

// checkStore names the check of where keys are.
const checkStore = "store"

// ExamineKeys looks at the key store of an app: whether its settings are right, it
// can be reached and read, what is in it, and what there is nobody's or somebody
// else's. It creates and changes nothing, and no message holds a secret.
func ExamineKeys(ctx context.Context, cfg Config) []Check {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return []Check{failed(checkApp, err, "")}
	}
	model, err := knownModel(cfg)
	if err != nil {
		return []Check{failed(checkApp, err, "name the folder that holds host.json")}
	}
	e := &examination{cfg: cfg, model: model, settings: settings(model.Settings)}
	e.store(ctx)
	return e.checks
}

// store looks at where the keys are, and then at them.
func (e *examination) store(ctx context.Context) {
	view, err := viewKeys(ctx, e.cfg, e.settings)
	if err != nil {
		e.fail(checkStore, err, "correct the setting")
		return
	}
	docs, err := view.store.List(ctx)
	if err != nil {
		e.fail(checkStore, err, view.reach())
		return
	}
	e.ok(checkStore, "%s can be read, documents: %d", view.store, len(docs))
	if !view.files && e.readOnly(ctx) {
		e.add(checkStore, CheckWarn, view.store.String()+" is read-only: keys are never made or changed from here",
			"change them where they come from; see docs/stores")
	} else {
		e.probe(ctx, view)
	}
	e.keys(ctx)
}

// probe says what else is permitted, where that can be found out without a trace.
func (e *examination) probe(ctx context.Context, view *keyView) {
	prober, ok := view.store.(keystore.Prober)
	if !ok {
		return
	}
	for _, p := range prober.Probe(ctx) {
		if p.Err == nil {
			e.ok(checkStore, "%s permits %s", view.store, p.What)
			continue
		}
		if problem.KindOf(p.Err) == problem.Unsupported {
			e.ok(checkStore, "%s: %s was not tried: %v", view.store, p.What, p.Err)
			continue
		}
		next := problem.NextOf(p.Err)
		if next == "" {
			next = view.reach()
		}
		e.add(checkStore, CheckWarn, fmt.Sprintf("%s does not permit %s: %v", view.store, p.What, p.Err), next)
	}
}

// readOnly reports whether a start would open a store that cannot be written.
func (e *examination) readOnly(ctx context.Context) bool {
	s, err := openElsewhere(ctx, e.cfg, e.settings)
	return err == nil && s.Capabilities().ReadOnly
}

// openElsewhere opens a store that is no folder of documents, as a start does.
// Opening it touches nothing.
func openElsewhere(ctx context.Context, cfg Config, s settings) (keystore.Store, error) {
	c, err := storesConfig(cfg, s, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	c.Default = func() (keystore.Store, error) {
		return nil, problem.New(problem.Unsupported, "files are opened otherwise")
	}
	return stores.Open(ctx, c)
}

// Migration copies the keys of an app from one store to another.
type Migration struct {
	From, To string // the stores, for people
	Steps    []migrate.Step

	apply func(context.Context) ([]migrate.Step, error)
}

// PlanMigration says what copying the keys of the app in cfg.Dir would do. Places
// are values of AzureWebJobsSecretStorageType, whose other settings are the app's;
// "files:FOLDER" is another folder of files, in the form that a stock host reads.
// Nothing is made or changed. It returns problem.Invalid for places that cannot be,
// problem.Conflict where keys in use would be replaced, and the errors of stores that
// cannot be opened or listed.
func PlanMigration(ctx context.Context, cfg Config, from, to string, o migrate.Options) (*Migration, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s, _, _, _ := readSettings(cfg.Dir, cfg.Environ)
	source, err := openPlace(ctx, cfg, s, "from", from, false)
	if err != nil {
		return nil, err
	}
	target, err := openPlace(ctx, cfg, s, "to", to, false)
	if err != nil {
		return nil, err
	}
	if used, err := openPlace(ctx, cfg, s, "to", inUse(s), false); o.Replace && err == nil && used.String() == target.String() {
		return nil, problem.New(problem.Conflict, "the app uses the keys in "+target.String()+"; they are not replaced").
			WithNext("leave out --replace, or set " + stores.TypeSetting + " to the other store")
	}
	m := &Migration{From: source.String(), To: target.String()}
	m.apply = func(ctx context.Context) ([]migrate.Step, error) {
		target, err := openPlace(ctx, cfg, s, "to", to, true)
		if err != nil {
			return m.Steps, err
		}
		return migrate.Apply(ctx, source, target, m.Steps)
	}
	m.Steps, err = migrate.Plan(ctx, source, target, o)
	return m, err
}

// inUse gives the place of the keys that a start takes.
func inUse(s settings) string {
	if kind := s.Get(stores.TypeSetting); kind != "" {
		return kind
	}
	return string(stores.Files)
}

// Apply does what was planned and updates Steps. What it was about to write and
// did not shows as missing still; planning and applying again goes on. The source
// stays as it is.
func (m *Migration) Apply(ctx context.Context) (err error) {
	m.Steps, err = m.apply(ctx)
	return err
}

// openPlace opens a store that a migration names, to be written or only to be
// looked at.
func openPlace(ctx context.Context, cfg Config, s settings, flag, place string, write bool) (keystore.Store, error) {
	kind, dir, folder := strings.Cut(place, ":")
	parsed, err := stores.ParseKind(kind)
	if err != nil || parsed == "" || folder && (parsed != stores.Files || dir == "") {
		return nil, problem.New(problem.Invalid, fmt.Sprintf("--%s %q names no key store", flag, place)).
			WithNext("use files, files:FOLDER, blob, keyvault, kubernetes or containerapps")
	}
	s = maps.Clone(s)
	drop(s, stores.TypeSetting)
	s[stores.TypeSetting] = kind
	if folder {
		if dir, err = filepath.Abs(dir); err != nil {
			return nil, problem.Wrap(problem.Invalid, "--"+flag+" cannot be found", err)
		}
		drop(s, secretsPathSetting)
		s[secretsPathSetting] = dir
		cfg.Environ = append([]string{secretsPathSetting + "=" + dir}, cfg.Environ...) // who gave the flag chose it
	}
	if write || parsed != stores.Files {
		store, _, err := openStore(ctx, cfg, s, telemetry.NewLogger(cfg.Log, cfg.LogFormat, slog.LevelWarn))
		return store, err
	}
	if err := checkPlace(cfg, s, placeOf(cfg.DataDir, s)); err != nil {
		return nil, err
	}
	view, err := viewKeys(ctx, cfg, s)
	if err != nil {
		return nil, err
	}
	return asStarted{view.store}, nil
}

// drop removes a setting, however it is spelled.
func drop(s settings, name string) {
	maps.DeleteFunc(s, func(have, _ string) bool { return strings.EqualFold(have, name) })
}

// asStarted is a store that was opened for looking only and says of itself what it
// would be when opened for a start.
type asStarted struct{ keystore.Store }

// Capabilities implements keystore.Store.
func (w asStarted) Capabilities() keystore.Capabilities {
	c := w.Store.Capabilities()
	c.ReadOnly = false
	return c
}
