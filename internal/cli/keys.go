package cli

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/cli/manage"
	"github.com/latchkey/latchkey/internal/keyinfo"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/problem"
)

func newKeys(env *Env) *cobra.Command {
	c := newGroup("keys", "List, show and change access keys",
		newKeysList(env), newKeysShow(env), newKeysSet(env), newKeysRenew(env), newKeysDelete(env),
		newKeysRotate(env), newKeysEndOverlap(env), newKeysDisable(env), newKeysEnable(env), newKeysExpire(env), newKeysUsage(env), newKeysFind(env))
	c.Long = "Works on the app's key store directly, whether the app runs or not; a running\n" +
		"app notices changes by itself. With --app NAME the app is one of an installation, and\n" +
		"its keys are reached through the management API.\n\n" +
		"Keys are those of one function with --function, else host function keys, which\n" +
		"open every function of level function. --kind system are keys of extensions'\n" +
		"webhooks. The name _master stands for the master key, which opens everything."
	return c
}

// keyFlags say which keys are meant and how to show them.
type keyFlags struct {
	dataDir, function string
	app               string // of an installation; "" is the one in a folder
	kind              choice
	out               *choice
	show              bool
	match             string // the tag that the key must have to be changed; "" for any
}

// addMatch adds the flag that has a key changed only as it was seen.
func (f *keyFlags) addMatch(c *cobra.Command) {
	c.Flags().StringVar(&f.match, "if-match", "", "with --app: only if the key still has this etag, as keys show --output json gives it")
}

func (f *keyFlags) addTo(c *cobra.Command, env *Env) {
	f.out = tableOrJSON()
	f.out.addTo(c)
	f.kind.allowed = []string{"master", "host", "system", "function"}
	f.kind.addAs(c, "kind", "kind of key (default: function with --function, else host)")
	c.Flags().StringVar(&f.function, "function", "", "keys of this function")
	c.Flags().BoolVar(&f.show, "show", false, "show values, which are masked otherwise")
	_ = c.RegisterFlagCompletionFunc("function", completeFunctions(env)) // fails for a flag that is not there only
	addDataDir(c, &f.dataDir)
	c.Flags().Lookup("data-dir").Usage = "folder for keys (default: DIR/.latchkey); with --app the data folder of latchkey up"
	c.Flags().StringVar(&f.app, "app", "", "an app of an installation, by name or id, instead of one in a folder")
}

// check finds flags that contradict each other.
func (f *keyFlags) check() error {
	switch {
	case f.function != "" && f.kind.value != "" && !f.kind.is("function"):
		return usageError{errors.New("--function and --kind " + f.kind.value + " exclude each other")}
	case f.function == "" && f.kind.is("function"):
		return usageError{errors.New("--kind function needs --function")}
	case f.match != "" && f.app == "":
		return usageError{errors.New("--if-match needs --app: keys in a folder have no etag")}
	}
	return nil
}

// filtered reports whether the flags choose some of the keys.
func (f *keyFlags) filtered() bool { return f.function != "" || f.kind.value != "" }

// keyBook is the keys of one app, wherever it is.
type keyBook interface {
	List(ctx context.Context, sec keyring.Section) ([]accesskey.Key, error)
	Get(ctx context.Context, sec keyring.Section, name string) (accesskey.Key, error)
	// Put gives a key its value and restrictions in one write.
	Put(ctx context.Context, sec keyring.Section, want keyring.Declared) (key accesskey.Key, created bool, err error)
	Renew(ctx context.Context, sec keyring.Section, name string) (key accesskey.Key, created bool, err error)
	Delete(ctx context.Context, sec keyring.Section, name string) error

	Rotate(ctx context.Context, sec keyring.Section, name string, overlap time.Duration) (keyring.Rotation, error)
	EndOverlap(ctx context.Context, sec keyring.Section, name string) error
	Disable(ctx context.Context, sec keyring.Section, name string) (accesskey.Key, error)
	Enable(ctx context.Context, sec keyring.Section, name string) (accesskey.Key, error)
	Expire(ctx context.Context, sec keyring.Section, name string, at time.Time) (accesskey.Key, error)
	SetMeta(ctx context.Context, sec keyring.Section, name string, change func(*accesskey.Meta) error) (accesskey.Key, error)
	Usage(ctx context.Context, sec keyring.Section) ([]keyring.Use, error)
	// Describe gives what is kept about the keys of a section, in the order of List.
	Describe(ctx context.Context, sec keyring.Section) ([]keyinfo.Info, error)
	Close()
}

// keyOwner is an app whose keys are meant.
type keyOwner interface {
	// functionNames gives those that can have keys, as the app spells them.
	functionNames(ctx context.Context) ([]string, error)
	openKeys(ctx context.Context) (keyBook, error)
}

// folderOwner is the app in a folder.
type folderOwner struct{ *app }

