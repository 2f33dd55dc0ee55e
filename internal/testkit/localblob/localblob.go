// Package localblob owns a storage account for tests: the few calls of the blob
// service that a key store makes, in memory, answered as the account and its
// emulator answer them. It does not know what is kept in blobs.
package localblob

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
)

// Name and Key are the account's. Any other key does as well.
const (
	Name = "devstoreaccount1"
	Key  = "YW55IGtleSBkb2Vz"
)

// Account is a running account, the emulator's by name. It believes account keys
// and signatures and looks at what signatures permit and until when. It is safe for
// concurrent use.
type Account struct {
	*httptest.Server
	// PageSize is how many blobs a page of a list has at most; set it before use.
	PageSize int
	// Tokens are the bearer tokens that are accepted; fill it before use.
	Tokens map[string]bool

	mu         sync.Mutex
	containers map[string]map[string]*blob
	etags      int
}

// ConnectionString gives what a client needs to know.
func (f *Account) ConnectionString() string {
	return "AccountName=" + Name + ";AccountKey=" + Key + ";BlobEndpoint=" + f.URL + "/" + Name
}

type blob struct {
	data    []byte
	etag    string
	archive bool
}

// Start runs an account until the test ends, with TLS if secure.
func Start(t testing.TB, secure bool) *Account {
	t.Helper()
	f := &Account{containers: map[string]map[string]*blob{}, PageSize: 5000, Tokens: map[string]bool{}}
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
func (f *Account) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	rest, ok := strings.CutPrefix(r.URL.Path, "/"+Name+"/")
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
		f.serveBlob(w, r, f.containers[container], name, body)
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

func (f *Account) known(r *http.Request) bool {
	if q := r.URL.Query(); q.Has("sig") {
		end, err := time.Parse(time.RFC3339, q.Get("se"))
		return err == nil && time.Now().Before(end)
	}
	kind, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return kind == "SharedKey" && strings.HasPrefix(value, Name+":") || kind == "Bearer" && f.Tokens[value]
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("X-Ms-Error-Code", code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="utf-8"?><Error><Code>%s</Code><Message>no</Message></Error>`, code)
}

func (f *Account) makeContainer(w http.ResponseWriter, name string) {
	if f.containers[name] != nil {
		refuse(w, 409, "ContainerAlreadyExists")
		return
	}
	f.containers[name] = map[string]*blob{}
	w.WriteHeader(http.StatusCreated)
}

func (f *Account) serveBlob(w http.ResponseWriter, r *http.Request, blobs map[string]*blob, name string, body []byte) {
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
		b = &blob{data: body, etag: fmt.Sprintf(`"0x%016X"`, f.etags)}
		blobs[name] = b
		w.Header().Set("Etag", b.etag)
		w.WriteHeader(http.StatusCreated)
	case b == nil:
		refuse(w, 404, "BlobNotFound")
	case r.Method == http.MethodDelete && r.Header.Get("If-Match") != "" && b.etag != r.Header.Get("If-Match"):
		refuse(w, 412, "ConditionNotMet")
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

type listing struct {
	XMLName    xml.Name     `xml:"EnumerationResults"`
	Blobs      []item       `xml:"Blobs>Blob"`
	Prefixes   []blobPrefix `xml:"Blobs>BlobPrefix"`
	NextMarker string
}

type item struct {
	Name string
	ETag string `xml:"Properties>Etag"`
}

type blobPrefix struct{ Name string }

func (f *Account) list(w http.ResponseWriter, container, prefix, delimiter, marker string) {
	var names []string
	for name := range f.containers[container] {
		if strings.HasPrefix(name, prefix) && name > marker {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var out listing
	if len(names) > f.PageSize {
		names = names[:f.PageSize]
		out.NextMarker = names[f.PageSize-1]
	}
	for _, name := range names {
		if i := strings.Index(name[len(prefix):], delimiter); delimiter != "" && i >= 0 {
			out.Prefixes = append(out.Prefixes, blobPrefix{name[:len(prefix)+i+1]})
			continue
		}
		out.Blobs = append(out.Blobs, item{name, strings.Trim(f.containers[container][name].etag, `"`)})
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(http.StatusOK)
	_ = xml.NewEncoder(w).Encode(out)
}
