// Package assets owns the files that pages of the portal need: one stylesheet,
// small scripts, and htmx as it was published. Their addresses have a digest of
// their content, so that browsers keep them and never use an old one.
package assets

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed portal.css portal.js logs.js icon.svg vendor/htmx/htmx.min.js
var files embed.FS

// Files serves them. It is safe for concurrent use.
type Files struct {
	base   string
	byName map[string]string // address by name
	byPath map[string]file   // by last segment of the address
}

type file struct {
	mime        string
	text, small []byte
}

// types are the media types of what there is.
var types = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// Load reads the files that the program carries; base is the path that they are
// served below, with a slash at the end.
func Load(base string) (*Files, error) {
	f := &Files{base: base, byName: map[string]string{}, byPath: map[string]file{}}
	for name, from := range map[string]string{
		"portal.css": "portal.css", "portal.js": "portal.js", "logs.js": "logs.js", "icon.svg": "icon.svg", "htmx.js": "vendor/htmx/htmx.min.js",
	} {
		text, err := files.ReadFile(from)
		if err != nil {
			return nil, err
		}
		small, err := compressed(text)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		ext := path.Ext(name)
		address := strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:8]) + ext
		f.byName[name], f.byPath[address] = base+address, file{types[ext], text, small}
	}
	return f, nil
}

func compressed(text []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}

// URL gives the address of a file by its name.
func (f *Files) URL(name string) string { return f.byName[name] }

// ServeHTTP serves one of them.
func (f *Files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	have, ok := f.byPath[strings.TrimPrefix(r.URL.Path, f.base)]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h, text := w.Header(), have.text
	h.Set("Content-Type", have.mime)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		text = have.small
	}
	h.Set("Content-Length", strconv.Itoa(len(text)))
	_, _ = w.Write(text) // a browser that went away
}