func (o folderOwner) functionNames(context.Context) ([]string, error) { return o.functions(), nil }
func (o folderOwner) openKeys(ctx context.Context) (keyBook, error)   { return o.keys(ctx) }

// installedOwner is an app of an installation.
type installedOwner struct{ keys *manage.Keys }

func (o installedOwner) functionNames(ctx context.Context) ([]string, error) {
	return o.keys.Functions(ctx)
}
func (o installedOwner) openKeys(context.Context) (keyBook, error) { return o.keys, nil }

// owner finds the app that is meant.
func (f *keyFlags) owner(ctx context.Context, env *Env, dir string) (keyOwner, error) {
	if f.app == "" {
		a, err := openApp(env, dir, f.dataDir)
		return folderOwner{a}, err
	}
	if dir != dirArg(nil) {
		return nil, usageError{errors.New("with --app there is no folder to name")}
	}
	s := &session{env: env, dataDir: f.dataDir}
	in, a, err := s.openApp(ctx, f.app)
	if err != nil {
		return nil, err
	}
	keys := in.Keys(a)
	keys.IfMatch = f.match
	return installedOwner{keys}, nil
}

// section gives the keys meant; the app is asked how the function is spelled.
func (f *keyFlags) section(ctx context.Context, o keyOwner) (keyring.Section, error) {
	if f.function != "" {
		names, err := o.functionNames(ctx)
		if err != nil {
			return keyring.Section{}, err
		}
		name, err := spelledAs(names, f.function)
		return keyring.FunctionKeys(name), err
	}
	kind, _ := accesskey.ParseKind(f.kind.value)
	if kind == accesskey.None {
		kind = accesskey.Host
	}
	return keyring.Section{Kind: kind}, nil
}

// oneKey is one key that a command is about.
type oneKey struct {
	keys keyBook
	sec  keyring.Section
	name string
}

// open opens the keys of the app meant and finds out where a name belongs.
func (f *keyFlags) open(ctx context.Context, env *Env, name, dir string) (*oneKey, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	o, err := f.owner(ctx, env, dir)
	if err != nil {
		return nil, err
	}
	sec, err := f.section(ctx, o)
	if err != nil {
		return nil, err
	}
	if accesskey.IsMasterName(name) && sec.Kind != accesskey.Function {
		sec = keyring.MasterKey()
	}
	if err := checkMaster(sec, name); err != nil {
		return nil, err
	}
	keys, err := o.openKeys(ctx)
	if err != nil {
		return nil, err
	}
	return &oneKey{keys, sec, name}, nil
}

func checkMaster(sec keyring.Section, name string) error {
	switch reserved := accesskey.IsMasterName(name); {
	case sec.Kind == accesskey.Master && !reserved && !strings.EqualFold(name, accesskey.MasterStoredName):
		return usageError{problem.New(problem.Invalid, "the master key has no other name than _master")}
	case sec.Kind == accesskey.Function && reserved:
		return usageError{problem.New(problem.Invalid, "_master is the app's master key, not a function's").
			WithNext("leave out --function")}
	}
	return nil
}

func (k *oneKey) close() { k.keys.Close() }

// get gives the key; for a name that is not there the error says which are.
func (k *oneKey) get(ctx context.Context) (accesskey.Key, error) {
	key, err := k.keys.Get(ctx, k.sec, k.name)
	if problem.KindOf(err) != problem.NotFound || err == nil {
		return key, err
	}
	list, listErr := k.keys.List(ctx, k.sec)
	if listErr != nil || len(list) == 0 {
		return key, problem.New(problem.NotFound, "there is no key of that name; there are no "+placeOf(k.sec))
	}
	names := make([]string, len(list))
	for i := range list {
		names[i] = printable(list[i].Name)
	}
	return key, problem.New(problem.NotFound, "there is no key of that name").
		WithNext("the " + placeOf(k.sec) + " there are: " + strings.Join(names, ", "))
}

// placeOf names the keys of a section.
func placeOf(sec keyring.Section) string {
	switch sec.Kind {
	case accesskey.Master:
		return "master keys"
	case accesskey.System:
		return "system keys"
	case accesskey.Function:
		return "keys of function " + printable(sec.Function)
	}
	return "host function keys"
}

// loss says what stops working when a key changes.
func loss(sec keyring.Section, key accesskey.Key) string {
	who := "host function key " + printable(key.Name)
	what := "it opens every function of level function"
	switch sec.Kind {
	case accesskey.Master:
		who, what = "the master key", "it opens every function and the runtime API under /admin"
	case accesskey.System:
		who, what = "system key "+printable(key.Name), "it opens an extension's webhook under /runtime/webhooks"
	case accesskey.Function:
		who, what = "key "+printable(key.Name)+" of function "+printable(sec.Function), "it opens that function"
	}
	return who + " stops working at once: " + what + ", and whoever still presents it gets 401"
}

// nameAndDir takes NAME and the optional DIR from the arguments.
func nameAndDir(args []string) (name, dir string) { return args[0], dirArg(args[1:]) }
