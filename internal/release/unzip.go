package release

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/problem"
)

const (
	ratioFrom  = 16 << 20 // unpacked bytes from which on the ratio counts
	maxSegment = 255      // bytes of a file's name; what file systems allow
	sniff      = 4        // bytes that tell a program from data
)

// unpacked is a package's folder that is not in place yet.
type unpacked struct {
	dir   string
	files []listed
	total int64
}

// unpack checks a zip and unpacks it into a temporary folder, which the caller
// discards. Errors of kind problem.Invalid and problem.TooLarge are the package's
// fault.
func (r *Releases) unpack(ctx context.Context, s spool, size int64) (unpacked, error) {
	p, err := newPlan(s.file, size, r.cfg.Limits)
	if err != nil {
		return unpacked{}, err
	}
	dir, err := r.tempFolder(filepath.Dir(s.file.Name()))
	if err != nil {
		return unpacked{}, err
	}
	u := unpacked{dir: dir}
	if err := p.extract(ctx, &u); err != nil {
		r.discard(dir)
		return unpacked{}, err
	}
	return u, nil
}

// plan is a zip whose directory was checked: which folders and files it gives.
type plan struct {
	limits Limits
	size   int64
	dirs   map[string]string // by lower-cased path
	files  map[string]*zip.File
	order  []*zip.File
	paths  []string
	total  uint64
}

// bounded is a zip of which only so much may be read: the directory of a hostile
// one can claim more entries than memory holds.
type bounded struct {
	r    io.ReaderAt
	left int64 // -1: no bound
}

var errDirectory = errors.New("directory too large")

func (b *bounded) ReadAt(p []byte, off int64) (int, error) {
	if b.left >= 0 {
		if b.left -= int64(len(p)); b.left < 0 {
			return 0, errDirectory
		}
	}
	return b.r.ReadAt(p, off)
}

// newPlan reads a zip's directory and checks all that it says.
func newPlan(file io.ReaderAt, size int64, limits Limits) (*plan, error) {
	b := &bounded{r: file, left: 1<<20 + int64(limits.Files)*512}
	z, err := zip.NewReader(b, size)
	switch {
	case errors.Is(err, errDirectory):
		return nil, errTooMany(limits)
	case err != nil:
		return nil, problem.New(problem.Invalid, "the body is not a zip, or a damaged one").
			WithNext("send the bytes of a zip file as they are")
	case len(z.File) > limits.Files:
		return nil, errTooMany(limits)
	}
	b.left = -1
	p := &plan{limits: limits, size: size, dirs: map[string]string{}, files: map[string]*zip.File{}}
	for _, f := range z.File {
		if err := p.add(f); err != nil {
			return nil, err
		}
	}
	return p, p.checkWhole()
}

func errTooMany(l Limits) error {
	return problem.New(problem.TooLarge, fmt.Sprintf("the zip has more than %d files and folders", l.Files)).
		WithNext("leave files out, or raise the limit")
}

// add checks an entry and puts it into the plan.
func (p *plan) add(f *zip.File) error {
	if err := checkName(f.Name, p.limits); err != nil {
		return err
	}
	if err := checkEntry(f); err != nil {
		return err
	}
	name := strings.TrimSuffix(f.Name, "/")
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if err := p.folder(dir); err != nil {
			return err
		}
	}
	if len(p.dirs)+len(p.files) > p.limits.Files {
		return errTooMany(p.limits)
	}
	if f.Mode().IsDir() || strings.HasSuffix(f.Name, "/") {
		return p.folder(name)
	}
	lower := strings.ToLower(name)
	if _, twice := p.files[lower]; twice || p.dirs[lower] != "" {
		return refuse(f.Name, "occurs twice, or differs from another name only in case")
	}
	p.files[lower] = f
	p.order, p.paths = append(p.order, f), append(p.paths, name)
	if p.total += f.UncompressedSize64; p.total > uint64(p.limits.Unpacked) || f.UncompressedSize64 > uint64(p.limits.Unpacked) {
		return errUnpacked(f.Name, p.limits)
	}
	return nil
}

func (p *plan) folder(name string) error {
	lower := strings.ToLower(name)
	if p.files[lower] != nil {
		return refuse(name, "is a file and a folder")
	}
	if p.dirs[lower] == "" {
		p.dirs[lower] = name
	}
	return nil
}

func errUnpacked(name string, l Limits) error {
	return problem.New(problem.TooLarge, fmt.Sprintf("the zip unpacks to more than the limit of %d bytes, at %s", l.Unpacked, show(name))).
		WithNext("leave files out, or raise the limit")
}

// refuse names an entry that breaks a rule.
func refuse(name, why string) error {
	return problem.New(problem.Invalid, "the zip has an entry that is refused: "+show(name)+" "+why).
		WithNext("make the zip anew without it")
}

// show makes a stranger's name harmless and short.
func show(name string) string {
	if len(name) > 120 {
		name = name[:120] + "…"
	}
	return fmt.Sprintf("%q", name)
}

