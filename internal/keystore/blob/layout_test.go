package blob_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	azblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/keystoretest"
	"github.com/latchkey/latchkey/internal/testkit/localblob"
)

func TestBlobsAreWhereAndWhatTheStockHostReads(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		p := newPlace(t, a)
		cfg := p.config()
		cfg.App, cfg.HostName, cfg.InstanceID = "Orders-Staging", "orders.example", "i1"
		s := open(t, cfg)
		put(t, s, keystore.HostDoc, keystoretest.Host("1"))
		put(t, s, "fn", keystoretest.Function("1"))
		if got := p.names(); got != "orders-staging/fn.json orders-staging/host.json" {
			t.Errorf("container holds %s", got)
		}
		want := `{"masterKey":{"name":"master","value":"master-1","encrypted":false},` +
			`"functionKeys":[{"name":"default","value":"host-1","encrypted":false}],` +
			`"systemKeys":[{"name":"eventgrid_extension","value":"system-1","encrypted":false}],` +
			`"hostName":"orders.example","instanceId":"i1","source":"runtime","decryptionKeyId":""}`
		var compact bytes.Buffer
		if err := json.Compact(&compact, p.read("orders-staging/host.json")); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, compact.String()); diff != "" {
			t.Error(diff)
		}
		if got := s.String(); !strings.HasSuffix(got, p.container+"/orders-staging") {
			t.Errorf("calls itself %s", got)
		}
	})
}

func TestTheDefaultContainerIsTheDocumentedOne(t *testing.T) {
	p := newPlace(t, fakeAccount(localblob.Start(t, false)))
	cfg := p.config()
	cfg.Container = ""
	if got := open(t, cfg).String(); !strings.HasSuffix(got, "/azure-webjobs-secrets/orders") {
		t.Errorf("calls itself %s", got)
	}
}

func TestWhatIsNotOursStaysAsItIs(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		p := newPlace(t, a)
		p.make()
		others := []string{
			"orders-2/host.json", "orders/fn.json.bak", "orders/fn.snapshot.2024-05-06 07.08.09.123456.json", "orders/HttpTrigger1.json",
			"orders/deep/host.json", "orders/notes.txt", "order/host.json", "host.json", "orders.json",
		}
		for _, name := range others {
			p.write(name, []byte(name))
		}
		s := p.open()
		if docs, err := s.List(t.Context()); err != nil || len(docs) != 0 {
			t.Errorf("list: %v, %v", docs, err)
		}
		if _, _, err := s.Load(t.Context(), keystore.HostDoc); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("load: %v", err)
		}
		for _, doc := range []keystore.Doc{"fn", "httptrigger1", "gone"} {
			put(t, s, doc, keystoretest.Function("1"))
		}
		if err := s.Delete(t.Context(), "gone"); err != nil {
			t.Fatal(err)
		}
		for _, name := range others {
			if got := string(p.read(name)); got != name {
				t.Errorf("%s is %s", name, got)
			}
		}
		if docs, err := s.List(t.Context()); err != nil || fmt.Sprint(docs) != "[fn httptrigger1]" {
			t.Errorf("list: %v, %v", docs, err)
		}
	})
}

func TestAnEmptyOrHugeBlobIsDamagedNotAbsent(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		p := newPlace(t, a)
		p.make()
		p.write("orders/fn.json", nil)
		p.write("orders/big.json", bytes.Repeat([]byte(" "), 4<<20+1))
		for _, doc := range []keystore.Doc{"fn", "big"} {
			s := p.open()
			if _, _, err := s.Load(t.Context(), doc); !errors.Is(err, keystore.ErrUndecryptable) || errors.Is(err, keystore.ErrUnavailable) {
				t.Errorf("load %s: %v", doc, err)
			}
			if err := try(t.Context(), s, doc, keystoretest.Function("1")); !errors.Is(err, keystore.ErrUndecryptable) {
				t.Errorf("update %s: %v", doc, err)
			}
		}
	})
}

func TestListsOfManyPages(t *testing.T) {
	f := localblob.Start(t, false)
	f.PageSize = 3
	p := newPlace(t, fakeAccount(f))
	s := p.open()
	for i := range 10 {
		put(t, s, keystore.Doc(fmt.Sprint("fn", i)), keystoretest.Function("1"))
	}
	if docs, err := s.List(t.Context()); err != nil || len(docs) != 10 {
		t.Errorf("list: %v, %v", docs, err)
	}
}

