package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/latchkey/latchkey/azfkey"
	"github.com/latchkey/latchkey/internal/armclient"
)

// slice is how long one figure is measured in a round.
const slice = 2 * time.Second

// crowds are the numbers of clients.
var crowds = []int{1, 16}

// value is what raw stores are given: about the size of a sealed document.
const value = 1 << 10

// work is something to do again and again by a number of clients; each client has
// its own index and counts what it does.
type work struct {
	name string
	do   func(ctx context.Context, client, n int) error
}

// rate runs work by so many clients for a slice and gives what was done a second.
func (w work) rate(ctx context.Context, clients int) (float64, error) {
	inner, cancel := context.WithTimeout(ctx, slice)
	defer cancel()
	var done atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	began := time.Now()
	for client := range clients {
		wg.Go(func() {
			for n := 0; inner.Err() == nil; n++ {
				if err := w.do(ctx, client, n); err != nil { // the last one is finished
					failed.Store(&err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if err := failed.Load(); err != nil {
		return 0, fmt.Errorf("%s: %w", w.name, *err)
	}
	return float64(done.Load()) / took.Seconds(), nil
}

// measureManagement compares reads and writes through the API, on both kinds of
// state, with what TLS and the stores can do by themselves, in the same rounds.
func measureManagement(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "latchkey-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var stops []func()
	defer func() {
		for _, stop := range slices.Backward(stops) {
			stop()
		}
	}()
	var all []work
	for _, start := range []func(context.Context, options, string) ([]work, func(), error){bareTLS, rawBolt, onBolt, etcdBoth} {
		some, stop, err := start(ctx, o, dir)
		if stop != nil {
			stops = append(stops, stop)
		}
		if err != nil {
			return err
		}
		all = append(all, some...)
	}
	rates := map[string][]float64{}
	for range o.rounds {
		for _, clients := range crowds {
			for _, w := range all {
				rate, err := w.rate(ctx, clients)
				if err != nil {
					return err
				}
				id := fmt.Sprint(w.name, clients)
				rates[id] = append(rates[id], rate)
			}
		}
	}
	printManagement(rates)
	return nil
}

func makeDir(parts ...string) (string, error) {
	dir := filepath.Join(parts...)
	return dir, os.MkdirAll(dir, 0o700)
}

// bareTLS is a server that does nothing but answer.
func bareTLS(ctx context.Context, _ options, dir string) ([]work, func(), error) {
	dir, err := makeDir(dir, "tls")
	if err != nil {
		return nil, nil, err
	}
	c, err := startChild(ctx, "tls", dir)
	if err != nil {
		return nil, nil, err
	}
	clients, err := (&node{dir: dir}).clients(ctx)
	return []work{{"tls", func(ctx context.Context, client, _ int) error {
		return clients[client].Do(ctx, http.MethodGet, "/", nil, nil)
	}}}, c.stop, err
}

// rawBolt is the library of the default state by itself: each write in its own
// transaction, and writes that come at the same time sharing one.
func rawBolt(_ context.Context, _ options, dir string) ([]work, func(), error) {
	db, err := bbolt.Open(filepath.Join(dir, "raw.db"), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, nil, err
	}
	db.MaxBatchSize, db.MaxBatchDelay = slices.Max(crowds), time.Millisecond
	stop := func() { _ = db.Close() }
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("b"))
		return err
	})
	put := func(client, n int) func(tx *bbolt.Tx) error {
		key := fmt.Appendf(nil, "/documents/%d/%d", client, n%100)
		return func(tx *bbolt.Tx) error { return tx.Bucket([]byte("b")).Put(key, make([]byte, value)) }
	}
	return []work{
		{"raw bolt", func(_ context.Context, client, n int) error { return db.Update(put(client, n)) }},
		{"raw bolt, shared", func(_ context.Context, client, n int) error { return db.Batch(put(client, n)) }},
	}, stop, err
}

// onBolt is the platform as it is by default.
func onBolt(ctx context.Context, o options, dir string) ([]work, func(), error) {
	dir, err := makeDir(dir, "bolt")
	if err != nil {
		return nil, nil, err
	}
	n, err := startNode(ctx, o.binary, dir, nil)
	if err != nil {
		return nil, nil, err
	}
	list, err := through(ctx, n, "bolt")
	return list, n.stop, err
}

// etcdBoth is a member of etcd by itself, and the platform on it.
func etcdBoth(ctx context.Context, o options, dir string) ([]work, func(), error) {
	home, err := makeDir(dir, "etcd")
	if err != nil {
		return nil, nil, err
	}
	member, err := startChild(ctx, "etcd", home)
	if err != nil {
		return nil, nil, err
	}
	raw, err := clientv3.New(clientv3.Config{Endpoints: []string{member.addr}, DialTimeout: 20 * time.Second})
	if err != nil {
		return nil, member.stop, err
	}
	stop := func() { _ = raw.Close(); member.stop() }
	data, err := makeDir(dir, "on-etcd")
	if err != nil {
		return nil, stop, err
	}
	n, err := startNode(ctx, o.binary, data, []string{"LATCHKEY_STATE_KIND=etcd", "LATCHKEY_STATE_ETCD_ENDPOINTS=" + member.addr})
	if err != nil {
		return nil, stop, err
	}
	list, err := through(ctx, n, "etcd")
	return append([]work{{"raw etcd", func(ctx context.Context, client, n int) error {
		_, err := raw.Put(ctx, fmt.Sprintf("/raw/%d/%d", client, n%100), string(make([]byte, value)))
		return err
	}}}, list...), func() { n.stop(); stop() }, err
}

// clients gives as many clients as the largest crowd has, each with its own
// connection.
func (n *node) clients(ctx context.Context) (list []*armclient.Client, err error) {
	for range slices.Max(crowds) {
		c, err := n.client(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// through is work through the management API, each client on an app of its own.
func through(ctx context.Context, n *node, state string) ([]work, error) {
	clients, err := n.clients(ctx)
	if err != nil {
		return nil, err
	}
	group := subscription(clients[0]) + "/resourceGroups/rg"
	site := func(client int) string { return fmt.Sprintf("%s/providers/Microsoft.Web/sites/app-%d", group, client) }
	place := map[string]any{"location": "local", "kind": "functionapp,linux"}
	if err := clients[0].Do(ctx, http.MethodPut, group, place, nil); err != nil {
		return nil, err
	}
	for i, c := range clients {
		if err := c.Do(ctx, http.MethodPut, site(i), place, nil); err != nil {
			return nil, err
		}
	}
	key, err := azfkey.Generate(azfkey.Function)
	if err != nil {
		return nil, err
	}
	return []work{
		{"read " + state, func(ctx context.Context, client, _ int) error {
			return clients[client].Do(ctx, http.MethodGet, site(client), nil, nil)
		}},
		{"settings " + state, func(ctx context.Context, client, n int) error {
			return clients[client].Do(ctx, http.MethodPut, site(client)+"/config/appsettings",
				map[string]any{"properties": map[string]string{"FUNCTIONS_WORKER_RUNTIME": "custom", "NUMBER": fmt.Sprint(n)}}, nil)
		}},
		{"key " + state, func(ctx context.Context, client, n int) error {
			return clients[client].Do(ctx, http.MethodPut, fmt.Sprintf("%s/host/default/functionKeys/client-%d", site(client), n%10),
				map[string]any{"properties": map[string]string{"value": key[:40] + fmt.Sprintf("%012d", n)}}, nil)
		}},
	}, nil
}

func printManagement(rates map[string][]float64) {
	of := func(name string, clients int) float64 { return medianOf(rates[fmt.Sprint(name, clients)]) }
	fmt.Println("\n| state, clients | reads/s | ÷ bare TLS | writes of settings/s | ÷ raw puts | writes of a key/s | ÷ raw puts | bare TLS/s | raw puts/s |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	for _, state := range []string{"bolt", "etcd"} {
		for _, clients := range crowds {
			bare, raw := of("tls", clients), max(of("raw "+state, clients), of("raw "+state+", shared", clients))
			read, settings, key := of("read "+state, clients), of("settings "+state, clients), of("key "+state, clients)
			fmt.Printf("| %s, %d | %.0f | %.2f | %.0f | %.2f | %.0f | %.2f | %.0f | %.0f |\n",
				state, clients, read, read/bare, settings, settings/raw, key, key/raw, bare, raw)
		}
	}
}

func medianOf(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}
