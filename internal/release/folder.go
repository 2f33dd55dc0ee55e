package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/problem"
)

const (
	tempPrefix    = ".tmp-"
	listingSuffix = ".files"
	folderMode    = 0o700
)

// listed is a file of an unpacked package, for telling whether a folder that was
// there before this process is whole.
type listed struct {
	Path string `json:"p"`
	Size int64  `json:"s"`
	CRC  uint32 `json:"c"`
}

func (r *Releases) folderPath(app, id string) string {
	return filepath.Join(r.cfg.CacheDir, strings.ToLower(app), id)
}

// Folder gives the folder with a release's files on this node, making it from the
// state where it is missing or damaged. It is for reading only and stays until
// the release is removed. problem.NotFound if there is no such release,
// problem.Conflict if it is not Ready.
func (r *Releases) Folder(ctx context.Context, app, id string) (string, error) {
	rel, err := r.ready(ctx, app, id)
	if err != nil {
		return "", err
	}
	dir := r.folderPath(app, id)
	done, err := r.claim(ctx, dir)
	if err != nil {
		return "", err
	}
	defer done()
	if r.isInPlace(dir) {
		return dir, nil
	}
	if intact(dir) {
		r.setVerified(dir)
		return dir, nil
	}
	if err := r.rebuild(ctx, rel, dir); err != nil {
		return "", err
	}
	r.setVerified(dir)
	return dir, nil
}

// claim waits until nobody else of this process makes the folder.
func (r *Releases) claim(ctx context.Context, dir string) (done func(), err error) {
	r.mu.Lock()
	held := r.folders[dir]
	if held == nil {
		held = make(chan struct{}, 1)
		r.folders[dir] = held
	}
	r.mu.Unlock()
	select {
	case held <- struct{}{}:
		return func() { <-held }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// isInPlace reports whether this process has made or checked the folder and it is
// still there.
func (r *Releases) isInPlace(dir string) bool {
	r.mu.Lock()
	known := r.verified[dir]
	r.mu.Unlock()
	if !known {
		return false
	}
	_, err := os.Stat(dir)
	return err == nil
}

func (r *Releases) setVerified(dir string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verified[dir] = true
}

func (r *Releases) forget(app, id string) {
	dir := r.folderPath(app, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.verified, dir)
	delete(r.folders, dir)
}

// rebuild fetches the package and unpacks it into place.
func (r *Releases) rebuild(ctx context.Context, rel Release, dir string) error {
	spool, err := r.spool(rel.App)
	if err != nil {
		return err
	}
	defer r.discard(spool.file.Name())
	defer spool.file.Close() //nolint:errcheck // it goes away
	if err := r.packages().read(ctx, rel.SHA256, rel.Size, spool.file); err != nil {
		return err
	}
	temp, err := r.unpack(ctx, spool, rel.Size)
	if err != nil {
		return err
	}
	defer r.discard(temp.dir)
	return install(temp, dir)
}

// install moves an unpacked folder into place. The listing is durable before the
// folder has its name: a folder without one is made anew.
func install(temp unpacked, dir string) error {
	text, err := json.Marshal(temp.files)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := atomicfile.Write(dir+listingSuffix, text); err != nil {
		return err
	}
	return os.Rename(temp.dir, dir)
}

// intact reports whether a folder has all it had when it was unpacked.
func intact(dir string) bool {
	text, err := os.ReadFile(dir + listingSuffix)
	if err != nil {
		return false
	}
	var files []listed
	if json.Unmarshal(text, &files) != nil || len(files) == 0 {
		return false
	}
	for _, f := range files {
		if !f.matches(dir) {
			return false
		}
	}
	return true
}

func (l listed) matches(dir string) bool {
	file, err := os.Open(filepath.Join(dir, filepath.FromSlash(l.Path)))
	if err != nil {
		return false
	}
	defer file.Close() //nolint:errcheck // it was read only
	sum := crc32.NewIEEE()
	n, err := io.Copy(sum, io.LimitReader(file, l.Size+1))
	return err == nil && n == l.Size && sum.Sum32() == l.CRC
}

// Download writes a release's zip to w as it was deployed. After an error w has
// got a part of it, or all of a zip that is damaged.
func (r *Releases) Download(ctx context.Context, app, id string, w io.Writer) error {
	rel, err := r.ready(ctx, app, id)
	if err != nil {
		return err
	}
	return r.packages().read(ctx, rel.SHA256, rel.Size, w)
}

// spool is a file that only this process uses, for a zip on its way.
type spool struct{ file *os.File }

func (r *Releases) spool(app string) (spool, error) {
	dir := filepath.Join(r.cfg.CacheDir, strings.ToLower(app))
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return spool{}, errCache(err)
	}
	r.mu.Lock() // so that Collect does not see the file before it is known
	defer r.mu.Unlock()
	file, err := os.CreateTemp(dir, tempPrefix+"*.zip") // mode 0600
	if err != nil {
		return spool{}, errCache(err)
	}
	r.temps[file.Name()] = true
	return spool{file}, nil
}

// tempFolder makes a folder beside the place where it will go.
func (r *Releases) tempFolder(parent string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	dir, err := os.MkdirTemp(parent, tempPrefix) // mode 0700
	if err != nil {
		return "", errCache(err)
	}
	r.temps[dir] = true
	return dir, nil
}

func (r *Releases) isTemp(path string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.temps[path]
}

// discard removes what is left of a temporary file or folder.
func (r *Releases) discard(path string) {
	if err := os.RemoveAll(path); err != nil {
		r.cfg.Log.Warn("a temporary file could not be removed", "reason", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.temps, path)
}

func errCache(cause error) error {
	return problem.Wrap(problem.Internal, "the folder for unpacked packages cannot be written", cause).
		WithNext("make room in it, or give it to the user Latchkey runs as")
}

// fill copies a zip of at most limit bytes into the spool.
func (s spool) fill(zip io.Reader, limit int64, also io.Writer) (int64, error) {
	n, err := io.Copy(io.MultiWriter(s.file, also), io.LimitReader(zip, limit+1))
	switch {
	case n > limit:
		return 0, problem.New(problem.TooLarge, fmt.Sprintf("the zip is larger than the limit of %d bytes", limit)).
			WithNext("leave files out, or raise the limit")
	case err == nil && n == 0:
		return 0, problem.New(problem.Invalid, "the body is empty: it must be a zip")
	case err != nil && isWrite(err):
		return 0, errCache(err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, problem.Wrap(problem.Timeout, "the package took too long to arrive", err)
	case err != nil:
		return 0, problem.Wrap(problem.Invalid, "the package could not be read to its end", err)
	}
	return n, nil
}

// isWrite tells a fault of our disk from one of the sender.
func isWrite(err error) bool {
	var p *os.PathError
	return errors.As(err, &p) && p.Op == "write"
}
