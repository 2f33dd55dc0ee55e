// Package account owns which credential a command signs in with: that of a data
// folder, of the environment, or of the login file, and the login file itself. It
// also makes the first contact with an installation whose authority is not known
// yet. It does not know what is done once signed in.
package account

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/latchkey/latchkey/internal/armclient"
	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
)

// Variables of the environment that a credential is made of.
const (
	VarID       = "LATCHKEY_CLIENT_ID"
	VarSecret   = "LATCHKEY_CLIENT_SECRET" //nolint:gosec // the name of a variable
	VarTenant   = "LATCHKEY_CLIENT_TENANT_ID"
	VarEndpoint = "LATCHKEY_CLIENT_ENDPOINT"
	VarCAFile   = "LATCHKEY_CLIENT_CA_FILE"
)

// DefaultEndpoint is where the management API is when nothing else is said.
const DefaultEndpoint = "https://localhost:7443"

// ownerFile is the file of the owner's credential in a data folder.
const ownerFile = "owner.json"

// Places are where credentials can be.
type Places struct {
	DataDir        string // named by the person; "" is none
	DefaultDataDir string
	Getenv         func(name string) string
}

// Found is a credential with where it is from, for people.
type Found struct {
	armclient.Credential
	From string
}

// Find gives the credential of the first place that has one: the data folder that
// was named, the environment, the login file, the default data folder. It returns
// problem.Unauthenticated if there is none, problem.NotFound if the folder named
// has none, and problem.Invalid for an environment that has half of one.
func (p Places) Find() (Found, error) {
	if p.DataDir != "" {
		return p.named()
	}
	if found, err := p.environment(); err != nil || found.ClientID != "" {
		return found, err
	}
	files := []string{p.LoginFile()}
	if p.DefaultDataDir != "" {
		files = append(files, filepath.Join(p.DefaultDataDir, ownerFile))
	}
	for _, path := range files {
		if path == "" {
			continue
		}
		c, err := armclient.ReadCredential(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return Found{c, path}, readable(path, err)
	}
	return Found{}, problem.New(problem.Unauthenticated, "there is no credential to sign in with").
		WithNext("start an installation here with latchkey up, name its data folder with --data-dir, or sign in with latchkey login")
}

func (p Places) named() (Found, error) {
	path := filepath.Join(p.DataDir, ownerFile)
	c, err := armclient.ReadCredential(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Found{}, problem.New(problem.NotFound, "there is no "+path).
			WithNext("name the data folder of latchkey up; if the file was lost, latchkey up --new-owner-credential makes another")
	}
	return Found{c, path}, readable(path, err)
}

func readable(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return problem.Wrap(problem.Denied, path+" is somebody else's", err).WithNext("run this as the user who runs latchkey up, or sign in with latchkey login")
	}
	return err
}

// environment gives the credential of the environment; an empty one if it says
// nothing.
func (p Places) environment() (Found, error) {
	c := armclient.Credential{
		ClientID: p.Getenv(VarID), ClientSecret: p.Getenv(VarSecret), TenantID: p.Getenv(VarTenant),
		Endpoint: p.Getenv(VarEndpoint), CAFile: p.Getenv(VarCAFile),
	}
	if c.ClientID == "" && c.ClientSecret == "" {
		return Found{}, nil
	}
	var missing []string
	for _, v := range []struct{ name, value string }{{VarID, c.ClientID}, {VarSecret, c.ClientSecret}, {VarTenant, c.TenantID}} {
		if v.value == "" {
			missing = append(missing, v.name)
		}
	}
	if len(missing) > 0 {
		return Found{}, problem.New(problem.Invalid, "the environment has only a part of a credential, without "+strings.Join(missing, " and ")).
			WithNext("set it, or unset all LATCHKEY_CLIENT_* variables")
	}
	if c.Endpoint == "" {
		c.Endpoint = DefaultEndpoint
	}
	return Found{c, "the environment"}, nil
}

// LoginFile gives the path of the login file; "" if there is no place for one.
func (p Places) LoginFile() string {
	dir := p.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		home := p.Getenv("HOME")
		if home == "" {
			return ""
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "latchkey", "login.json")
}

// Save writes the login file, readable by its owner only.
func (p Places) Save(c armclient.Credential) (path string, err error) {
	path = p.LoginFile()
	if path == "" {
		return "", problem.New(problem.Invalid, "there is no folder for the login file").WithNext("set HOME or XDG_CONFIG_HOME")
	}
	if err := atomicfile.MakeDir(filepath.Dir(path)); err != nil {
		return "", problem.Wrap(problem.Unavailable, "the folder of the login file cannot be made", err)
	}
	return path, c.Write(path)
}

// Forget removes the login file and the authority's certificate beside it. It
// reports whether there was a login.
func (p Places) Forget() (bool, error) {
	path := p.LoginFile()
	if path == "" {
		return false, nil
	}
	for _, name := range []string{authorityFile(path), path} {
		err := os.Remove(name)
		if errors.Is(err, fs.ErrNotExist) {
			if name == path {
				return false, nil
			}
			continue
		}
		if err != nil {
			return false, problem.Wrap(problem.Unavailable, "the login file cannot be removed", err)
		}
	}
	return true, nil
}

// authorityFile is where the certificate of a first contact is kept.
func authorityFile(loginFile string) string {
	return filepath.Join(filepath.Dir(loginFile), "login-ca.pem")
}

// KeepAuthority writes the certificate of a first contact beside the login file.
func (p Places) KeepAuthority(pem []byte) (path string, err error) {
	login := p.LoginFile()
	if login == "" {
		return "", problem.New(problem.Invalid, "there is no folder for the authority's certificate").WithNext("set HOME or XDG_CONFIG_HOME")
	}
	path = authorityFile(login)
	if err := atomicfile.MakeDir(filepath.Dir(path)); err != nil {
		return "", problem.Wrap(problem.Unavailable, "the folder of the login file cannot be made", err)
	}
	return path, atomicfile.Write(path, pem)
}