// stockWriter changes a document as the functions host does: it reads, changes
// the text, asks for the state there is and replaces that one. It does not try
// again. early takes the state it read instead, which keeps others' changes.
func (p *place) stockWriter(name, key string, early bool) error {
	client := p.client.NewBlockBlobClient(name)
	got, err := client.DownloadStream(p.t.Context(), nil)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(got.Body)
	if err != nil {
		return err
	}
	var doc map[string]any
	if err := json.Unmarshal(data, &doc); err != nil {
		return err
	}
	doc["keys"] = append(doc["keys"].([]any), map[string]any{"name": key, "value": "value of " + key, "encrypted": false})
	if data, err = json.MarshalIndent(doc, "", "  "); err != nil {
		return err
	}
	etag := got.ETag
	if !early {
		now, err := client.GetProperties(p.t.Context(), nil)
		if err != nil {
			return err
		}
		etag = now.ETag
	}
	return p.replace(client, data, etag)
}

func (p *place) replace(client *blockblob.Client, data []byte, etag *azcore.ETag) error {
	_, err := client.Upload(p.t.Context(), streaming.NopCloser(bytes.NewReader(data)), &blockblob.UploadOptions{
		AccessConditions: &azblob.AccessConditions{ModifiedAccessConditions: &azblob.ModifiedAccessConditions{IfMatch: etag}},
	})
	return err
}

func TestStockShapedWritersLoseNothingToUs(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		for name, early := range map[string]bool{"as documented": true, "as it is": false} {
			t.Run(name, func(t *testing.T) {
				p := newPlace(t, a)
				put(t, p.open(), "fn", keystoretest.Function("1"))
				theirs, ours := race(t, p, early)
				d, _, err := p.open().Load(t.Context(), "fn")
				if err != nil {
					t.Fatal(err)
				}
				for _, key := range theirs {
					if values(d)[key] != "value of "+key {
						t.Errorf("their %s is lost", key)
					}
				}
				for _, key := range ours {
					if early && values(d)[key] != key {
						t.Errorf("our %s is lost", key)
					}
				}
				t.Logf("%d of theirs, %d of ours", len(theirs), len(ours))
			})
		}
	})
}

// race has stock-shaped writers and two of our handles write, and gives the keys
// that each side was told are written.
func race(t *testing.T, p *place, early bool) (theirs, ours []string) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for w := range 2 {
		s := p.open()
		wg.Go(func() {
			for i := range 15 {
				key := fmt.Sprintf("ours-%d-%d", w, i)
				if _, _, err := s.Update(t.Context(), "fn", addKey(key, key)); err != nil {
					t.Errorf("%s: %v", key, err)
				}
				mu.Lock()
				ours = append(ours, key)
				mu.Unlock()
			}
		})
	}
	stock := 1 // two that work as it is undo each other's changes
	if early {
		stock = 2
	}
	for w := range stock {
		wg.Go(func() {
			for i := range 40 {
				key := fmt.Sprintf("theirs-%d-%d", w, i)
				err := p.stockWriter("orders/fn.json", key, early)
				if err != nil && !bloberror.HasCode(err, bloberror.ConditionNotMet) {
					t.Error(err)
				}
				if err == nil {
					mu.Lock()
					theirs = append(theirs, key)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return theirs, ours
}

func TestAColdLoadTakesOneRequestADocument(t *testing.T) {
	onBoth(t, func(t *testing.T, a account) {
		p := newPlace(t, a)
		p.make()
		const count = 200
		d := keystore.Document{}
		for i := range 5 {
			d.Keys.Keys = append(d.Keys.Keys, accesskey.Key{Name: fmt.Sprint("key", i), Value: strings.Repeat("v", 56)})
		}
		writer := p.open()
		for i := range count {
			put(t, writer, keystore.Doc(fmt.Sprint("fn", i)), d)
		}
		p.wire.requests.Store(0)
		var now, most atomic.Int64
		p.wire.set(func(*http.Request) (*http.Response, error) {
			for n := now.Add(1); ; {
				was := most.Load()
				if n <= was || most.CompareAndSwap(was, n) {
					return nil, nil
				}
			}
		})
		p.wire.setAfter(func(*http.Request, *http.Response) error { now.Add(-1); return nil })
		begun := time.Now()
		loadAll(t, p.open(), count)
		t.Logf("%d documents with %d keys in %v", count, 5*count, time.Since(begun))
		if n := p.wire.requests.Load(); n != count+1 {
			t.Errorf("%d requests for %d documents", n, count)
		}
		if most.Load() > 16 || most.Load() < 2 {
			t.Errorf("%d requests at a time", most.Load())
		}
	})
}

func loadAll(t *testing.T, s keystore.Store, count int) {
	t.Helper()
	docs, err := s.List(t.Context())
	if err != nil || len(docs) != count {
		t.Fatalf("%d documents, %v", len(docs), err)
	}
	var wg sync.WaitGroup
	for _, doc := range docs {
		wg.Go(func() {
			if _, _, err := s.Load(t.Context(), doc); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
