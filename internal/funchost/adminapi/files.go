package adminapi

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/latchkey/latchkey/internal/funcapp"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/web"
)

// putFunction creates or replaces a function's function.json, and further files
// of its folder. The app restarts, through its file watch, if a text changed.
func (a *API) putFunction(w http.ResponseWriter, r *http.Request, params []string) {
	var body struct {
		Config json.RawMessage   `json:"config"`
		Files  map[string]string `json:"files"`
	}
	err := web.ReadJSON(r, maxFunctionBody, &body)
	if errors.Is(err, io.EOF) {
		err = problem.New(problem.Invalid, "the body has no config object")
	}
	if err == nil {
		err = a.writeFunction(params[0], body.Config, body.Files)
	}
	if err != nil {
		web.WriteProblem(w, err)
		return
	}
	w.Header().Set("Location", selfURL(r))
	web.WriteJSON(w, http.StatusCreated, functionJSON{
		Name: params[0], Href: selfURL(r), Config: body.Config,
	})
}

func (a *API) writeFunction(name string, config json.RawMessage, files map[string]string) error {
	if err := funcapp.ValidName(name); err != nil {
		return err
	}
	if config = bytes.TrimSpace(config); len(config) == 0 || config[0] != '{' {
		return problem.New(problem.Invalid, "the body has no config object")
	}
	all := map[string][]byte{"function.json": config}
	for file, text := range files {
		if !plainName(file) {
			return problem.New(problem.Invalid, "file names must be plain names without folders")
		}
		if file != "function.json" {
			all[file] = []byte(text)
		}
	}
	root, err := a.openRoot()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Mkdir(name, 0o755); err != nil && !os.IsExist(err) {
		return readOnly(err)
	}
	return writeChanged(root, name, all)
}

func (a *API) openRoot() (*os.Root, error) {
	dir := a.root()
	if dir == "" {
		return nil, problem.New(problem.Unavailable, "Function host is not running.")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, problem.Wrap(problem.Unavailable, "the app folder cannot be opened", err)
	}
	return root, nil
}

func readOnly(err error) error {
	return problem.Wrap(problem.Invalid, "the app folder cannot be written", err)
}

func plainName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 255 && !strings.ContainsAny(name, "/\\\x00")
}

// writeChanged writes the files whose content differs, each by way of a
// temporary file, so that a reader never sees half of one. os.Root keeps every
// path inside the app folder, links included.
func writeChanged(root *os.Root, dir string, files map[string][]byte) error {
	for name, text := range files {
		path := filepath.Join(dir, name)
		if old, err := root.ReadFile(path); err == nil && bytes.Equal(old, text) {
			continue
		}
		temp := path + ".latchkey-new"
		if err := root.WriteFile(temp, text, 0o644); err != nil {
			return readOnly(err)
		}
		if err := root.Rename(temp, path); err != nil {
			return readOnly(err)
		}
	}
	return nil
}

// deleteFunction removes a function's folder. Its keys stay, as they do on the
// stock host; they are reported as orphans.
func (a *API) deleteFunction(w http.ResponseWriter, _ *http.Request, params []string) {
	_, f := a.function(params[0])
	if f == nil || f.Directory == "" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	root, err := a.openRoot()
	if err == nil {
		defer root.Close()
		err = root.RemoveAll(f.Name)
	}
	if err != nil {
		a.cfg.Log.Error("a function could not be deleted", "function", f.Name, "reason", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// download sends the app's folder as a zip archive, without hidden files, local
// settings and links.
func (a *API) download(w http.ResponseWriter, _ *http.Request, _ []string) {
	root, err := a.openRoot()
	if err != nil {
		web.WriteProblem(w, err)
		return
	}
	defer root.Close()
	h := w.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Content-Disposition", `attachment; filename="`+zipName(a.root())+`.zip"`)
	h.Set("Cache-Control", "no-store")
	if err := writeZip(w, root.FS()); err != nil {
		a.cfg.Log.Error("the download broke off", "reason", err)
		panic(http.ErrAbortHandler)
	}
}

func zipName(root string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\/`, r) {
			return '_'
		}
		return r
	}, filepath.Base(root))
}

func writeZip(w io.Writer, files fs.FS) error {
	z := zip.NewWriter(w)
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path != "." && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !d.Type().IsRegular() || path == "local.settings.json":
			return nil
		}
		return addFile(z, files, path)
	})
	if err != nil {
		return err
	}
	return z.Close()
}

func addFile(z *zip.Writer, files fs.FS, path string) error {
	src, err := files.Open(path)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := z.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return err
}
