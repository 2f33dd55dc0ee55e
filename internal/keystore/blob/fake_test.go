package blob_test

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/test/azurite"
)

// fake is the few calls of a storage account that a key store makes, as the
// account and its emulator answer them. It believes account keys and signatures
// and looks at what signatures permit and until when.
type fake struct {
	*httptest.Server
	mu         sync.Mutex
	containers map[string]map[string]*fakeBlob
	etags      int
	pageSize   int
	tokens     map[string]bool
}

type fakeBlob struct {
	data    []byte
	etag    string
	archive bool
}

func newFake(t *testing.T, secure bool) *fake {
	f := &fake{containers: map[string]map[string]*fakeBlob{}, pageSize: 5000, tokens: map[string]bool{}}
	f.Server = httptest.NewUnstartedServer(f)
	if secure {
		f.StartTLS()
	} else {
		f.Start()
	}
	t.Cleanup(f.Close)
	return f
}

// ServeHTTP answers one call.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	rest, ok := strings.CutPrefix(r.URL.Path, "/"+azurite.Account+"/")
	container, name, isBlob := strings.Cut(rest, "/")
	q := r.URL.Query()
	switch right := rightFor(r, isBlob); {
	case !ok || container == "":
		refuse(w, 400, "InvalidUri")
	case !f.known(r):
		refuse(w, 403, "AuthenticationFailed")
	case q.Has("sig") && (right == "" || !strings.ContainsAny(q.Get("sp"), right)):
		refuse(w, 403, "AuthorizationPermissionMismatch")
	case !isBlob && r.Method == http.MethodPut:
		f.makeContainer(w, container)
	case f.containers[container] == nil:
		refuse(w, 404, "ContainerNotFound")
	case !isBlob && r.Method == http.MethodDelete:
		delete(f.containers, container)
		w.WriteHeader(http.StatusAccepted)
	case !isBlob:
		f.list(w, container, q.Get("prefix"), q.Get("delimiter"), q.Get("marker"))
	default:
		f.blob(w, r, f.containers[container], name, body)
	}
}

// rightFor gives the letters of a signature of which one is needed.
func rightFor(r *http.Request, isBlob bool) string {
	switch {
	case !isBlob && r.Method == http.MethodGet:
		return "l"
	case !isBlob:
		return ""
	case r.Method == http.MethodPut:
		return "cw"
	case r.Method == http.MethodDelete:
		return "d"
	default:
		return "r"
	}
}

func (f *fake) known(r *http.Request) bool {
	if q := r.URL.Query(); q.Has("sig") {
		end, err := time.Parse(time.RFC3339, q.Get("se"))
		return err == nil && time.Now().Before(end)
	}
	kind, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return kind == "SharedKey" && strings.HasPrefix(value, azurite.Account+":") || kind == "Bearer" && f.tokens[value]
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("X-Ms-Error-Code", code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="utf-8"?><Error><Code>%s</Code><Message>no</Message></Error>`, code)
}

func (f *fake) makeContainer(w http.ResponseWriter, name string) {
	if f.containers[name] != nil {
		refuse(w, 409, "ContainerAlreadyExists")
		return
	}
	f.containers[name] = map[string]*fakeBlob{}
	w.WriteHeader(http.StatusCreated)
}

func (f *fake) blob(w http.ResponseWriter, r *http.Request, blobs map[string]*fakeBlob, name string, body []byte) {
	b := blobs[name]
	switch {
	case r.Method == http.MethodPut && r.URL.Query().Get("comp") == "tier" && b != nil:
		b.archive = r.Header.Get("X-Ms-Access-Tier") == "Archive"
		w.WriteHeader(http.StatusOK)
	case r.Method == http.MethodPut && r.Header.Get("If-None-Match") == "*" && b != nil:
		refuse(w, 409, "BlobAlreadyExists")
	case r.Method == http.MethodPut && r.Header.Get("If-Match") != "" && (b == nil || b.etag != r.Header.Get("If-Match")):
		refuse(w, 412, "ConditionNotMet")
	case r.Method == http.MethodPut:
		f.etags++
		b = &fakeBlob{data: body, etag: fmt.Sprintf(`"0x%016X"`, f.etags)}
		blobs[name] = b
		w.Header().Set("Etag", b.etag)
		w.WriteHeader(http.StatusCreated)
	case b == nil:
		refuse(w, 404, "BlobNotFound")
	case r.Method == http.MethodDelete:
		delete(blobs, name)
		w.WriteHeader(http.StatusAccepted)
	case b.archive && r.Method == http.MethodGet:
		refuse(w, 409, "BlobArchived")
	default:
		w.Header().Set("Etag", b.etag)
		w.Header().Set("Content-Length", strconv.Itoa(len(b.data)))
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodGet {
			_, _ = w.Write(b.data)
		}
	}
}

type fakeListing struct {
	XMLName    xml.Name     `xml:"EnumerationResults"`
	Blobs      []fakeItem   `xml:"Blobs>Blob"`
	Prefixes   []fakePrefix `xml:"Blobs>BlobPrefix"`
	NextMarker string
}

type fakeItem struct {
	Name string
	ETag string `xml:"Properties>Etag"`
}

type fakePrefix struct{ Name string }

func (f *fake) list(w http.ResponseWriter, container, prefix, delimiter, marker string) {
	var names []string
	for name := range f.containers[container] {
		if strings.HasPrefix(name, prefix) && name > marker {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var out fakeListing
	if len(names) > f.pageSize {
		names = names[:f.pageSize]
		out.NextMarker = names[f.pageSize-1]
	}
	for _, name := range names {
		if i := strings.Index(name[len(prefix):], delimiter); delimiter != "" && i >= 0 {
			out.Prefixes = append(out.Prefixes, fakePrefix{name[:len(prefix)+i+1]})
			continue
		}
		out.Blobs = append(out.Blobs, fakeItem{name, strings.Trim(f.containers[container][name].etag, `"`)})
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(http.StatusOK)
	_ = xml.NewEncoder(w).Encode(out)
}
