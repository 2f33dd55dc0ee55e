package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	azblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/blob"
	"github.com/latchkey/latchkey/internal/keystore/files"
	"github.com/latchkey/latchkey/internal/testkit/localblob"
	"github.com/latchkey/latchkey/test/azurite"
)

// The stock host's way with a function's keys, written anew from what is documented
// of it: it reads the document, adds a key or gives one another value, and puts the
// whole back, knowing nothing of other members. What it leaves out of a document it
// did not mean to is what an administrator's request to it would have lost too, so
// it must never come to that with keys.
type stockKey struct {
	Name      string `json:"name"`
	Value     string `json:"value"`
	Encrypted bool   `json:"encrypted"`
}

type stockDocument struct {
	Keys     []stockKey `json:"keys"`
	HostName string     `json:"hostName"`
	Instance *string    `json:"instanceId"`
	Source   string     `json:"source"`
	Sealed   string     `json:"decryptionKeyId"`
}

// with gives the document with a key set: the old entry goes, the new one is last.
func (d stockDocument) with(name, value string) []byte {
	out := stockDocument{HostName: "orders.azurewebsites.net", Source: "runtime"}
	for _, k := range d.Keys {
		if k.Name != name {
			out.Keys = append(out.Keys, k)
		}
	}
	out.Keys = append(out.Keys, stockKey{Name: name, Value: value})
	text, _ := json.MarshalIndent(out, "", "  ")
	return text
}

// stock sets a key as a stock host does. errLost says that somebody was faster, for
// which the stock host answers 500 and its caller asks again.
type stock func(ctx context.Context, name, value string) error

var errLost = errors.New("somebody else wrote first")