// checkName refuses paths that lead elsewhere or that a file system cannot have.
func checkName(name string, l Limits) error {
	switch {
	case !utf8.ValidString(name):
		return refuse(name, "is not UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return refuse(name, "has a control character")
	case strings.Contains(name, `\`):
		return refuse(name, "has a backslash; separate folders by /")
	case strings.HasPrefix(name, "/") || len(name) > 1 && name[1] == ':':
		return refuse(name, "is an absolute path")
	case len(name) > l.Path:
		return refuse(name, fmt.Sprintf("is longer than %d bytes", l.Path))
	}
	segments := strings.Split(strings.TrimSuffix(name, "/"), "/")
	if len(segments) > l.Depth+1 {
		return refuse(name, fmt.Sprintf("lies deeper than %d folders", l.Depth))
	}
	for _, s := range segments {
		switch {
		case s == "" || s == "." || s == "..":
			return refuse(name, `has a part that is empty, "." or ".."`)
		case len(s) > maxSegment:
			return refuse(name, fmt.Sprintf("has a part longer than %d bytes", maxSegment))
		}
	}
	return nil
}

// checkEntry refuses what is neither a file nor a folder, and what cannot be read.
func checkEntry(f *zip.File) error {
	kind := f.Mode() & fs.ModeType
	folder := strings.HasSuffix(f.Name, "/")
	switch {
	case kind&fs.ModeSymlink != 0:
		return refuse(f.Name, "is a symbolic link")
	case kind&^fs.ModeDir != 0:
		return refuse(f.Name, "is a special file")
	case f.Flags&0x1 != 0:
		return refuse(f.Name, "is encrypted")
	case (folder || kind == fs.ModeDir) && f.UncompressedSize64 > 0:
		return refuse(f.Name, "is a folder with content")
	case f.Method != zip.Store && f.Method != zip.Deflate:
		return refuse(f.Name, fmt.Sprintf("is compressed by method %d; only deflate is understood", f.Method))
	}
	return nil
}

func (p *plan) checkWhole() error {
	if p.total > ratioFrom && p.total/uint64(p.limits.Ratio) > uint64(p.size) {
		return problem.New(problem.TooLarge, fmt.Sprintf("the zip unpacks to %d bytes, more than %d times its size", p.total, p.limits.Ratio)).
			WithNext("store large files uncompressed, or raise the limit")
	}
	if f := p.files["host.json"]; f != nil && f.Name == "host.json" {
		return nil
	}
	const next = "zip the content of the folder that has host.json, not the folder itself"
	for i, name := range p.paths {
		switch {
		case strings.EqualFold(name, "host.json"):
			return problem.New(problem.Invalid, show(p.paths[i])+" must be called host.json")
		case path.Base(name) == "host.json" && strings.Count(name, "/") == 1:
			return problem.New(problem.Invalid, "host.json must be at the top of the zip, it is in folder "+show(path.Dir(name))).WithNext(next)
		}
	}
	return problem.New(problem.Invalid, "host.json is missing: it must be at the top of the zip").WithNext(next)
}

// extract writes folders and files below u.dir, which is empty.
func (p *plan) extract(ctx context.Context, u *unpacked) error {
	root, err := os.OpenRoot(u.dir)
	if err != nil {
		return errCache(err)
	}
	defer root.Close() //nolint:errcheck // nothing is written through it any more
	for _, dir := range p.dirs {
		if err := root.MkdirAll(filepath.FromSlash(dir), folderMode); err != nil {
			return errCache(err)
		}
	}
	for i, f := range p.order {
		if err := ctx.Err(); err != nil {
			return err
		}
		if dir := path.Dir(p.paths[i]); dir != "." { // folders may differ in case
			if err := root.MkdirAll(filepath.FromSlash(dir), folderMode); err != nil {
				return errCache(err)
			}
		}
		entry, err := extractFile(root, p.paths[i], f)
		if err != nil {
			return err
		}
		if u.total += entry.Size; u.total > p.limits.Unpacked {
			return errUnpacked(f.Name, p.limits)
		}
		u.files = append(u.files, entry)
	}
	return nil
}

// extractFile writes one file. The reader fails when there is more or less than
// the directory declared; the bound does not rely on that.
func extractFile(root *os.Root, name string, f *zip.File) (listed, error) {
	in, err := f.Open()
	if err != nil {
		return listed{}, refuse(f.Name, "cannot be read")
	}
	defer in.Close() //nolint:errcheck // it was read only
	out, err := root.OpenFile(filepath.FromSlash(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return listed{}, errCache(err)
	}
	head, sum := &prefix{}, crc32.NewIEEE()
	n, err := io.Copy(io.MultiWriter(out, sum, head), io.LimitReader(in, int64(f.UncompressedSize64)+1))
	if err == nil && n != int64(f.UncompressedSize64) {
		err = zip.ErrFormat
	}
	if err == nil {
		err = out.Chmod(fileMode(f, head.bytes))
	}
	err = errors.Join(err, out.Close())
	var disk *fs.PathError
	switch {
	case errors.As(err, &disk):
		return listed{}, errCache(err)
	case err != nil:
		return listed{}, refuse(f.Name, "is damaged: its content is not what the zip declares")
	}
	return listed{Path: name, Size: n, CRC: sum.Sum32()}, nil
}

// fileMode keeps of the declared mode only whether the file can be run. Zips made
// on Windows don't say, so programs are told by how they begin.
func fileMode(f *zip.File, head []byte) fs.FileMode {
	if f.Mode()&0o111 != 0 || string(head) == "\x7fELF" || strings.HasPrefix(string(head), "#!") {
		return 0o500
	}
	return 0o400
}

// prefix keeps the first bytes written to it.
type prefix struct{ bytes []byte }

func (p *prefix) Write(b []byte) (int, error) {
	p.bytes = append(p.bytes, b[:min(len(b), sniff-len(p.bytes))]...)
	return len(b), nil
}
