package storetest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"golang.org/x/sync/errgroup"

	"github.com/latchkey/latchkey/internal/accesskey"
	"github.com/latchkey/latchkey/internal/keyring"
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/keystore/blob"
	"github.com/latchkey/latchkey/internal/keystore/keyvault"
	"github.com/latchkey/latchkey/internal/keystore/kubernetes"
	"github.com/latchkey/latchkey/internal/testkit/localblob"
	"github.com/latchkey/latchkey/internal/testkit/localcluster"
	"github.com/latchkey/latchkey/internal/testkit/localvault"
)

// An app with many keys: 1,000 in its functions, and two of the host.
const (
	coldFunctions = 200
	coldKeys      = 5 // of each function
	coldSecrets   = coldFunctions*coldKeys + 2
	parallel      = 16 // requests that stores and rings have under way at a time
	vaultPage     = 25
	pages         = (coldSecrets + vaultPage - 1) / vaultPage
)

// distant is a place far away: every request takes a round trip. Its time is that
// of a synctest bubble, so what an operation takes, counted in round trips, is how
// many of them it waited for one after the other.
type distant struct {
	http.Handler
	trips atomic.Int64
}

const roundTrip = 20 * time.Millisecond

func (d *distant) RoundTrip(r *http.Request) (*http.Response, error) {
	d.trips.Add(1)
	time.Sleep(roundTrip)
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, in)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func coldNames() []string {
	var names []string
	for i := range coldFunctions {
		names = append(names, fmt.Sprintf("fn%03d", i))
	}
	return names
}

func coldValue(f string, k int) string { return fmt.Sprintf("value-%s-%d", f, k) }

// coldLoad starts a ring on a store and reads all keys, and gives how many round
// trips that took and how many of them one after the other.
func coldLoad(t *testing.T, d *distant, open func() keystore.Store) (trips, waits int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r, err := keyring.New(keyring.Config{Store: open()})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		began := time.Now()
		if err := r.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.Ensure(t.Context(), coldNames()); err != nil {
			t.Fatal(err)
		}
		waits = int((time.Since(began) + roundTrip - 1) / roundTrip)
		trips = int(d.trips.Load())
		for _, f := range coldNames() {
			for k := range coldKeys {
				if m := r.Match(coldValue(f, k), r.Function(f)); m.Reason != keyring.Matched {
					t.Fatalf("%s, key %d: %v", f, k, m.Reason)
				}
			}
		}
	})
	t.Logf("%d round trips, %d of them one after the other", trips, waits)
	return trips, waits
}

func wantAtMost(t *testing.T, what string, got, most int) {
	t.Helper()
	if got > most {
		t.Errorf("%d %s, more than %d", got, what, most)
	}
}

// coldDocuments gives all documents of the app.
func coldDocuments() map[keystore.Doc]keystore.Document {
	all := map[keystore.Doc]keystore.Document{keystore.HostDoc: {Keys: accesskey.Set{
		Master: accesskey.Key{Name: "master", Value: "value-master"}, Keys: []accesskey.Key{{Name: "default", Value: "value-host"}},
	}}}
	for _, f := range coldNames() {
		var d keystore.Document
		for k := range coldKeys {
			d.Keys.Keys = append(d.Keys.Keys, accesskey.Key{Name: fmt.Sprint("key", k), Value: coldValue(f, k)})
		}
		all[keystore.FunctionDoc(f)] = d
	}
	return all
}

func TestColdLoadFromBlobsTakesOneRoundTripPerDocument(t *testing.T) {
	account := localblob.Start(t, false)
	cfg := blob.Config{ConnectionString: account.ConnectionString(), App: "orders"}
	s := must[*blob.Store](t)(blob.Open(t.Context(), cfg))
	for doc, d := range coldDocuments() {
		if _, _, err := s.Update(t.Context(), doc, func(keystore.Document, bool) (keystore.Document, error) { return d, nil }); err != nil {
			t.Fatal(err)
		}
	}
	d := &distant{Handler: account}
	trips, waits := coldLoad(t, d, func() keystore.Store {
		cfg.Transport = d
		return must[*blob.Store](t)(blob.Open(t.Context(), cfg))
	})
	const documents, watch = coldFunctions + 1, 1
	wantAtMost(t, "round trips", trips, documents+watch)
	wantAtMost(t, "waits", waits, watch+1+(coldFunctions+parallel-1)/parallel)
}

func TestColdLoadFromAVaultTakesOneListAndParallelGets(t *testing.T) {
	v := localvault.Start(t, localvault.Config{})
	v.Allow("app", localvault.All...)
	fillVault(t, v)
	d := &distant{Handler: v.Handler()}
	trips, waits := coldLoad(t, d, func() keystore.Store {
		return must[*keyvault.Store](t)(keyvault.Open(t.Context(), keyvault.Config{URI: v.URI, Credential: token("app"), App: "orders", Transport: d}))
	})
	const challenge = 1 // the client first asks the vault whose tokens it wants
	wantAtMost(t, "round trips", trips, challenge+pages+coldSecrets)
	wantAtMost(t, "waits", waits, challenge+pages+(coldSecrets+parallel-1)/parallel)
}

// fillVault sets the secrets of the app by hand.
func fillVault(t *testing.T, v *localvault.Vault) {
	t.Helper()
	c, err := azsecrets.NewClient(v.URI, token("app"), &azsecrets.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: &http.Client{Transport: v.Transport}, Retry: policy.RetryOptions{MaxRetries: -1},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var group errgroup.Group
	group.SetLimit(parallel)
	set := func(name, value string) {
		group.Go(func() error {
			_, err := c.SetSecret(t.Context(), name, azsecrets.SetSecretParameters{Value: &value}, nil)
			return err
		})
	}
	set("host--masterKey--master", "value-master")
	set("host--functionKey--default", "value-host")
	for _, f := range coldNames() {
		for k := range coldKeys {
			set(fmt.Sprintf("function--%s--key%d", f, k), coldValue(f, k))
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// unwatched hides the stream of changes, which stays open: it costs a request to
// open and one to read what there was before.
type unwatched struct {
	keystore.Store
	keystore.AllLoader
}

func TestColdLoadFromKubernetesTakesOneRoundTrip(t *testing.T) {
	server := localcluster.Start(t)
	data := map[string]string{}
	add := func(name, value string) { data[name] = base64.StdEncoding.EncodeToString([]byte(value)) }
	add("host.master", "value-master")
	add("host.function.default", "value-host")
	for _, f := range coldNames() {
		for k := range coldKeys {
			add(fmt.Sprintf("functions.%s.key%d", f, k), coldValue(f, k))
		}
	}
	body, err := json.Marshal(map[string]any{"kind": "Secret", "apiVersion": "v1", "metadata": map[string]any{"name": "keys"}, "data": data})
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodPost, "/api/v1/namespaces/"+localcluster.Namespace+"/secrets", bytes.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+localcluster.AdminToken)
	w := httptest.NewRecorder()
	if server.ServeHTTP(w, req); w.Code != http.StatusCreated {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	d := &distant{Handler: server}
	trips, waits := coldLoad(t, d, func() keystore.Store {
		s := must[*kubernetes.Store](t)(kubernetes.Open(t.Context(), kubernetes.Config{
			Kind: kubernetes.Secret, Name: "keys", Transport: d,
			Access: kubernetes.Access{Server: server.URL, Namespace: localcluster.Namespace, Token: localcluster.Token, CA: server.CA()},
		}))
		return unwatched{s, s.(keystore.AllLoader)}
	})
	wantAtMost(t, "round trips", trips, 1)
	wantAtMost(t, "waits", waits, 1)
}
