package settings

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/keyseed"
	"github.com/latchkey/latchkey/internal/problem"
)

// Keys are declared keys with where they are written.
type Keys struct {
	File     string // that has them
	Entries  []keyseed.Entry
	KeysFile string   // with more of them; "" for none
	Warnings []string // about what is allowed and probably not meant
	Faults   []string // what the error has, one by one
}

// LoadKeys reads what the configuration file at path says about keys, for an app
// that runs alone; the file may be missing. Entries of other apps are left out. It
// returns problem.Invalid with every fault of the file.
func LoadKeys(path, app string) (Keys, error) {
	k := Keys{File: path}
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return k, nil
	}
	if err != nil {
		return k, problem.Wrap(problem.Unavailable, "the configuration file "+path+" cannot be read", err)
	}
	var f File
	faults := decode(text, path, &f)
	f.locate(path)
	faults = append(faults, checkKeys(f.Keys, path, keyseed.Place{Path: "keys"})...)
	k.Entries = slices.DeleteFunc(f.Keys, func(e keyseed.Entry) bool { return e.App != "" && !strings.EqualFold(e.App, app) })
	k.KeysFile = f.KeysFile
	k.Faults = faults
	return k, faultsOf(faults)
}

// LoadKeysFile reads a file that has nothing but declared keys: in our own form,
// the member keys as the configuration has it, or in one of the functions host's,
// whose keys are of no particular app. apps says that each entry must name its
// app. It returns problem.NotFound if there is no such file, and problem.Invalid
// with all its faults.
func LoadKeysFile(path string, apps bool) (Keys, error) {
	k := Keys{File: path}
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return k, problem.Wrap(problem.NotFound, "there is no file of keys "+path, err)
	}
	if err != nil {
		return k, problem.Wrap(problem.Unavailable, "the file of keys "+path+" cannot be read", err)
	}
	list, stock, err := keyseed.ParseStock(text)
	if err != nil {
		return k, problem.Wrap(problem.KindOf(err), path, err).WithNext(problem.NextOf(err))
	}
	var faults []string
	if !stock {
		var own struct {
			Keys []keyseed.Entry `json:"keys"`
		}
		faults = decode(text, path, &own)
		list = own.Keys
		locate(list, path)
	}
	for _, fault := range keyseed.Check(list, keyseed.Place{Path: "keys", Apps: apps}) {
		faults = append(faults, path+": "+fault)
	}
	k.Entries = list
	if mounted := strings.HasPrefix(path, "/run/secrets/") || strings.HasPrefix(path, "/var/run/secrets/"); !mounted && literal(list) >= 0 && openToAll(path) {
		k.Warnings = append(k.Warnings, path+" has values of keys, and all users of this machine may read it: chmod o-r "+path)
	}
	k.Faults = faults
	return k, faultsOf(faults)
}

func faultsOf(faults []string) error {
	if len(faults) == 0 {
		return nil
	}
	return problem.New(problem.Invalid, "the configuration of keys has faults:\n  "+strings.Join(faults, "\n  ")).
		WithNext("correct them; docs/keys-declarative.md has what can be said of a key")
}

// checkKeys gives the faults of entries in a configuration file. Such a file is
// often open to all and kept with the code, so that a value written there would be
// known to more than who was meant to: it is refused where all may read it.
func checkKeys(list []keyseed.Entry, file string, at keyseed.Place) (faults []string) {
	for _, fault := range keyseed.Check(list, at) {
		faults = append(faults, file+": "+fault)
	}
	if i := literal(list); i >= 0 && openToAll(file) {
		faults = append(faults, file+": keys: values are written here, and all users of this machine may read the file; "+
			"take them from valueEnv or valueFile, or keep the file to yourself: chmod o-r "+file)
	}
	return faults
}

// literal gives the first entry with its value written there, -1 if there is none.
func literal(list []keyseed.Entry) int { return slices.IndexFunc(list, keyseed.Entry.Literal) }

func openToAll(path string) bool {
	info, err := os.Stat(path)
	return err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o004 != 0
}

// locate makes paths within a file ones from its folder.
func (f *File) locate(file string) {
	locate(f.Keys, file)
	if f.KeysFile != "" && !filepath.IsAbs(f.KeysFile) {
		f.KeysFile = filepath.Join(filepath.Dir(file), f.KeysFile)
	}
}

func locate(list []keyseed.Entry, file string) {
	for i, e := range list {
		if e.ValueFile != "" && !filepath.IsAbs(e.ValueFile) {
			list[i].ValueFile = filepath.Join(filepath.Dir(file), e.ValueFile)
		}
	}
}
