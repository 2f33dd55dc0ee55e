// Package pack owns making a package of an app's folder: which files belong to it
// and the zip of them. It does not know where packages go, and does not check what
// only the server can judge.
package pack

import (
	"archive/zip"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/latchkey/latchkey/internal/problem"
)

// IgnoreFile names what a folder has but its package does not, as .gitignore does
// for git.
const IgnoreFile = ".funcignore"

// neverPacked are names that are left out wherever they are: they hold secrets, or
// what only the folder's owner needs.
var neverPacked = map[string]bool{".git": true, ".latchkey": true, "local.settings.json": true, IgnoreFile: true}

// Progress is how far packing has come.
type Progress struct {
	Files int
	Bytes int64 // of the files
}

// Package is a zip that is ready to be sent. Close it to remove what is temporary.
type Package struct {
	*os.File
	Size int64
	Progress
	temporary bool
}

// Close closes the zip, and removes it if it was made here.
func (p *Package) Close() error {
	err := p.File.Close()
	if p.temporary {
		err = errors.Join(err, os.Remove(p.Name()))
	}
	return err
}

// Open gives the package of a path: a zip as it is, or a folder's, which is made in
// the system's folder for temporary files and told of while it is. It returns
// problem.NotFound if there is nothing, and problem.Invalid for what is no app or
// cannot be packed.
func Open(ctx context.Context, name string, tell func(Progress)) (*Package, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, problem.Wrap(problem.NotFound, "there is no app to deploy", err).WithNext("name its folder, or a zip of it")
	}
	if info.IsDir() {
		return folder(ctx, name, tell)
	}
	return existing(name)
}

// existing opens a zip and looks whether it is an app's.
func existing(name string) (*Package, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, problem.Wrap(problem.Invalid, "the zip cannot be read", err)
	}
	p := &Package{File: f}
	if err := p.inspect(); err != nil {
		_ = p.Close() // nothing was written
		return nil, err
	}
	return p, nil
}

func (p *Package) inspect() error {
	info, err := p.Stat()
	if err != nil {
		return err
	}
	z, err := zip.NewReader(p, info.Size())
	if err != nil {
		return problem.New(problem.Invalid, p.Name()+" is neither a folder nor a zip").WithNext("name the app's folder, or a zip of it")
	}
	elsewhere := ""
	for _, f := range z.File {
		if f.Name == "host.json" {
			p.Size, p.Files = info.Size(), len(z.File)
			return nil
		}
		if path.Base(f.Name) == "host.json" {
			elsewhere = path.Dir(f.Name)
		}
	}
	fault := problem.New(problem.Invalid, p.Name()+" has no host.json at its top: it is no function app")
	if elsewhere != "" {
		return fault.WithNext("zip what is in its folder " + elsewhere + ", not the folder")
	}
	return fault.WithNext("name the app's folder, or a zip of what is in it")
}

// folder packs a folder into a temporary zip.
func folder(ctx context.Context, dir string, tell func(Progress)) (_ *Package, err error) {
	if _, err := os.Lstat(filepath.Join(dir, "host.json")); err != nil {
		return nil, problem.New(problem.Invalid, "there is no host.json in "+dir+": it is no function app").
			WithNext("name the app's folder, or make a new app with latchkey new")
	}
	ignored, err := readIgnoreFile(filepath.Join(dir, IgnoreFile))
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp("", "latchkey-deploy-*.zip")
	if err != nil {
		return nil, problem.Wrap(problem.Unavailable, "a temporary file for the package cannot be made", err)
	}
	p := &Package{File: f, temporary: true}
	defer func() {
		if err != nil {
			_ = p.Close() // the first error is the one to tell
		}
	}()
	if err := p.fill(ctx, dir, ignored, tell); err != nil {
		return nil, err
	}
	if p.Size, err = f.Seek(0, io.SeekCurrent); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	return p, err
}

// fill writes the zip. Equal folders make equal zips: names are in order and times
// are left out, so that a package that is there already is recognised.
func (p *Package) fill(ctx context.Context, dir string, ignored rules, tell func(Progress)) error {
	z := zip.NewWriter(p.File)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.DefaultCompression) })
	found := false
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || name == dir {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if neverPacked[d.Name()] || ignored.match(rel, d.IsDir()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		found = found || rel == "host.json"
		size, err := addFile(z, name, rel, d)
		p.Files, p.Bytes = p.Files+1, p.Bytes+size
		tell(p.Progress)
		return err
	})
	if err != nil {
		return err
	}
	if !found {
		return problem.New(problem.Invalid, IgnoreFile+" leaves out host.json, without which there is no app").WithNext("correct " + IgnoreFile)
	}
	return z.Close()
}

func addFile(z *zip.Writer, name, rel string, d fs.DirEntry) (int64, error) {
	if d.Type()&fs.ModeSymlink != 0 {
		return 0, problem.New(problem.Invalid, fmt.Sprintf("%q is a symbolic link, which a package cannot have", rel)).
			WithNext("put the file itself in its place, or leave it out with " + IgnoreFile)
	}
	if !d.Type().IsRegular() {
		return 0, problem.New(problem.Invalid, fmt.Sprintf("%q is no plain file", rel)).WithNext("leave it out with " + IgnoreFile)
	}
	f, err := os.Open(name)
	if err != nil {
		return 0, problem.Wrap(problem.Invalid, "a file of the app cannot be read", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	h := &zip.FileHeader{Name: rel, Method: zip.Deflate}
	h.SetMode(0o644 | info.Mode().Perm()&0o111)
	w, err := z.CreateHeader(h)
	if err != nil {
		return 0, err
	}
	return io.Copy(w, f)
}
