package imagebuild

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// pack gives the files of a folder that a build may use, as a tar that is made
// while it is read. What .dockerignore names is left out, except for the file
// itself and the Dockerfile. Close it to end it early.
func pack(ctx context.Context, folder, dockerfile string) (io.ReadCloser, error) {
	text, err := os.ReadFile(filepath.Join(folder, ".dockerignore"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, problem.Wrap(problem.Invalid, ".dockerignore cannot be read", err)
	}
	rules, err := readRules(string(text))
	if err != nil {
		return nil, err
	}
	always := map[string]bool{".dockerignore": true, path.Clean(filepath.ToSlash(dockerfile)): true}
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		err := filepath.WalkDir(folder, func(name string, d fs.DirEntry, err error) error {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(folder, name)
			if rel = filepath.ToSlash(rel); err != nil || rel == "." {
				return err
			}
			if rules.ignores(rel) && !always[rel] {
				return nil // what is below a folder may be taken back
			}
			return add(t, name, rel, d)
		})
		w.CloseWithError(errors.Join(err, t.Close()))
	}()
	return r, nil
}

func add(t *tar.Writer, name, rel string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	link := ""
	switch {
	case d.Type()&fs.ModeSymlink != 0:
		if link, err = os.Readlink(name); err != nil {
			return err
		}
	case !d.IsDir() && !d.Type().IsRegular():
		return nil // sockets and devices are no part of an image
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname = rel, 0, 0, "", ""
	if d.IsDir() {
		h.Name += "/"
	}
	if err := t.WriteHeader(h); err != nil || !d.Type().IsRegular() {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(t, f, h.Size)
	return err
}

// rule is a line of a .dockerignore.
type rule struct {
	pattern *regexp.Regexp
	keep    bool // the line begins with "!"
}

// rules are the lines of a .dockerignore, of which the last that fits counts.
type rules []rule

// readRules reads lines as Docker does: patterns are of whole paths from the top,
// "*" and "?" stay within a name, "**" does not, "!" takes back.
func readRules(text string) (rules, error) {
	var list rules
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		var r rule
		if rest, ok := strings.CutPrefix(line, "!"); ok {
			r.keep, line = true, strings.TrimSpace(rest)
		}
		line = strings.TrimPrefix(path.Clean("/"+line), "/")
		if line == "" {
			continue
		}
		var err error
		if r.pattern, err = regexp.Compile("^" + expression(line) + "(/.*)?$"); err != nil {
			return nil, problem.Wrap(problem.Invalid, "a line of .dockerignore cannot be understood", err)
		}
		list = append(list, r)
	}
	return list, nil
}

// expression makes a regular expression of a pattern.
func expression(pattern string) string {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case strings.HasPrefix(pattern[i:], "**/"):
			b.WriteString("(.*/)?")
			i += 2
		case strings.HasPrefix(pattern[i:], "**"):
			b.WriteString(".*")
			i++
		case c == '*':
			b.WriteString("[^/]*")
		case c == '?':
			b.WriteString("[^/]")
		case c == '[':
			end := strings.IndexByte(pattern[i:], ']')
			if end < 0 {
				b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
				continue
			}
			b.WriteString(pattern[i : i+end+1])
			i += end
		case c == '\\' && i+1 < len(pattern):
			i++
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		default:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	return b.String()
}

func (r rules) ignores(name string) bool {
	ignored := false
	for _, one := range r {
		if ignored == one.keep && one.pattern.MatchString(name) {
			ignored = !one.keep
		}
	}
	return ignored
}
