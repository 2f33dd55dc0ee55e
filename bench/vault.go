package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/bench/seed"
	"github.com/latchkey/latchkey/internal/armclient"
)

// vaultSizes are the numbers of secrets that growth is shown by, versions those of
// each.
var vaultSizes = []int{100, 10_000, 100_000}

const (
	vaultVersions = 5
	vaultName     = "kv-big"
)

// vaultRow is what was measured at one number of secrets.
type vaultRow struct {
	secrets       int
	ready         time.Duration
	get           []sample
	bare          []sample
	first, last   []time.Duration // pages of the list
	idle, after   memory
	state         int64
	one           []time.Duration // a single client, one get after the other
	pages, listed int
}

// measureVault measures reads of secrets through TLS with a token and a role, and
// lists, in a vault that grows.
func measureVault(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "latchkey-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	home, err := makeDir(dir, "tls")
	if err != nil {
		return err
	}
	bare, err := startChild(ctx, "tls", home)
	if err != nil {
		return err
	}
	defer bare.stop()
	if dir, err = makeDir(dir, "data"); err != nil {
		return err
	}
	if err := makeVault(ctx, o, dir); err != nil {
		return err
	}
	var rows []vaultRow
	have := 0
	for _, size := range vaultSizes {
		if err := seed.Secrets(ctx, dir, vaultName, have, size, vaultVersions); err != nil {
			return err
		}
		have = size
		row, err := vaultAt(ctx, o, dir, bare.addr, size)
		if err != nil {
			return fmt.Errorf("%d secrets: %w", size, err)
		}
		rows = append(rows, row)
	}
	printVault(rows)
	return nil
}

// makeVault lets a node set up its data folder and a vault in it.
func makeVault(ctx context.Context, o options, dir string) error {
	n, err := startNode(ctx, o.binary, dir, nil)
	if err != nil {
		return err
	}
	defer n.stop()
	return n.latchkey(ctx, o.binary, "vault", "create", vaultName, "--resource-group", seed.VaultGroup)
}

func vaultAt(ctx context.Context, o options, dir, bare string, size int) (row vaultRow, err error) {
	row.secrets = size
	if info, err := os.Stat(filepath.Join(dir, "state.db")); err == nil {
		row.state = info.Size()
	}
	if err := uncache(filepath.Join(dir, "state.db")); err != nil {
		return row, err
	}
	n, err := startNode(ctx, o.binary, dir, nil)
	if err != nil {
		return row, err
	}
	defer n.stop()
	row.ready = n.ready
	c, err := n.client(ctx)
	if err != nil {
		return row, err
	}
	if row.one, err = getOneByOne(ctx, c, size); err != nil {
		return row, err
	}
	if row.idle, err = memoryOf(n.pid()); err != nil {
		return row, err
	}
	if err := row.load(ctx, o, c, dir, bare); err != nil {
		return row, err
	}
	if err := row.list(ctx, c); err != nil {
		return row, err
	}
	row.after, err = memoryOf(n.pid())
	return row, err
}

// uncache makes the system forget what it has of a file. Else what filling the
// vault left there counts as the node's memory, page by page that it comes near.
func uncache(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// load reads secrets by chance with as many connections as the options say, and
// asks the bare server in the same rounds.
func (row *vaultRow) load(ctx context.Context, o options, c *armclient.Client, dir, bare string) error {
	args, err := vaultLoad(ctx, c, dir, row.secrets)
	if err != nil {
		return err
	}
	for range o.rounds {
		s, err := wrkWith(ctx, o, bare+"/small")
		if err != nil {
			return err
		}
		row.bare = append(row.bare, s)
		if s, err = wrkWith(ctx, o, c.Credential().Endpoint, args...); err != nil {
			return err
		}
		row.get = append(row.get, s)
	}
	return nil
}

// vaultLoad gives the arguments with which wrk reads secrets.
func vaultLoad(ctx context.Context, c *armclient.Client, dir string, size int) ([]string, error) {
	t, err := c.Token(ctx, c.VaultResource())
	if err != nil {
		return nil, err
	}
	base, err := c.VaultURL(vaultName)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	script := filepath.Join(dir, "secrets.lua")
	text := fmt.Sprintf("request = function() return wrk.format('GET', string.format('/secrets/secret-%%06d?api-version=7.4', math.random(0, %d))) end\n", size-1)
	return []string{"-s", script, "-H", "Host: " + u.Host, "-H", "Authorization: Bearer " + t.Raw}, os.WriteFile(script, []byte(text), 0o600)
}

// getOneByOne reads secrets with one client, and sees that they are right.
func getOneByOne(ctx context.Context, c *armclient.Client, size int) (took []time.Duration, err error) {
	base, err := c.VaultURL(vaultName)
	if err != nil {
		return nil, err
	}
	for i := range 300 {
		var secret struct{ Value string }
		at := i * 7919 % size
		began := time.Now()
		if err := c.Do(ctx, http.MethodGet, base+"/secrets/"+seed.SecretName(at)+"?api-version=7.4", nil, &secret); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
		if want := seed.SecretValue(at, vaultVersions-1); secret.Value != want {
			return nil, fmt.Errorf("secret %d is %q, want %q", at, secret.Value, want)
		}
	}
	return took, nil
}

// list reads all pages of the vault's list.
func (row *vaultRow) list(ctx context.Context, c *armclient.Client) error {
	base, err := c.VaultURL(vaultName)
	if err != nil {
		return err
	}
	const ends = 20 // pages at each end
	var all []time.Duration
	for next := base + "/secrets?api-version=7.4"; next != ""; {
		var text bytes.Buffer
		var page struct {
			Value    []json.RawMessage
			NextLink string
		}
		began := time.Now()
		if _, err := c.Send(ctx, armclient.Request{Method: http.MethodGet, Path: next, Out: &text}); err != nil {
			return err
		}
		all = append(all, time.Since(began))
		if err := json.Unmarshal(text.Bytes(), &page); err != nil {
			return err
		}
		row.listed += len(page.Value)
		next = page.NextLink
	}
	if row.listed != row.secrets {
		return fmt.Errorf("the list has %d secrets", row.listed)
	}
	row.pages = len(all)
	row.first, row.last = all[:min(ends, len(all))], all[max(0, len(all)-ends):]
	return nil
}

func printVault(rows []vaultRow) {
	fmt.Println("\n| secrets, versions | state | start | gets/s | ÷ bare TLS | p99 | errors | one client: p50, p99 | page of 25: first, last | memory: total, anonymous, file |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range rows {
		get, bare := median(r.get), median(r.bare)
		fmt.Printf("| %d, %d | %d MiB | %d ms | %.0f | %.2f | %v | %d | %.2f, %.2f ms | %.2f, %.2f ms | %d, %d, %d MiB (idle %d) |\n",
			r.secrets, r.secrets*vaultVersions, r.state>>20, r.ready.Milliseconds(), get.rate, get.rate/bare.rate, get.p99, get.errors,
			ms(quantile(r.one, 0.5)), ms(quantile(r.one, 0.99)), ms(quantile(r.first, 0.5)), ms(quantile(r.last, 0.5)),
			r.after.total()>>10, r.after.anonymous>>10, r.after.file>>10, r.idle.total()>>10)
	}
}