// stockBlobs writes a blob if it is as it was read, or new.
func stockBlobs(t *testing.T, connection string) stock {
	c, err := container.NewClientFromConnectionString(connection, "azure-webjobs-secrets", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Create(t.Context(), nil)
	b := c.NewBlockBlobClient("orders/fn.json")
	any := azcore.ETagAny
	return func(ctx context.Context, name, value string) error {
		var doc stockDocument
		conditions := &azblob.ModifiedAccessConditions{IfNoneMatch: &any}
		got, err := b.DownloadStream(ctx, nil)
		if err == nil {
			var text []byte
			if text, err = io.ReadAll(got.Body); err == nil {
				err = json.Unmarshal(text, &doc)
			}
			conditions = &azblob.ModifiedAccessConditions{IfMatch: got.ETag}
		}
		if err != nil && statusOf(err) != http.StatusNotFound {
			return err
		}
		_, err = b.Upload(ctx, streaming.NopCloser(bytes.NewReader(doc.with(name, value))), &blockblob.UploadOptions{
			AccessConditions: &azblob.AccessConditions{ModifiedAccessConditions: conditions},
		})
		if s := statusOf(err); s == http.StatusPreconditionFailed || s == http.StatusConflict {
			return errLost
		}
		return err
	}
}

func statusOf(err error) int {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// A race has two stock hosts and two of our handles set keys in one document at the
// same time, each its own. Every write that was acknowledged must be there with the
// last value its writer gave it, and nothing else.
type race struct {
	t    *testing.T
	mu   sync.Mutex
	want map[string]string
}

const raceKeys, raceWrites = 4, 12

func (r *race) run(writers map[string]stock) {
	var wg sync.WaitGroup
	for who, set := range writers {
		wg.Go(func() {
			for i := range raceWrites {
				name, value := fmt.Sprintf("%s-%d", who, i%raceKeys), fmt.Sprintf("value %d of %s", i, who)
				for err := errLost; err != nil; {
					if err = set(r.t.Context(), name, value); err != nil && !errors.Is(err, errLost) {
						r.t.Errorf("%s: %v", name, err)
						return
					}
				}
				r.mu.Lock()
				r.want[name] = value
				r.mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func (r *race) check(s keystore.Store) {
	r.t.Helper()
	d, _, err := s.Load(r.t.Context(), "fn")
	if err != nil {
		r.t.Fatal(err)
	}
	left := len(r.want)
	for _, k := range d.Keys.Keys {
		if r.want[k.Name] != k.Value {
			r.t.Errorf("%s is %q, want %q", k.Name, k.Value, r.want[k.Name])
		}
		left--
	}
	if left != 0 {
		r.t.Errorf("%d keys of %d", len(d.Keys.Keys), len(r.want))
	}
}

// ours sets a key by a store of ours.
func ours(s keystore.Store) stock {
	return func(ctx context.Context, name, value string) error {
		_, _, err := s.Update(ctx, "fn", func(old keystore.Document, _ bool) (keystore.Document, error) {
			old.Keys, _ = old.Keys.Put(accesskey.Function, accesskey.Key{Name: name, Value: value})
			return old, nil
		})
		if errors.Is(err, keystore.ErrConflict) {
			return errLost
		}
		return err
	}
}

func TestTwoStockHostsRacingUsOnBlobsLoseNothing(t *testing.T) {
	run := func(t *testing.T, connection string) {
		open := func() keystore.Store {
			return must[*blob.Store](t)(blob.Open(t.Context(), blob.Config{ConnectionString: connection, App: "orders", Retry: time.Millisecond}))
		}
		r := &race{t: t, want: map[string]string{}}
		r.run(map[string]stock{
			"stock-a": stockBlobs(t, connection), "stock-b": stockBlobs(t, connection), "ours-a": ours(open()), "ours-b": ours(open()),
		})
		r.check(open())
	}
	t.Run("fake", func(t *testing.T) { run(t, localblob.Start(t, false).ConnectionString()) })
	t.Run("Azurite", func(t *testing.T) {
		if testing.Short() {
			t.Skip("-short: starts a process")
		}
		run(t, azurite.Start(t, azurite.Options{}).ConnectionString())
	})
}

// stockFiles puts a file in place without any lock or condition, as the stock host
// // does.
func stockFiles(dir string) stock {
	path := filepath.Join(dir, "fn.json")
	return func(_ context.Context, name, value string) error {
		var doc stockDocument
		text, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(text, &doc)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		next := path + ".stock"
		if err := os.WriteFile(next, doc.with(name, value), 0o600); err != nil {
			return err
		}
		return os.Rename(next, path)
	}
}

// TestTwoStockHostsAndUsOnFilesLoseNothing: a stock host neither locks nor looks
// before it replaces a file, so no writer can keep one from losing what came between
// its own read and write. So stock hosts come one at a time here, also between our
// reads and writes, and never in the middle of our last look and our rename.
func TestTwoStockHostsAndUsOnFilesLoseNothing(t *testing.T) {
	dir := t.TempDir()
	open := func() keystore.Store { return files.New(files.Config{Dir: dir}) }
	var lone sync.Mutex
	r := &race{t: t, want: map[string]string{}}
	between := func(s keystore.Store, other stock) stock {
		return func(ctx context.Context, name, value string) error {
			lone.Lock()
			defer lone.Unlock()
			came := rand.IntN(2) == 0
			_, _, err := s.Update(ctx, "fn", func(old keystore.Document, _ bool) (keystore.Document, error) {
				if came { // a stock host writes between our read and our write
					came = false
					if err := other(ctx, "between-"+name, value); err != nil {
						return old, err
					}
					r.mu.Lock()
					r.want["between-"+name] = value
					r.mu.Unlock()
				}
				old.Keys, _ = old.Keys.Put(accesskey.Function, accesskey.Key{Name: name, Value: value})
				return old, nil
			})
			return err
		}
	}
	alone := func(set stock) stock {
		return func(ctx context.Context, name, value string) error {
			lone.Lock()
			defer lone.Unlock()
			return set(ctx, name, value)
		}
	}
	a, b := stockFiles(dir), stockFiles(dir)
	r.run(map[string]stock{"stock-a": alone(a), "stock-b": alone(b), "ours-a": between(open(), a), "ours-b": between(open(), b)})
	r.check(open())
}
